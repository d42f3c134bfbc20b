//! Tool rules: when an agent's tool may be called, and when it must.
//!
//! The machine enforces them, and nothing about them is stored: what a run has called so far is told by its messages, judged again in their
//! order. The offered tools stay the same whatever the rules say, so that the prompt's beginning does; a call against a rule is
//! answered with what to do instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sid_types::{Body, Message, ToolRule};

use crate::tool_call::is_about_arguments;

/// The rules of one run: those whose tools are there.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    list: Vec<ToolRule>,
}

/// How far a run has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Calls that were made, but for those whose arguments did not fit.
    made: BTreeMap<String, u32>,
    /// Tools of which a call came off.
    done: BTreeSet<String>,
}

impl Rules {
    /// The rules that can be kept with the tools that are there.
    #[must_use]
    pub fn of(rules: &[ToolRule], is_there: impl Fn(&str) -> bool) -> Self {
        let kept = |rule: &ToolRule| match rule {
            ToolRule::OnlyAfter { tool, after } if is_there(tool) => {
                let after: Vec<String> = after.iter().filter(|name| is_there(name)).cloned().collect();
                (!after.is_empty()).then(|| ToolRule::OnlyAfter { tool: tool.clone(), after })
            }
            rule => is_there(rule.tool()).then(|| rule.clone()),
        };
        Self { list: rules.iter().filter_map(kept).collect() }
    }

    /// Whether these rules can be kept together. Errors: why not, for who made them.
    pub fn check(rules: &[ToolRule]) -> Result<(), String> {
        if let Some(rule) = rules.iter().find(|rule| matches!(rule, ToolRule::AtMost { times: 0, .. })) {
            return Err(format!("`{}` may be called at most 0 times: leave the tool out instead", rule.tool()));
        }
        let rules = Self { list: rules.to_vec() };
        let named: BTreeSet<&str> = rules.list.iter().flat_map(ToolRule::names).collect();
        let ends = |name: &str| rules.list.iter().any(|rule| matches!(rule, ToolRule::EndsRun { tool } if tool == name));
        // What a run could have called if it wanted to call everything, without ending.
        let mut progress = Progress::default();
        while let Some(next) =
            named.iter().find(|name| !ends(name) && !progress.done.contains(**name) && rules.judge(&progress, name).is_none())
        {
            progress.done.insert((*next).to_owned());
        }
        match named.iter().find(|name| !progress.done.contains(**name) && rules.judge(&progress, name).is_some()) {
            Some(name) => {
                let why = rules.judge(&progress, name).unwrap_or_default();
                Err(format!("under these rules `{name}` can never be called ({why})"))
            }
            None => Ok(()),
        }
    }

