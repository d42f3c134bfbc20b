//! What agents are told of each other.

use sid_types::Agent;

/// A question to an agent.
pub(super) fn question(from: &Agent, text: &str) -> String {
    format!(
        "[Agent \"{}\" asks you, in the service of this user] {text}\n[Your reply goes to that agent, not to the user.]",
        from.spec.name
    )
}

/// A message to an agent that works on its own for it.
pub(super) fn message(from: &Agent, text: &str) -> String {
    format!(
        "[Message from agent \"{}\", in the service of this user] {text}\n[Nobody reads your reply. If that agent must know something, send it a message.]",
        from.spec.name
    )
}

/// A message back to where the reader had written from.
pub(super) fn back(from: &Agent, text: &str) -> String {
    format!("[Message from agent \"{}\"] {text}", from.spec.name)
}

/// Those who can be spoken with, for the tools' descriptions.
pub(super) fn list(colleagues: &[Agent]) -> String {
    let line = |agent: &Agent| match agent.spec.tags.as_slice() {
        [] => agent.spec.name.clone(),
        tags => format!("{} ({})", agent.spec.name, tags.join(", ")),
    };
    colleagues.iter().map(line).collect::<Vec<_>>().join(", ")
}
