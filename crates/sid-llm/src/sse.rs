//! Server-sent events, byte by byte.
//!
//! A chunk of the network may end anywhere: inside a UTF-8 character, between CR and LF, inside a field name. Lines are
//! therefore split on bytes and decoded only when they are whole.
//! Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event:` field, if there was one.
    pub event: Option<String>,
    /// The `data:` lines, joined by line feeds. Invalid UTF-8 becomes U+FFFD.
    pub data: String,
}

/// An event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {limit_bytes} bytes")]
pub struct EventTooLarge {
    /// The limit.
    pub limit_bytes: usize,
}

/// Splits a byte stream into events; the same events for any split of the stream.
///
/// ```
/// use sid_llm::SseParser;
/// let mut parser = SseParser::new(1_000);
/// let mut events = Vec::new();
/// for byte in "data: {\"a\":\r\ndata: \"é\"}\r\n\r\n: a comment\n\ndata: [DONE]".bytes() {
///     parser.feed(&[byte], &mut events).unwrap();
/// }
/// events.extend(parser.finish());
/// assert_eq!(events[0].data, "{\"a\":\n\"é\"}");
/// assert_eq!(events[1].data, "[DONE]");
/// ```
#[derive(Debug)]
pub struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    event: Option<String>,
    has_data: bool,
    after_cr: bool,
    is_first_line: bool,
    max_event_bytes: usize,
}

impl SseParser {
    /// A parser that refuses events of more than `max_event_bytes`.
    #[must_use]
    pub const fn new(max_event_bytes: usize) -> Self {
        Self { line: Vec::new(), data: Vec::new(), event: None, has_data: false, after_cr: false, is_first_line: true, max_event_bytes }
    }

    /// Takes the next bytes and appends the events that they complete.
    ///
    /// Errors: [`EventTooLarge`]; the parser is of no more use then.
    pub fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), EventTooLarge> {
        if !bytes.is_empty() && std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            let is_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_cr {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.check_size()?;
            events.extend(self.end_line());
        }
        self.line.extend_from_slice(bytes);
        self.check_size()
    }

    /// The last event of a stream that ended without a blank line.
    pub fn finish(&mut self) -> Option<SseEvent> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch()
    }

    const fn check_size(&self) -> Result<(), EventTooLarge> {
        if self.line.len() + self.data.len() > self.max_event_bytes {
            return Err(EventTooLarge { limit_bytes: self.max_event_bytes });
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let mut line = std::mem::take(&mut self.line);
        if self.is_first_line {
            self.is_first_line = false;
            if line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(0) => return None,
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (&line[..], &[][..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
        // The line's memory serves the next one.
        line.clear();
        self.line = line;
        None
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.event.take();
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let data = match String::from_utf8(std::mem::take(&mut self.data)) {
            Ok(data) => data,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Some(SseEvent { event, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::new(100);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events).expect("small events");
        }
        events.extend(parser.finish());
        events.into_iter().map(|e| e.data).collect()
    }

    #[test]
    fn line_ends_of_every_kind_and_split() {
        assert_eq!(parse(&[b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d\n\n"]), ["a", "b", "c", "d"]);
        assert_eq!(parse(&[b"data: a\r", b"\n\r", b"\ndata: b\r", b"\r"]), ["a", "b"]);
        assert_eq!(parse(&[b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"]), ["a\nb"], "one line end, however it is cut");
        assert_eq!(parse(&[b"data: a\r", b"\n", b"\ndata: b"]), ["a", "b"], "the line feed after CR LF is a line end of its own");
        assert_eq!(parse(&[b"\xef\xbb\xbfdata: a\n\n"]), ["a"]);
    }

    #[test]
    fn comments_ids_and_unknown_fields_are_passed_over() {
        assert_eq!(parse(&[b": hello\nid: 7\nretry: 10\nfoo\ndata: a\n\n: bye\n\n"]), ["a"]);
    }

    #[test]
    fn data_without_value_is_an_empty_line() {
        assert_eq!(parse(&[b"data\ndata: x\n\n"]), ["\nx"]);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(parse(&[b"data: a\xff\n\n"]), ["a\u{fffd}"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::new(100);
        let mut events = Vec::new();
        let outcome = (0..20).try_for_each(|_| parser.feed(b"data: 0123456789", &mut events));
        assert_eq!(outcome, Err(EventTooLarge { limit_bytes: 100 }));
    }
}
