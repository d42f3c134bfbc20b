//! Server-sent events: the split of a stream changes nothing, and no event is larger than allowed.

use sid_llm::{EventTooLarge, SseEvent, SseParser};

fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> (Vec<SseEvent>, Result<(), EventTooLarge>) {
    let mut parser = SseParser::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = parser.feed(piece, &mut events) {
            return (events, Err(error));
        }
    }
    events.extend(parser.finish());
    (events, Ok(()))
}

pub(crate) fn check(data: &[u8]) {
    for limit in [48, 1 << 20] {
        let whole = parse(std::iter::once(data), limit);
        assert_eq!(parse(data.chunks(1), limit), whole, "byte by byte");
        assert_eq!(parse(data.chunks(7), limit), whole, "in sevens");
        let middle = data.len() / 2;
        assert_eq!(parse([&data[..middle], &[], &data[middle..]].into_iter(), limit), whole, "in halves");
        for event in &whole.0 {
            // A byte that is no UTF-8 becomes a character of three.
            assert!(event.data.len() <= 3 * limit, "{} bytes", event.data.len());
            assert!(!event.data.contains('\r') && !event.event.as_deref().unwrap_or_default().contains(['\r', '\n']), "{event:?}");
        }
    }
}
