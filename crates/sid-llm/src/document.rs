//! Documents of engines: strict JSON, but for what engines are known to get wrong.

use serde_json::Value;

/// Parses a document of an engine: strict JSON, but lone surrogates are replaced and nesting beyond 120 levels is cut to
/// `null` instead of refusing all of it.
///
/// Errors: what `serde_json` says about it.
pub(crate) fn parse_document(text: &str) -> Result<Value, serde_json::Error> {
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mended = replace_lone_surrogates(text);
    let mended = cut_depth(mended.as_deref().unwrap_or(text), 120).or(mended);
    match mended {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(error),
    }
}

fn surrogate_at(text: &str, at: usize) -> Option<u32> {
    let code = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(code, 16).ok().filter(|c| (0xd800..0xe000).contains(c))
}

/// `None` when there is nothing to replace.
fn replace_lone_surrogates(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut from, mut at) = (0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match surrogate_at(text, at) {
            Some(0xd800..0xdc00) if matches!(surrogate_at(text, at + 6), Some(0xdc00..0xe000)) => at += 12,
            Some(_) => {
                out.push_str(&text[from..at]);
                out.push_str("\\ufffd");
                at += 6;
                from = at;
            }
            None => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    (from > 0).then(|| out + &text[from..])
}

/// `None` when nothing is deeper than `max`.
fn cut_depth(text: &str, max: usize) -> Option<String> {
    let mut out = String::new();
    let (mut depth, mut in_string, mut escaped, mut cut) = (0_usize, false, false, false);
    for c in text.chars() {
        let was = depth;
        match c {
            _ if in_string => {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
            }
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if was <= max && depth > max {
            out.push_str("null");
            cut = true;
        } else if was <= max {
            out.push(c);
        }
    }
    cut.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_survive_surrogates_and_depth() {
        assert_eq!(parse_document(r#"{"a": "x\ud800y"}"#).expect("mended"), json!({"a": "x\u{fffd}y"}));
        assert_eq!(parse_document(r#"{"a": "\\ud800"}"#).expect("no surrogate at all"), json!({"a": "\\ud800"}));
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(500), "]".repeat(500));
        assert!(parse_document(&deep).is_ok());
        assert!(parse_document("{\"a\": ").is_err());
    }
}
