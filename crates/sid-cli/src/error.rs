//! What can go wrong, told in one line with what to do and a stable code; and the exit code that scripts see.

use std::io;

use serde::Deserialize;
use serde_json::json;

/// Exit codes. 0 is success, 2 is also what clap answers for a wrong command line.
pub mod exit {
    /// The command failed.
    pub const FAILURE: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The server (or the data folder) cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// The credentials were refused.
    pub const REFUSED: u8 = 4;
    /// Left by Ctrl-C.
    pub const INTERRUPTED: u8 = 130;
}

/// The server's refusal (RFC 9457), as far as the command line reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Stable, such as `SID-STORE-NOT-FOUND`.
    pub code: String,
    /// The code in words.
    pub title: String,
    /// What is wrong with this request.
    pub detail: String,
    /// What the server's log knows the request by.
    pub request_id: String,
}

/// A failed command.
#[derive(Debug)]
pub enum CliError {
    /// The arguments do not fit together.
    Usage(String),
    /// Nothing answers.
    Unreachable {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The server refused.
    Api(Box<Problem>),
    /// Something of our own failed.
    Failed {
        /// Stable.
        code: &'static str,
        /// What.
        message: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// Whoever read our output went away: not a failure, and nobody is left to be told.
    BrokenPipe,
    /// Ctrl-C.
    Interrupted,
}

impl CliError {
    pub(crate) fn failed(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into(), hint: hint.into() }
    }

    /// Standard output (or the terminal) failed.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::failed("SID-CLI-OUTPUT", format!("cannot write the output: {error}"), "is the disk full?")
    }

    /// A file of the user's.
    pub(crate) fn file(doing: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
            io::ErrorKind::AlreadyExists => "choose another name, or add --force to overwrite it",
            io::ErrorKind::StorageFull => "free some space and try again",
            _ => "",
        };
        Self::failed("SID-CLI-FILE", format!("cannot {doing} {}: {error}", path.display()), hint)
    }

    /// An answer that does not have the shape that it should have.
    pub(crate) fn odd_answer(what: &str, why: impl std::fmt::Display) -> Self {
        Self::failed("SID-CLI-ODD-ANSWER", format!("cannot read the answer about {what}: {why}"), "is it a Sid server of the same version?")
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Unreachable { .. } => exit::UNREACHABLE,
            Self::Api(problem) if matches!(problem.status, 401 | 403) => exit::REFUSED,
            Self::Api(_) | Self::Failed { .. } => exit::FAILURE,
            Self::BrokenPipe => 0,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "SID-CLI-USAGE",
            Self::Unreachable { .. } => "SID-CLI-UNREACHABLE",
            Self::Api(problem) if problem.code.is_empty() => "SID-CLI-ODD-ANSWER",
            Self::Api(problem) => &problem.code,
            Self::Failed { code, .. } => code,
            Self::BrokenPipe => "SID-CLI-BROKEN-PIPE",
            Self::Interrupted => "SID-CLI-INTERRUPTED",
        }
    }

    /// Whether the error says that the thing is not there (or is somebody else's, which nobody is told).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(problem) if problem.status == 404)
    }

    /// What happened, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Usage(text) => text.clone(),
            Self::Unreachable { what, why, .. } => format!("cannot reach {what}: {why}"),
            Self::Api(problem) if problem.detail.is_empty() => format!("{} (HTTP {})", problem.title, problem.status),
            Self::Api(problem) => problem.detail.clone(),
            Self::Failed { message, .. } => message.clone(),
            Self::BrokenPipe => "nobody reads the output any more".into(),
            Self::Interrupted => "interrupted".into(),
        }
    }

    /// What to do about it; may be empty.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Usage(_) => "see `sid help`, or the same command with --help".into(),
            Self::Unreachable { hint, .. } | Self::Failed { hint, .. } => hint.clone(),
            Self::Api(problem) => hint_for(problem),
            Self::BrokenPipe | Self::Interrupted => String::new(),
        }
    }

    /// For people: one line, and a second one with what to do.
    #[must_use]
    pub fn render(&self, paint: crate::output::Paint) -> String {
        let mut out = format!("{} {} {}", paint.red("error:"), self.message().replace('\n', " "), paint.dim(&format!("[{}]", self.code())));
        let hint = self.hint();
        if !hint.is_empty() {
            out.push_str("\n  ");
            out.push_str(&hint);
        }
        out
    }

    /// For machines.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let (status, request_id) = match self {
            Self::Api(problem) => (Some(problem.status), Some(problem.request_id.as_str())),
            _ => (None, None),
        };
        json!({"error": {"code": self.code(), "message": self.message(), "hint": self.hint(), "status": status, "request_id": request_id}})
    }
}

/// What a person at a terminal can do about a refusal.
fn hint_for(problem: &Problem) -> String {
    let about_log = || match problem.request_id.as_str() {
        "" => "the server's log says more".to_owned(),
        id => format!("the server's log says more about request {id}"),
    };
    match (problem.status, problem.code.as_str()) {
        (_, "SID-API-TENANT-REQUIRED") => "name one with --tenant NAME; `sid tenant list` shows them".into(),
        (401, _) => "give a key with --key, or in the environment variable SID_API_KEY".into(),
        (403, _) => "use a key with more rights; `sid key list` shows what there is".into(),
        (404, "SID-API-NO-ROUTE") => "does --server point at a Sid server, without /api/v1 at the end?".into(),
        (404, _) => "check the name or id; the matching `list` command shows what you can see".into(),
        (409 | 412, code) if code.ends_with("CONFLICT") => "somebody else wrote first: look again and repeat the edit".into(),
        (409, code) if code.ends_with("EXISTS") => "choose another name, or update the one that is there".into(),
        (422, code) if code.contains("MODEL") => "`sid doctor` shows the configured models".into(),
        (429, _) => "wait a moment and try again".into(),
        (502 | 504, _) => "the model endpoint is in trouble: `sid doctor` probes it".into(),
        (507, _) => "free some space on the server's disk".into(),
        (500.., _) => about_log(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;

    fn api(status: u16, code: &str) -> CliError {
        CliError::Api(Box::new(Problem { status, code: code.into(), detail: "no such thing".into(), ..Problem::default() }))
    }

    #[test]
    fn exit_codes_tell_failures_apart() {
        let unreachable = CliError::Unreachable { what: "x".into(), why: "y".into(), hint: String::new() };
        let cases = [
            (CliError::Usage("u".into()), 2),
            (unreachable, 3),
            (api(401, "SID-API-UNAUTHENTICATED"), 4),
            (api(403, "SID-API-FORBIDDEN"), 4),
            (api(404, "SID-STORE-NOT-FOUND"), 1),
            (CliError::failed("SID-CLI-FILE", "m", ""), 1),
            (CliError::BrokenPipe, 0),
        ];
        for (error, expected) in cases {
            assert_eq!(error.exit_code(), expected, "{error:?}");
        }
    }

    #[test]
    fn people_see_one_line_with_a_code_and_what_to_do() {
        let text = api(404, "SID-STORE-NOT-FOUND").render(Paint::plain());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: no such thing [SID-STORE-NOT-FOUND]");
        assert!(lines[1].starts_with("  check the name"), "{text}");
        assert_eq!(api(404, "SID-STORE-NOT-FOUND").to_json()["error"]["status"], 404);
    }
}
