//! JSON as models write it.
//!
//! A recursive parser for JSON with the usual slips: trailing commas, missing closers, single or curly quotes, quotes
//! and line breaks inside strings, unquoted keys, Python's literals, lone surrogates. What cannot be meant in one way
//! only is refused: a string that never ends was cut off, and half a memory must not be stored.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is read; deeper is refused.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a text is not even nearly JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The text ended inside a string or before a value.
    CutOff,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Something else stands where a value or a closer should be.
    Unexpected,
}

impl Problem {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::CutOff => "the JSON is cut off: write it whole, and shorter if it is long",
            Self::TooDeep => "the JSON is nested too deeply: use fewer levels",
            Self::Unexpected => "this is not valid JSON: write one JSON object with double-quoted keys and strings",
        }
    }
}

/// Reads one value from the start of `text` (after white space); answers it and the bytes it took.
pub(crate) fn read_value(text: &str) -> Result<(Value, usize), Problem> {
    let mut parser = Parser { text, at: 0 };
    parser.skip_space();
    let value = parser.value(0, Place::Top)?;
    Ok((value, parser.at))
}

/// Where a value stands: decides which character may follow its closing quote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Key,
    InObject,
    InArray,
    /// An argument of a Python call.
    Argument,
}

/// Reads the keyword arguments of a Python call, after the opening parenthesis; answers them and the bytes up to and
/// with the closing one.
pub(crate) fn read_python_arguments(text: &str) -> Result<(Map<String, Value>, usize), Problem> {
    let mut parser = Parser { text, at: 0 };
    let mut map = Map::new();
    loop {
        parser.skip_space();
        match parser.peek() {
            Some(')') => {
                parser.at += 1;
                return Ok((map, parser.at));
            }
            Some(',') => parser.at += 1,
            Some(c) if c == '_' || c.is_alphabetic() => {
                let key = parser.word().to_owned();
                parser.skip_space();
                if parser.peek() != Some('=') {
                    return Err(if parser.peek().is_none() { Problem::CutOff } else { Problem::Unexpected });
                }
                parser.at += 1;
                parser.skip_space();
                let value = parser.value(0, Place::Argument)?;
                map.insert(key, value);
            }
            Some(_) => return Err(Problem::Unexpected),
            None => return Err(Problem::CutOff),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'))).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn value(&mut self, depth: usize, place: Place) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        match self.peek() {
            None => Err(Problem::CutOff),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"' | '\'' | '“') => self.string(place).map(Value::String),
            Some(c) if c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '.') => self.scalar(),
            Some(_) => Err(Problem::Unexpected),
        }
    }

    fn scalar(&mut self) -> Result<Value, Problem> {
        let word = self.word();
        Ok(match word {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" | "undefined" | "NaN" => Value::Null,
            _ => match word.trim_start_matches('+').parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => Value::String(word.to_owned()),
            },
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Problem> {
        self.at += 1;
        let mut map = Map::new();
        loop {
            self.skip_space();
            match self.peek() {
                // The end of the text closes what is open, between two members.
                None => return Ok(Value::Object(map)),
                Some('}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                Some(',') => self.at += 1,
                Some(c) => {
                    let key = match c {
                        '"' | '\'' | '“' => self.string(Place::Key)?,
                        c if c == '_' || c.is_alphanumeric() => self.word().to_owned(),
                        _ => return Err(Problem::Unexpected),
                    };
                    self.skip_space();
                    match self.peek() {
                        Some(':') => self.at += 1,
                        None => return Err(Problem::CutOff),
                        Some(_) => return Err(Problem::Unexpected),
                    }
                    self.skip_space();
                    let value = self.value(depth + 1, Place::InObject)?;
                    map.insert(key, value);
                }
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Problem> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None => return Ok(Value::Array(items)),
                Some(']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                Some(',') => self.at += 1,
                // A closer of the wrong kind: the array's own was forgotten.
                Some('}') => return Ok(Value::Array(items)),
                Some(_) => items.push(self.value(depth + 1, Place::InArray)?),
            }
        }
    }

    fn string(&mut self, place: Place) -> Result<String, Problem> {
        let close = match self.peek() {
            Some('“') => '”',
            Some(c) => c,
            None => return Err(Problem::CutOff),
        };
        self.at += self.peek().map_or(0, char::len_utf8);
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == close && self.closes(place) {
                return Ok(out);
            }
            if c == '\\' { self.escape(&mut out)? } else { out.push(c) }
        }
        Err(Problem::CutOff)
    }

    /// Whether the quote just passed ends the string, by what follows it.
    fn closes(&self, place: Place) -> bool {
        let rest = self.rest().trim_start();
        let mut after = rest.chars();
        match (after.next(), place) {
            (None, _) | (_, Place::Top) => true,
            (Some(':'), Place::Key) => true,
            (Some('}' | ']'), Place::InObject | Place::InArray) => true,
            (Some(','), Place::InObject) => {
                let next = after.as_str().trim_start().chars().next();
                next.is_none_or(|c| {
                    matches!(c, '"' | '\'' | '“' | '}') || c == '_' || c.is_alphabetic() && self.looks_like_key(after.as_str())
                })
            }
            (Some(','), Place::InArray) => true,
            (Some(',' | ')'), Place::Argument) => true,
            _ => false,
        }
    }

    /// Whether an unquoted word and a colon follow.
    fn looks_like_key(&self, text: &str) -> bool {
        let text = text.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        text[end..].trim_start().starts_with(':')
    }

    fn escape(&mut self, out: &mut String) -> Result<(), Problem> {
        let Some(c) = self.peek() else { return Err(Problem::CutOff) };
        self.at += c.len_utf8();
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '"' | '\'' | '\\' | '/' | '\n' => out.push(c),
            'u' => out.push(self.unicode_escape()),
            // Not an escape of JSON, such as a Windows path or a regular expression.
            _ => {
                out.push('\\');
                out.push(c);
            }
        }
        Ok(())
    }

    fn unicode_escape(&mut self) -> char {
        let Some(first) = self.hex4() else { return char::REPLACEMENT_CHARACTER };
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            if let Some(second @ 0xdc00..0xe000) = self.hex4() {
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
            self.at = back;
        }
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let code = u32::from_str_radix(self.rest().get(..4)?, 16).ok()?;
        self.at += 4;
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slips_are_mended() {
        for (written, meant) in [
            (r#"{"a": 1,}"#, json!({"a": 1})),
            (r#"{"a": [1, 2,], }"#, json!({"a": [1, 2]})),
            (r#"{"a": {"b": 1}"#, json!({"a": {"b": 1}})),
            (r#"{"a": [1, 2"#, json!({"a": [1, 2]})),
            (r#"{'a': 'it'}"#, json!({"a": "it"})),
            (r#"{'a': 'it's here', 'b': 2}"#, json!({"a": "it's here", "b": 2})),
            (r#"{a: True, b: None}"#, json!({"a": true, "b": null})),
            (r#"{"a": "he said "hi" twice"}"#, json!({"a": "he said \"hi\" twice"})),
            ("{\"a\": \"two\nlines\"}", json!({"a": "two\nlines"})),
            (r#"{"a": "C:\dir"}"#, json!({"a": "C:\\dir"})),
            (r#"{"a": "\ud83d\ude00 \ud83d"}"#, json!({"a": "😀 \u{fffd}"})),
            (r#"{“a”: “x”}"#, json!({"a": "x"})),
        ] {
            assert_eq!(read_value(written).map(|v| v.0), Ok(meant), "{written}");
        }
    }

    #[test]
    fn half_strings_and_abysses_are_refused() {
        assert_eq!(read_value(r#"{"query": "half a str"#), Err(Problem::CutOff));
        assert_eq!(read_value(r#"{"query":"#), Err(Problem::CutOff));
        assert_eq!(read_value(&"[".repeat(100_000)), Err(Problem::TooDeep));
        assert_eq!(read_value("}"), Err(Problem::Unexpected));
    }
}
