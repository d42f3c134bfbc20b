//! What a server asks back in the middle of a call (elicitation), and what it is answered.
//!
//! A run does not wait for people inside a call: the question is what the call comes to, and the next call brings the answers along. So it
//! outlives restarts, and nothing is answered that a person has not said. Why: ADR 0034.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction, InputRequest, InputRequests, InputResponses};
use serde_json::{Map, Value};

/// Characters of a question that are told.
const TOLD: usize = 2_000;
/// Questions of one call.
pub(crate) const MOST: usize = 8;

/// What the user has said, for one call.
#[derive(Debug, Clone, Default)]
pub(crate) enum Answers {
    /// Nobody has been asked yet.
    #[default]
    None,
    /// By the names of the fields.
    Given(Map<String, Value>),
}

/// The questions of the call that is under way on a session, and its answers.
#[derive(Default)]
pub(crate) struct Talk(Mutex<State>);

#[derive(Default)]
struct State {
    answers: Answers,
    open: Vec<String>,
}

impl Talk {
    /// A call begins.
    pub(crate) fn begin(&self, answers: Answers) {
        *self.0.lock() = State { answers, open: Vec::new() };
    }

    /// It is over: what nobody has answered.
    pub(crate) fn end(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock()).open
    }

    /// Answers a question from what the user has said; else notes it down, and lets the server know that nobody has chosen.
    pub(crate) fn answer(&self, asked: &ElicitRequestParams) -> ElicitResult {
        let mut state = self.0.lock();
        let question = match asked {
            ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
                let schema = serde_json::to_value(requested_schema).unwrap_or_default();
                if let Answers::Given(given) = &state.answers
                    && let Some(content) = fitting(&schema, given)
                {
                    return ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content));
                }
                format!("{}\n{}", printable(message), fields(&schema))
            }
            ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
                format!("{}\nIt wants the user to open {} and then to try again.", printable(message), printable(url))
            }
            _ => "Something of a kind that is not known here.".to_owned(),
        };
        if state.open.len() < MOST && !state.open.contains(&question) {
            state.open.push(question);
        }
        ElicitResult::new(ElicitationAction::Cancel)
    }

    /// The same for questions that come as a result; `None`: not all of them can be answered.
    pub(crate) fn answer_all(&self, asked: &InputRequests) -> Option<InputResponses> {
        let mut responses = InputResponses::new();
        let mut is_whole = true;
        for (name, request) in asked {
            let answer = match request {
                InputRequest::Elicitation(asked) => self.answer(&asked.params),
                _ => {
                    self.0.lock().open.push("It wants a model or folders of this client, which it is not given.".into());
                    ElicitResult::new(ElicitationAction::Decline)
                }
            };
            is_whole &= answer.action == ElicitationAction::Accept;
            responses.insert(name.clone(), serde_json::to_value(answer).ok()?);
        }
        is_whole.then_some(responses)
    }
}

/// The answers that a form asks for, if all that it needs are there and fit.
fn fitting(schema: &Value, given: &Map<String, Value>) -> Option<Map<String, Value>> {
    let properties = schema["properties"].as_object()?;
    let required: BTreeSet<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut content = Map::new();
    for (name, property) in properties {
        match given.get(name) {
            Some(value) if fits(property, value) => {
                content.insert(name.clone(), value.clone());
            }
            Some(_) => return None,
            None if required.contains(name.as_str()) => return None,
            None => {}
        }
    }
    // A form without required fields is answered by somebody, not by nobody.
    (!content.is_empty()).then_some(content)
}

fn fits(property: &Value, value: &Value) -> bool {
    let is_listed = |key: &str| property[key].as_array().is_none_or(|options| options.contains(value));
    let is_titled = property["oneOf"].as_array().is_none_or(|options| options.iter().any(|o| o["const"] == *value));
    let is_type = match property["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        _ => true,
    };
    is_type && is_titled && is_listed("enum")
}

/// The fields of a form, a line each.
fn fields(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let line = |(name, property): (&String, &Value)| {
        let mut about: Vec<String> = vec![property["type"].as_str().unwrap_or("any").to_owned()];
        about.push(if required.contains(&name.as_str()) { "required".into() } else { "may be left out".into() });
        let options = property["enum"]
            .as_array()
            .cloned()
            .or_else(|| property["oneOf"].as_array().map(|options| options.iter().map(|o| o["const"].clone()).collect()));
        about.extend(options.map(|options| format!("one of {}", Value::Array(options))));
        about.extend(property["description"].as_str().map(str::to_owned));
        format!("- {}: {}", printable(name), printable(&about.join(", ")))
    };
    schema["properties"].as_object().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).take(TOLD).collect()
}

/// What the model is told of questions that are open.
pub(crate) fn told(questions: &[String], answer: &str, tool: &str) -> String {
    let numbered: Vec<String> = questions.iter().zip(1..).map(|(question, n)| format!("{n}. {question}")).collect();
    format!(
        "The server asks for more, and was told that nobody has answered yet:\n{}\nAsk the user; do not answer for them. When they have answered, call `{answer}` \
         with `tool` = `{tool}`, the same `arguments`, and their `answers` by field. If they do not want to, leave it.",
        numbered.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(schema: Value) -> ElicitRequestParams {
        serde_json::from_value(json!({"mode": "form", "message": "Which table?", "requestedSchema": schema})).expect("a form")
    }

    fn given(answers: Value) -> Answers {
        Answers::Given(answers.as_object().cloned().expect("an object"))
    }

    #[test]
    fn a_form_is_answered_by_what_the_user_said_and_by_nothing_else() {
        let schema = json!({"type": "object", "properties": {"seats": {"type": "integer"}, "where": {"type": "string", "enum": ["in", "out"]}}, "required": ["seats"]});
        let check = |answers: Answers, expected: Option<Value>| {
            let talk = Talk::default();
            talk.begin(answers);
            let answer = talk.answer(&form(schema.clone()));
            assert_eq!(answer.content, expected);
            assert_eq!(answer.action == ElicitationAction::Accept, expected.is_some());
            assert_eq!(talk.end().len(), usize::from(expected.is_none()));
        };
        check(Answers::None, None);
        check(given(json!({})), None);
        check(given(json!({"where": "in"})), None);
        check(given(json!({"seats": "four"})), None);
        check(given(json!({"seats": 4, "where": "roof"})), None);
        check(given(json!({"seats": 4, "token": "x"})), Some(json!({"seats": 4})));
        check(given(json!({"seats": 4, "where": "out"})), Some(json!({"seats": 4, "where": "out"})));
    }

    #[test]
    fn what_nobody_must_say_is_not_said_by_nobody() {
        let talk = Talk::default();
        talk.begin(given(json!({})));
        let schema = json!({"type": "object", "properties": {"note": {"type": "string", "description": "For the cook"}}});
        assert_eq!(talk.answer(&form(schema)).action, ElicitationAction::Cancel);
        let open = talk.end();
        assert!(open[0].contains("Which table?") && open[0].contains("- note: string, may be left out, For the cook"), "{open:?}");
        assert!(talk.end().is_empty(), "the next call begins anew");
    }

    #[test]
    fn a_page_to_open_is_told_and_not_taken_for_opened() {
        let asked = json!({"mode": "url", "message": "Pay first.", "url": "https://pay.example/1", "elicitationId": "e"});
        let talk = Talk::default();
        talk.begin(given(json!({"x": 1})));
        let answer = talk.answer(&serde_json::from_value(asked).expect("a request"));
        assert_eq!(answer.action, ElicitationAction::Cancel);
        assert!(talk.end()[0].contains("https://pay.example/1"));
    }
}