    /// Why this call must not be made now; `None` = it may.
    pub(crate) fn judge(&self, progress: &Progress, name: &str) -> Option<String> {
        let first: Vec<&str> = self.first().filter(|first| !progress.done.contains(*first)).collect();
        if !first.is_empty() && !first.contains(&name) {
            return Some(format!("Each turn begins with {}: call it first, then `{name}` again.", list(&first)));
        }
        for rule in self.list.iter().filter(|rule| rule.tool() == name) {
            match rule {
                ToolRule::OnlyAfter { after, .. } => {
                    let open: Vec<&str> = after.iter().map(String::as_str).filter(|other| !progress.done.contains(*other)).collect();
                    if !open.is_empty() {
                        return Some(format!(
                            "`{name}` may be called only after {}: call it, read its result, then call `{name}`.",
                            list(&open)
                        ));
                    }
                }
                ToolRule::AtMost { times, .. } if progress.made.get(name).is_some_and(|made| made >= times) => {
                    return Some(format!("`{name}` was called as often as it may be in one turn ({times}). Go on without it."));
                }
                ToolRule::EndsRun { .. } => {
                    let open: Vec<&str> = self.required().filter(|other| *other != name && !progress.done.contains(*other)).collect();
                    if !open.is_empty() {
                        return Some(format!("`{name}` ends the turn, and {} must be called before: call it, then `{name}`.", list(&open)));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// What must still be called before the run ends.
    pub(crate) fn unmet(&self, progress: &Progress) -> Vec<&str> {
        let mut open: Vec<&str> = self.first().chain(self.required()).filter(|name| !progress.done.contains(*name)).collect();
        open.dedup();
        open
    }

    /// Whether a call of this tool that came off ends the run.
    pub(crate) fn ends_run(&self, name: &str) -> bool {
        self.list.iter().any(|rule| matches!(rule, ToolRule::EndsRun { tool } if tool == name))
    }

    /// How far a run with these messages has come.
    pub(crate) fn progress<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) -> Progress {
        let mut progress = Progress::default();
        for message in messages {
            match &message.body {
                Body::Assistant { tool_calls, .. } => {
                    for call in tool_calls {
                        self.call(&mut progress, &call.name);
                    }
                }
                Body::Tool { name, text, is_error, .. } => progress.result(name, text, *is_error),
                Body::User { .. } | Body::Note { .. } => {}
            }
        }
        progress
    }

    /// Judges a call and counts it if it may be made.
    pub(crate) fn call(&self, progress: &mut Progress, name: &str) -> Option<String> {
        if self.list.is_empty() {
            return None;
        }
        let refused = self.judge(progress, name);
        if refused.is_none() {
            *progress.made.entry(name.to_owned()).or_default() += 1;
        }
        refused
    }

    fn first(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|rule| if let ToolRule::RunFirst { tool } = rule { Some(tool.as_str()) } else { None })
    }

    fn required(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|rule| if let ToolRule::RequiredBeforeExit { tool } = rule { Some(tool.as_str()) } else { None })
    }
}

impl Progress {
    fn result(&mut self, name: &str, text: &str, is_error: bool) {
        if !is_error {
            self.done.insert(name.to_owned());
        } else if is_about_arguments(text)
            && let Some(made) = self.made.get_mut(name)
        {
            *made = made.saturating_sub(1);
        }
    }
}

/// Rules in words, for the model; empty without any.
pub(crate) fn in_words(rules: &[ToolRule]) -> String {
    let mut out = String::new();
    for rule in rules {
        let _ = match rule {
            ToolRule::RunFirst { tool } => write!(out, " Begin each turn with `{tool}`."),
            ToolRule::RequiredBeforeExit { tool } => write!(out, " Call `{tool}` before you end a turn."),
            ToolRule::OnlyAfter { tool, after } => {
                let after: Vec<&str> = after.iter().map(String::as_str).collect();
                write!(out, " Call `{tool}` only after {}.", list(&after))
            }
            ToolRule::AtMost { tool, times } => write!(out, " Call `{tool}` at most {times} times a turn."),
            ToolRule::EndsRun { tool } => write!(out, " `{tool}` ends the turn."),
        };
    }
    out
}

/// `a`, `b` and `c`.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(tool: &str) -> ToolRule {
        ToolRule::RunFirst { tool: tool.into() }
    }
    fn required(tool: &str) -> ToolRule {
        ToolRule::RequiredBeforeExit { tool: tool.into() }
    }
    fn after(tool: &str, after: &[&str]) -> ToolRule {
        ToolRule::OnlyAfter { tool: tool.into(), after: after.iter().map(|a| (*a).into()).collect() }
    }
    fn ends(tool: &str) -> ToolRule {
        ToolRule::EndsRun { tool: tool.into() }
    }
    fn at_most(tool: &str, times: u32) -> ToolRule {
        ToolRule::AtMost { tool: tool.into(), times }
    }

    #[test]
    fn rules_that_no_run_can_keep_are_refused_by_name() {
        let check = |rules: &[ToolRule], expected: Option<&str>| match (Rules::check(rules), expected) {
            (Ok(()), None) => {}
            (Err(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
            (found, _) => panic!("{found:?} for {rules:?}"),
        };
        check(&[], None);
        check(&[first("a"), required("b"), after("c", &["a", "b"]), ends("d"), at_most("b", 1)], None);
        check(&[first("a"), first("b"), after("b", &["a"])], None);
        check(&[first("a"), ends("a")], None);
        check(&[after("a", &["a"])], Some("`a`"));
        check(&[after("a", &["b"]), after("b", &["c"]), after("c", &["a"])], Some("`a`"));
        check(&[first("a"), after("a", &["b"])], Some("`a`"));
        check(&[ends("a"), after("b", &["a"])], Some("`b`"));
        check(&[first("a"), ends("a"), required("b")], Some("`a`"));
        check(&[at_most("a", 0)], Some("at most 0"));
    }

    #[test]
    fn rules_about_tools_that_are_not_there_mean_nothing() {
        let rules = Rules::of(&[first("gone"), required("gone"), after("a", &["gone", "b"]), after("b", &["gone"])], |name| name != "gone");
        assert_eq!(rules.list, [after("a", &["b"])]);
    }
}
