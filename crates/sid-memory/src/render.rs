//! Messages and times as text: the one place that decides how they read, so that prompts, summaries and tools agree.

use jiff::tz::TimeZone;
use sid_types::{Body, Message, Role, Timestamp};

/// `2025-03-10 Mon 09:00` in the given zone.
///
/// ```
/// # use sid_memory::render::stamp;
/// let at = "2025-03-10T09:00:00Z".parse().unwrap();
/// assert_eq!(stamp(at, &jiff::tz::TimeZone::UTC), "2025-03-10 Mon 09:00");
/// ```
#[must_use]
pub fn stamp(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %a %H:%M").to_string()
}

/// `2025-03-10 Mon` in the given zone.
#[must_use]
pub fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %a").to_string()
}

/// `2025-03-10 Mon`.
#[must_use]
pub fn date(date: jiff::civil::Date) -> String {
    date.strftime("%Y-%m-%d %a").to_string()
}

/// The zone with this IANA name; UTC for names that are not known.
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// How a role is called in texts that a model reads.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Note => "note",
    }
}

/// Whether a user's message that was said at `at` gets a date marker: where nothing is before it (`previous` is `None`), on another day
/// than the message before, and after an hour of silence.
#[must_use]
pub fn needs_marker(previous: Option<Timestamp>, at: Timestamp, zone: &TimeZone) -> bool {
    let Some(previous) = previous else { return true };
    at.duration_since(previous).abs() >= jiff::SignedDuration::from_hours(1)
        || at.to_zoned(zone.clone()).date() != previous.to_zoned(zone.clone()).date()
}

/// A human's words as the prompt shows them: date marker where `previous` (the message before in the queue) asks for one, speaker
/// where one is named, then the text.
#[must_use]
pub fn user_text(text: &str, speaker: Option<&str>, previous: Option<Timestamp>, at: Timestamp, zone: &TimeZone) -> String {
    let text = if text.trim().is_empty() { "(empty message)" } else { text };
    let marker = if needs_marker(previous, at, zone) { format!("[{}] ", stamp(at, zone)) } else { String::new() };
    match speaker {
        Some(speaker) => format!("{marker}{speaker}: {text}"),
        None => format!("{marker}{text}"),
    }
}

/// One line of a transcript: `[2025-03-10 Mon 09:00] user: text`, calls by their names, tool results marked as such.
///
/// Shape: one line whatever the text holds; empty for messages that say nothing.
#[must_use]
pub fn transcript_line(body: &Body, speaker: Option<&str>, at: Timestamp, zone: &TimeZone) -> String {
    let mut text = crate::text::one_line(body.text());
    for call in body.tool_calls() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("(calls {})", call.name));
    }
    if text.is_empty() {
        return String::new();
    }
    let who = match body {
        Body::Tool { name, .. } => format!("result of {name}"),
        _ => speaker.map_or_else(|| role_name(body.role()).to_owned(), ToOwned::to_owned),
    };
    format!("[{}] {who}: {text}", stamp(at, zone))
}

/// [`transcript_line`] of a stored message.
#[must_use]
pub fn message_line(message: &Message, zone: &TimeZone) -> String {
    transcript_line(&message.body, message.speaker.as_deref(), message.at, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn markers_come_at_the_start_on_another_day_and_after_a_pause() {
        let check = |previous: Option<&str>, now: &str, zone: &str, expected: bool| {
            assert_eq!(needs_marker(previous.map(at), at(now), &super::zone(zone)), expected, "{previous:?} {now} {zone}");
        };
        check(None, "2025-03-10T09:00:00Z", "UTC", true);
        check(Some("2025-03-10T09:00:00Z"), "2025-03-10T09:05:00Z", "UTC", false);
        check(Some("2025-03-10T09:00:00Z"), "2025-03-10T11:05:00Z", "UTC", true);
        check(Some("2025-03-10T22:50:00Z"), "2025-03-10T23:10:00Z", "UTC", false);
        check(Some("2025-03-10T22:50:00Z"), "2025-03-10T23:10:00Z", "Europe/Berlin", true);
    }

    #[test]
    fn lines_are_one_line() {
        let body = Body::User { text: "a\nb\r\n  c".into() };
        assert_eq!(transcript_line(&body, None, at("2025-03-10T09:00:00Z"), &TimeZone::UTC), "[2025-03-10 Mon 09:00] user: a b c");
    }
}
