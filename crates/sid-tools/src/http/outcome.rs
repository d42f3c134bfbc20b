//! What the model is told of an answer.

use sid_fetch::{FetchError, Refusal, Response};
use sid_types::Tokens;

use super::connection::Headers;
use crate::{EffectClass, ToolOutcome};

/// Bytes that a token has at least, roughly: JSON and other languages take more tokens than English.
const BYTES_A_TOKEN: usize = 3;

/// A good answer is the body; an error says what the model can do about it.
pub(super) fn of_response(response: &Response, headers: &Headers, budget: Tokens) -> ToolOutcome {
    let status = response.status;
    // Before it is cut: half a secret would not be found.
    let body = headers.hide(body_text(response));
    let named = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let named = named.trim_end();
    if status.is_success() {
        return ToolOutcome::text(if body.is_empty() { format!("Done ({named}, no content).") } else { cut(&body, budget) });
    }
    let wait = response.headers.get("retry-after").and_then(|v| v.to_str().ok()).filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    let advice = match status.as_u16() {
        300..=399 => "It points elsewhere without a place to go; nothing was done.".to_owned(),
        400 | 422 => "Correct the arguments and call it again.".to_owned(),
        401 | 403 | 407 => {
            "The service does not accept these credentials, or this is not allowed; other arguments will not help. Tell the user."
                .to_owned()
        }
        404 | 410 => "There is no such thing: check names and ids.".to_owned(),
        409 | 412 => "It clashes with what is there: read the present state first.".to_owned(),
        413 => "Send less.".to_owned(),
        429 => format!("Too many calls: wait{} before the next.", wait.map(|w| format!(" {w} seconds")).unwrap_or_default()),
        _ if status.is_server_error() => "The service has a fault; it may work later.".to_owned(),
        _ => "It was not done.".to_owned(),
    };
    let head = format!("The service answered {named}. {advice}");
    let room = Tokens(budget.0.saturating_sub(u32::try_from(head.len() / BYTES_A_TOKEN).unwrap_or(u32::MAX)));
    ToolOutcome::error(if body.is_empty() { head } else { format!("{head}\n{}", cut(&body, room)) })
}

/// A call without an answer.
pub(super) fn of_failure(error: &FetchError, effect: EffectClass) -> ToolOutcome {
    let more = match error {
        FetchError::Timeout { .. } | FetchError::Interrupted { .. } | FetchError::TooLarge { .. } if effect != EffectClass::Read => {
            " It may have been carried out all the same: look before you repeat it."
        }
        FetchError::Refused(Refusal::NoPublicAddress { .. } | Refusal::Undeclared(_)) | FetchError::BadUrl { .. } => "",
        error if error.is_transient() => " It may work later.",
        _ => "",
    };
    ToolOutcome::error(format!("The call came to nothing: {error}.{more}"))
}

fn body_text(response: &Response) -> String {
    match std::str::from_utf8(&response.body) {
        Ok(text) => text.trim().to_owned(),
        Err(_) if is_text(&response.media_type()) => response.text().trim().to_owned(),
        Err(_) => format!("({} bytes of {}, which is not text)", response.body.len(), response.media_type()),
    }
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/") || kind.ends_with("json") || kind.ends_with("xml")
}

/// As much of a long text as fits, from this character on, with where the next part starts.
pub(super) fn part(text: &str, start: usize, budget: Tokens) -> String {
    let rest: String = text.chars().skip(start).collect();
    if rest.is_empty() {
        return format!("[There is nothing from character {start} on: the text ends at {}.]", text.chars().count());
    }
    let most = (budget.0 as usize).saturating_mul(BYTES_A_TOKEN);
    if rest.len() <= most {
        return rest;
    }
    // Room for the note, whatever its numbers are.
    let end = rest.floor_char_boundary(most.saturating_sub(120));
    let shown = rest[..end].chars().count();
    format!(
        "{}\n[characters {start} to {} of {}; call again with start={} for more]",
        &rest[..end],
        start + shown,
        text.chars().count(),
        start + shown
    )
}

/// As much as fits, with a word about the rest.
pub(super) fn cut(text: &str, budget: Tokens) -> String {
    let most = (budget.0 as usize).saturating_mul(BYTES_A_TOKEN);
    if text.len() <= most {
        return text.to_owned();
    }
    let note = format!("\n[cut: {} bytes in all; ask for less or for a part]", text.len());
    let mut end = most.saturating_sub(note.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{note}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_read_part_by_part() {
        let text: String = (0..3_000).map(|n| format!("é{n} ")).collect();
        let (mut read, mut start, mut parts) = (String::new(), 0, 0);
        loop {
            let told = part(&text, start, Tokens(500));
            assert!(told.len() <= 1_500, "{}", told.len());
            let Some((shown, note)) = told.rsplit_once("\n[") else {
                read.push_str(&told);
                break;
            };
            read.push_str(shown);
            let next = note.split("start=").nth(1).and_then(|n| n.split(' ').next()).expect("where to go on");
            start = next.parse().expect("a number");
            parts += 1;
        }
        assert!(read == text && parts > 5, "{parts}");
        assert!(part("short", 99, Tokens(500)).contains("ends at 5"));
    }
}
