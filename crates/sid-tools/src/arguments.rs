//! Arguments as a schema wants them: harmless mistakes are mended, the others are told in words that a model can act on.

use std::borrow::Cow;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

/// Most characters of a problem: a given value may be long.
const MOST_CHARS: usize = 300;

/// Makes values fit their declared types where nothing can be lost: small models write `"5"` for 5, `"true"` for true, a bare
/// value for a list of one, a JSON text for an object, `"Large"` for `"large"`. At any depth. Unknown arguments are dropped where the
/// schema forbids them, and nulls where the argument may be left out.
pub(crate) fn coerce(arguments: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    object(arguments, schema)
}

fn object(mut given: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return given };
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        given.retain(|key, _| properties.contains_key(key));
    }
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, declared) in properties {
        if given.get(key).is_some_and(Value::is_null) && !required.contains(&key.as_str()) && !takes_null(declared) {
            given.shift_remove(key);
        }
        if let Some(value) = given.get_mut(key) {
            mend(value, declared);
        }
    }
    given
}

fn mend(value: &mut Value, declared: &Value) {
    let declared = sole_variant(declared);
    let types = types(declared);
    if !types.is_empty()
        && !types.iter().any(|wanted| is_of(value, wanted))
        && let Some(mended) = types.iter().find_map(|wanted| as_type(value, wanted))
    {
        *value = mended;
    }
    if let Some(listed) = declared.get("enum").and_then(Value::as_array)
        && !listed.contains(value)
        && let Some(same) = same_word(value, listed)
    {
        *value = same;
    }
    match value {
        Value::Object(_) => {
            if let Value::Object(given) = value.take() {
                *value = Value::Object(object(given, declared));
            }
        }
        Value::Array(items) => {
            if let Some(each) = declared.get("items") {
                items.iter_mut().for_each(|item| mend(item, each));
            }
        }
        _ => {}
    }
}

/// The one alternative that is not null, where there is one: an optional value.
fn sole_variant(declared: &Value) -> &Value {
    let Some(variants) = ["anyOf", "oneOf"].iter().find_map(|key| declared.get(key)).and_then(Value::as_array) else { return declared };
    let mut real = variants.iter().filter(|v| v.get("type").and_then(Value::as_str) != Some("null"));
    match (real.next(), real.next()) {
        (Some(only), None) => only,
        _ => declared,
    }
}

/// The types that a schema names, but for null.
fn types(declared: &Value) -> Vec<&str> {
    match declared.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    }
}

fn takes_null(declared: &Value) -> bool {
    let is_null = |t: &Value| t.as_str() == Some("null");
    match declared.get("type") {
        Some(Value::Array(many)) => many.iter().any(is_null),
        Some(one) => is_null(one),
        None => ["anyOf", "oneOf"]
            .iter()
            .filter_map(|key| declared.get(key).and_then(Value::as_array))
            .flatten()
            .any(|v| v.get("type").is_some_and(is_null)),
    }
}

fn is_of(value: &Value, wanted: &str) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// The value as this type, if nothing is lost.
fn as_type(value: &Value, wanted: &str) -> Option<Value> {
    match (wanted, value) {
        ("integer", Value::String(s)) => as_type(&Value::Number(s.trim().parse().ok()?), "integer"),
        ("integer", Value::Number(n)) if n.is_f64() => {
            n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| Value::from(f as i64))
        }
        ("integer", Value::Number(n)) => Some(Value::Number(n.clone())),
        ("number", Value::String(s)) => s.trim().parse::<serde_json::Number>().ok().map(Value::Number),
        ("boolean", Value::String(s)) => s.trim().to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool),
        ("string", Value::Number(n)) => Some(Value::String(n.to_string())),
        ("string", Value::Bool(b)) => Some(Value::String(b.to_string())),
        ("array", Value::String(s)) => {
            serde_json::from_str::<Value>(s).ok().filter(Value::is_array).or_else(|| Some(Value::Array(vec![value.clone()])))
        }
        ("array", Value::Number(_) | Value::Bool(_) | Value::Object(_)) => Some(Value::Array(vec![value.clone()])),
        ("object", Value::String(s)) => serde_json::from_str::<Value>(s).ok().filter(Value::is_object),
        _ => None,
    }
}

