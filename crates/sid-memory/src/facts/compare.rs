//! How a new statement stands to those that are stored.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sid_types::Timestamp;

use super::{FactPrompt, object, topic};
use crate::render;
use crate::text::one_line;

/// How a new statement stands to a stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They have nothing to do with each other, or can both be true.
    Apart,
    /// The stored one says it already.
    Same,
    /// They cannot both be true now.
    Instead,
}

/// What a model makes of a new statement: places of stored ones in the list that it was shown, from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// They say the same.
    pub same: Vec<usize>,
    /// They are out of date by it, or it by them.
    pub instead: Vec<usize>,
}

/// Whether two texts have the same words, but for order and endings: no model needs to be asked.
#[must_use]
pub fn is_repetition(new: &str, stored: &str) -> bool {
    let (new, stored) = (topic(new), topic(stored));
    !new.is_empty() && new == stored
}

/// How the statements stand, a model's word being given for the stored one at place `index`. It is not believed that a statement takes
/// another's place of which it has not a single word, nor that one is the same of which it has not half the words.
#[must_use]
pub fn standing(new: &str, stored: &str, comparison: &Comparison, index: usize) -> Standing {
    if is_repetition(new, stored) {
        return Standing::Same;
    }
    let (new, stored) = (topic(new), topic(stored));
    let shared = new.intersection(&stored).count();
    if comparison.instead.contains(&index) && shared > 0 {
        Standing::Instead
    } else if comparison.same.contains(&index) && shared * 2 >= new.len().min(stored.len()) && shared > 0 {
        Standing::Same
    } else {
        Standing::Apart
    }
}

/// Asks how a statement stands to stored ones, given with the times they were said at.
#[must_use]
pub fn compare_prompt(new: (&str, Timestamp), stored: &[(&str, Timestamp)], zone: &TimeZone) -> FactPrompt {
    let system = "Compare a statement with numbered ones about the same user. \"same\": numbers of those that say the same. \"instead\": numbers of \
                  those that cannot be true together with it, because it tells a newer or other value of the same thing. Leave out all others: \
                  most are. Answer with JSON only: {\"same\":[],\"instead\":[]}.";
    let mut user = format!("Statement [{}]: {}\n\nNumbered:\n", render::day(new.1, zone), one_line(new.0));
    for (n, (text, at)) in stored.iter().enumerate() {
        user.push_str(&format!("{}. [{}] {}\n", n + 1, render::day(*at, zone), one_line(text)));
    }
    FactPrompt { system: system.into(), user }
}

/// The schema of the answer to [`compare_prompt`].
#[must_use]
pub fn compare_schema() -> Value {
    let numbers = json!({"type": "array", "items": {"type": "integer"}});
    json!({
        "type": "object",
        "properties": {"same": numbers, "instead": numbers},
        "required": ["same", "instead"],
        "additionalProperties": false,
    })
}

/// Reads the answer to [`compare_prompt`] over `stored` statements; what cannot be read says nothing.
#[must_use]
pub fn read_comparison(answer: &str, stored: usize) -> Comparison {
    let Some(object) = object(answer) else { return Comparison::default() };
    let places = |key: &str| {
        let numbers = object.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
        numbers.filter_map(|n| usize::try_from(n).ok()?.checked_sub(1)).filter(|place| *place < stored).collect()
    };
    Comparison { same: places("same"), instead: places("instead") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_read_and_not_believed_blindly() {
        let comparison = read_comparison(r#"Well: {"same":[1,9,0],"instead":[2]}"#, 3);
        assert_eq!(comparison, Comparison { same: vec![0], instead: vec![1] });
        assert_eq!(read_comparison("no", 3), Comparison::default());
        let stands = |stored: &str, comparison: &Comparison| standing("The user lives in Oslo.", stored, comparison, 0);
        let (same, instead) = (Comparison { same: vec![0], instead: vec![] }, Comparison { same: vec![], instead: vec![0] });
        assert_eq!(stands("The user lives in Bergen.", &instead), Standing::Instead);
        assert_eq!(stands("The user likes jam.", &instead), Standing::Apart, "not a word of it");
        assert_eq!(stands("The user likes jam.", &same), Standing::Apart);
        assert_eq!(stands("In Oslo the user is living.", &Comparison::default()), Standing::Same, "the same words");
        assert_eq!(stands("The user lives in Bergen.", &Comparison::default()), Standing::Apart);
    }

    #[test]
    fn a_prompt_numbers_what_is_stored() {
        let at = "2026-03-01T09:00:00Z".parse().expect("a time");
        let prompt = compare_prompt(("A.", at), &[("B.", at), ("C.", at)], &TimeZone::UTC);
        assert_eq!(prompt.user, "Statement [2026-03-01 Sun]: A.\n\nNumbered:\n1. [2026-03-01 Sun] B.\n2. [2026-03-01 Sun] C.\n");
    }
}
