//! Temporal grounding: what day it is for the user, and how long ago the last contact was.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use sid_store::{ItemChange, ItemWrite, NewItem, PageRequest};
use sid_types::{AgentId, Item, ItemKind, Owner, Scope};

use crate::error::Result;
use crate::service::{ContextService, agent_of, by, human_of, of_user};

/// The present moment, as the user lives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounding {
    /// The moment.
    pub now: Timestamp,
    /// The user's IANA time zone; `UTC` where the user has none.
    pub timezone: String,
    /// The same moment there, such as `2026-05-20T09:00:00+02:00`.
    pub local: String,
    /// The day of the week there, such as `Tuesday`.
    pub weekday: String,
    /// The last contact of any assistant with the user, this one's session apart.
    pub last_contact: Option<Contact>,
    /// In a sentence for a model.
    pub words: String,
}

/// A contact of an assistant with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// When it last showed itself.
    pub at: Timestamp,
    /// Which assistant; `None` = the user, or the application, itself.
    pub agent: Option<AgentId>,
    /// How long ago that is, in seconds.
    pub gap_s: i64,
    /// The same in words, such as `9 days`.
    pub gap: String,
}

impl ContextService {
    /// What day it is for the user. Changes nothing.
    pub async fn grounding(&self, scope: &Scope) -> Result<Grounding> {
        self.ground(scope, None).await
    }

    /// Says that the assistant is in contact with its user: goes on with its last session, or begins one after a gap. Answers the session
    /// and the grounding, in which `last_contact` is the one before.
    pub async fn begin_session(&self, scope: &Scope) -> Result<(Item, Grounding)> {
        let now = self.clock.now();
        let last = self.last_sessions(scope, 50).await?.into_iter().find(|item| item.written_by == agent_of(scope));
        let is_fresh = |item: &Item| now.duration_since(item.updated_at) < SignedDuration::from_secs(i64::from(self.policy.session_gap_s));
        let session = match last.filter(is_fresh) {
            Some(known) => {
                let contacts = known.data.get("contacts").and_then(serde_json::Value::as_u64).unwrap_or(1) + 1;
                let change = ItemChange { data: Some(counted(contacts)), provenance: by(scope, "api"), ..ItemChange::default() };
                // Two contacts at once are two contacts: whoever comes second writes over the first one's time.
                self.write_one(scope, ItemWrite::Change { item: known.id, expected_version: None, change: Box::new(change) }).await?
            }
            None => {
                let user = human_of(scope)?;
                let owner = agent_of(scope).map_or(Owner::User { user }, |agent| Owner::Pair { agent, user });
                let title = format!("Session of {}", now.strftime("%Y-%m-%d %H:%M UTC"));
                let new = NewItem {
                    state: "open".into(),
                    data: counted(1),
                    provenance: by(scope, "api"),
                    ..NewItem::new(ItemKind::Session, owner, title)
                };
                self.write_one(scope, ItemWrite::Make(Box::new(new))).await?
            }
        };
        let grounding = self.ground(scope, Some(&session)).await?;
        Ok((session, grounding))
    }

    async fn ground(&self, scope: &Scope, present: Option<&Item>) -> Result<Grounding> {
        let user = self.directory.user(scope, human_of(scope)?).await?;
        let last = self.last_sessions(scope, 2).await?.into_iter().find(|item| present.is_none_or(|p| p.id != item.id));
        Ok(grounding_at(self.clock.now(), user.timezone.as_deref(), last.map(|item| (item.updated_at, item.written_by))))
    }

    async fn last_sessions(&self, scope: &Scope, most: usize) -> Result<Vec<Item>> {
        let filter = of_user(scope)?.kind(ItemKind::Session);
        let page = self.items.items(scope, &filter, PageRequest { after: None, limit: most }).await?;
        Ok(page.items.into_iter().map(|seen| seen.item).collect())
    }
}

fn counted(contacts: u64) -> Map<String, serde_json::Value> {
    let mut data = Map::new();
    data.insert("contacts".into(), json!(contacts));
    data
}

fn grounding_at(now: Timestamp, timezone: Option<&str>, last: Option<(Timestamp, Option<AgentId>)>) -> Grounding {
    let zone = timezone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
    let there = now.to_zoned(zone.clone());
    let timezone = zone.iana_name().unwrap_or("UTC").to_owned();
    let weekday = there.strftime("%A").to_string();
    let last_contact = last.map(|(at, agent)| {
        let gap = now.duration_since(at).max(SignedDuration::ZERO);
        Contact { at, agent, gap_s: gap.as_secs(), gap: gap_words(gap) }
    });
    let mut words = format!("It is {weekday}, {} ({timezone}).", there.strftime("%Y-%m-%d %H:%M"));
    match &last_contact {
        Some(contact) => words.push_str(&format!(" The last contact was {} ago.", contact.gap)),
        None => words.push_str(" This is the first contact."),
    }
    Grounding { now, timezone, local: there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), weekday, last_contact, words }
}

/// A length of time in the largest unit that fits: `3 weeks`, `9 days`, `1 hour`.
fn gap_words(gap: SignedDuration) -> String {
    let minutes = gap.as_mins();
    let (count, unit) = match minutes {
        0 => return "less than a minute".into(),
        1..60 => (minutes, "minute"),
        60..1_440 => (minutes / 60, "hour"),
        1_440..20_160 => (minutes / 1_440, "day"),
        20_160..86_400 => (minutes / 10_080, "week"),
        86_400..1_051_200 => (minutes / 43_200, "month"),
        _ => (minutes / 525_600, "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_in_words() {
        let check = |hours: i64, expected: &str| assert_eq!(gap_words(SignedDuration::from_hours(hours)), expected);
        assert_eq!(gap_words(SignedDuration::from_secs(59)), "less than a minute");
        assert_eq!(gap_words(SignedDuration::from_mins(1)), "1 minute");
        check(1, "1 hour");
        check(47, "1 day");
        check(9 * 24, "9 days");
        check(21 * 24, "3 weeks");
        check(70 * 24, "2 months");
        check(800 * 24, "2 years");
    }

    #[test]
    fn the_day_is_the_users() {
        let now: Timestamp = "2026-03-01T23:30:00Z".parse().expect("a timestamp");
        let there = grounding_at(now, Some("Europe/Berlin"), Some(("2026-02-20T12:00:00Z".parse().expect("a timestamp"), None)));
        assert_eq!((there.weekday.as_str(), there.local.as_str()), ("Monday", "2026-03-02T00:30:00+01:00"));
        assert_eq!(there.words, "It is Monday, 2026-03-02 00:30 (Europe/Berlin). The last contact was 9 days ago.");
        let nowhere = grounding_at(now, Some("Mars/Olympus"), None);
        assert_eq!(nowhere.words, "It is Sunday, 2026-03-01 23:30 (UTC). This is the first contact.");
    }
}