/// The one listed word that differs in case and in white space around it only.
fn same_word(value: &Value, listed: &[Value]) -> Option<Value> {
    let given = value.as_str()?.trim().to_lowercase();
    let mut same = listed.iter().filter(|word| word.as_str().is_some_and(|word| word.trim().to_lowercase() == given));
    match (same.next(), same.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// What is wrong: which argument, what was given, what is allowed.
pub(crate) fn describe(error: &ValidationError<'_>, schema: &Value) -> String {
    let place = place(&error.instance_path.to_string());
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let text: Cow<'_, str> = match &error.kind {
        ValidationErrorKind::Required { property } => format!("`{}` is missing", inside(property.as_str().unwrap_or_default())).into(),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown: Vec<String> = unexpected.iter().map(|name| format!("`{}`", inside(name))).collect();
            let known = schema.get("properties").and_then(Value::as_object).filter(|_| place.is_empty());
            let known = known.map(|p| p.keys().cloned().collect::<Vec<_>>().join(", ")).filter(|k| !k.is_empty());
            let known = known.map_or_else(String::new, |k| format!("; there are: {k}"));
            format!("{} is not known{known}", unknown.join(", ")).into()
        }
        _ if place.is_empty() => error.to_string().into(),
        _ => format!("`{place}`: {error}").into(),
    };
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}

/// `/lines/0/bread` as `lines[0].bread`.
fn place(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&format!("[{part}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(declared: Value, given: Value, expected: Value) {
        let schema = json!({"type": "object", "properties": {"x": declared}});
        let arguments = Map::from_iter([("x".to_owned(), given)]);
        assert_eq!(coerce(arguments, &schema).get("x"), Some(&expected));
    }

    #[test]
    fn harmless_mistakes_are_coerced() {
        check(json!({"type": "integer"}), json!("5"), json!(5));
        check(json!({"type": "integer"}), json!(5.0), json!(5));
        check(json!({"type": "integer"}), json!("5.0"), json!(5));
        check(json!({"type": "number"}), json!("5.5"), json!(5.5));
        check(json!({"type": "boolean"}), json!("True"), json!(true));
        check(json!({"type": "string"}), json!(7), json!("7"));
        check(json!({"type": "array"}), json!("[1]"), json!([1]));
        check(json!({"type": "array"}), json!("one"), json!(["one"]));
        check(json!({"type": "object"}), json!("{\"a\":1}"), json!({"a": 1}));
        check(json!({"enum": ["small", "large"]}), json!(" Large"), json!("large"));
    }

    #[test]
    fn mistakes_further_down_are_coerced_too() {
        check(json!({"type": "array", "items": {"type": "integer"}}), json!("7"), json!([7]));
        check(json!({"type": "array", "items": {"type": "integer"}}), json!(["1", 2]), json!([1, 2]));
        let line = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false});
        check(json!({"type": "array", "items": line}), json!({"n": "2", "more": 1}), json!([{"n": 2}]));
        check(json!({"type": ["integer", "null"]}), json!("3"), json!(3));
        check(json!({"type": ["integer", "null"]}), json!(null), json!(null));
        check(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!("3"), json!(3));
        check(json!({"type": ["string", "integer"]}), json!("3"), json!("3"));
    }

    #[test]
    fn lossy_mistakes_are_left_for_the_schema_to_refuse() {
        check(json!({"type": "integer"}), json!("five"), json!("five"));
        check(json!({"type": "integer"}), json!(5.5), json!(5.5));
        check(json!({"type": "object"}), json!("text"), json!("text"));
        check(json!({"type": "boolean"}), json!("yes"), json!("yes"));
        check(json!({"enum": ["a", "A"]}), json!(" a"), json!(" a"));
        check(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), json!("3"), json!("3"));
    }

    #[test]
    fn a_problem_names_the_argument_what_was_given_and_what_is_allowed() {
        let schema = json!({"type": "object", "required": ["size"], "additionalProperties": false, "properties": {
            "size": {"enum": ["small", "large"]},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}}}});
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let told = |given: Value| validator.iter_errors(&given).map(|e| describe(&e, &schema)).collect::<Vec<_>>().join("; ");
        assert_eq!(told(json!({})), "`size` is missing");
        assert_eq!(told(json!({"size": "small", "colour": 1})), "`colour` is not known; there are: size, lines");
        let enumerated = told(json!({"size": "huge"}));
        assert!(["`size`", "huge", "small", "large"].iter().all(|part| enumerated.contains(part)), "{enumerated}");
        let nested = told(json!({"size": "small", "lines": [{"n": 0}]}));
        assert!(["`lines[0].n`", "0", "minimum of 1"].iter().all(|part| nested.contains(part)), "{nested}");
        assert_eq!(told(json!({"size": "small", "lines": [{}]})), "`lines[0].n` is missing");
        assert!(told(json!({"size": "x".repeat(10_000)})).len() < 400);
    }
}
