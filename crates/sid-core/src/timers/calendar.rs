//! The moments that a timer names.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use sid_types::When;

use crate::CoreError;

/// When a timer is due, ready to be asked.
#[derive(Debug, Clone)]
pub struct Calendar(Kind);

#[derive(Debug, Clone)]
enum Kind {
    At(Timestamp),
    Every { every: SignedDuration, from: Timestamp },
    Cron { fields: Box<Crontab>, zone: TimeZone },
}

impl Calendar {
    /// Errors: `Invalid` for an expression that is none, a zone that is not known, and a period of no length.
    pub fn new(when: &When) -> Result<Self, CoreError> {
        Ok(Self(match when {
            When::At { at } => Kind::At(*at),
            When::Every { every_ms: 0, .. } => {
                return Err(CoreError::Invalid("a timer comes again after some time, not after 0 ms".into()));
            }
            When::Every { every_ms, from } => {
                let every = SignedDuration::from_millis(i64::try_from(*every_ms).unwrap_or(i64::MAX));
                Kind::Every { every, from: *from }
            }
            When::Cron { expression, timezone } => {
                let zone = TimeZone::get(timezone).map_err(|_| {
                    CoreError::Invalid(format!("`{timezone}` is not a time zone: use an IANA name such as `Europe/Berlin`"))
                })?;
                Kind::Cron { fields: Box::new(fields(expression)?), zone }
            }
        }))
    }

    /// The first moment after this one; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::At(at) => Some(*at).filter(|at| *at > after),
            Kind::Every { from, .. } if *from > after => Some(*from),
            Kind::Every { every, from } => {
                let passed = after.duration_since(*from).as_nanos() / every.as_nanos() + 1;
                let ahead = every.as_nanos().checked_mul(passed)?;
                let ahead = SignedDuration::new(i64::try_from(ahead / 1_000_000_000).ok()?, (ahead % 1_000_000_000) as i32);
                from.checked_add(ahead).ok()
            }
            Kind::Cron { fields, zone } => next_on_the_wall(fields, zone, after),
        }
    }

    /// The shortest time between two moments, of those that follow `from` soon; `None` if there are not two.
    #[must_use]
    pub fn shortest(&self, from: Timestamp) -> Option<SignedDuration> {
        if let Kind::Every { every, .. } = &self.0 {
            return Some(*every);
        }
        let mut at = self.next_after(from)?;
        let mut shortest = None;
        for _ in 0..64 {
            let Some(next) = self.next_after(at) else { break };
            let gap = next.duration_since(at);
            shortest = Some(shortest.map_or(gap, |s: SignedDuration| s.min(gap)));
            at = next;
        }
        shortest
    }
}

/// Reads the five fields. They say nothing of a zone, so they are asked about the clock on the wall as if that were in UTC.
fn fields(expression: &str) -> Result<Crontab, CoreError> {
    let wrong = |why: String| {
        CoreError::Invalid(format!(
            "`{expression}` is not a schedule: give five fields, as in `30 7 * * MON-FRI` (minute, hour, day, month, weekday): {why}"
        ))
    };
    let count = expression.split_whitespace().count();
    if count != 5 || expression.len() > 200 {
        return Err(wrong(format!("found {count} fields")));
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    parse_crontab_with(expression, options).map_err(|error| wrong(error.to_string()))
}

/// The first moment after this one at which the clock on the wall shows a time of the schedule. A time that is shown twice counts when it is shown
/// first; one that is skipped counts as the moment at which the clock goes on.
fn next_on_the_wall(fields: &Crontab, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut wall: DateTime = zone.to_datetime(after);
    loop {
        let shown = TimeZone::UTC.to_timestamp(wall).ok()?;
        wall = fields.find_next(MakeTimestamp(shown)).ok()?.datetime();
        let moment = zone.to_ambiguous_timestamp(wall);
        let at = match moment.offset() {
            // Seconds are added because what precedes a moment is before it, and the first skipped time is the moment itself.
            AmbiguousOffset::Gap { before, .. } => {
                let beyond = before.to_timestamp(wall).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
                zone.preceding(beyond).next()?.timestamp()
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => moment.earlier().ok()?,
        };
        // After the clock was put back it shows times that were there before.
        if at > after {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str, timezone: &str) -> Calendar {
        Calendar::new(&When::Cron { expression: expression.into(), timezone: timezone.into() }).expect("a schedule")
    }

    fn check(calendar: &Calendar, after: &str, expected: &[&str]) {
        let mut at: Timestamp = after.parse().expect("a time");
        for next in expected {
            let found = calendar.next_after(at).expect("a next one");
            assert_eq!(found.to_string(), *next, "after {at}");
            at = found;
        }
    }

    #[test]
    fn a_schedule_goes_by_the_clock_on_the_wall() {
        check(&cron("30 7 * * *", "Europe/Berlin"), "2026-03-27T12:00:00Z", &["2026-03-28T06:30:00Z", "2026-03-29T05:30:00Z"]);
        check(&cron("30 7 * * *", "America/New_York"), "2026-10-31T12:00:00Z", &["2026-11-01T12:30:00Z", "2026-11-02T12:30:00Z"]);
        check(&cron("0 9 * * MON-FRI", "Asia/Kolkata"), "2026-03-27T12:00:00Z", &["2026-03-30T03:30:00Z"]);
        check(&cron("0 0 29 2 *", "UTC"), "2026-03-27T12:00:00Z", &["2028-02-29T00:00:00Z"]);
    }

    #[test]
    fn a_time_that_is_skipped_is_due_when_the_clock_goes_on() {
        // Berlin skips 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
        for skipped in ["0 2 * * *", "30 2 * * *", "59 2 * * *", "*/10 2 * * *"] {
            check(&cron(skipped, "Europe/Berlin"), "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z"]);
        }
        check(&cron("*/30 * * * *", "Europe/Berlin"), "2026-03-29T00:30:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
        // Lord Howe goes half an hour ahead on 2026-10-04, at 15:30 UTC on the 3rd.
        check(&cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
    }

    #[test]
    fn a_time_that_is_shown_twice_is_due_the_first_time() {
        // Berlin shows 02:00 to 03:00 twice on 2026-10-25, from 00:00 UTC and from 01:00 UTC on.
        check(&cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        check(&cron("30 2 * * *", "Europe/Berlin"), "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
        check(&cron("*/30 * * * *", "Europe/Berlin"), "2026-10-25T00:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"]);
    }

    #[test]
    fn periods_go_by_time_that_has_passed() {
        let every = |every_ms| Calendar::new(&When::Every { every_ms, from: "2026-03-29T00:00:00Z".parse().expect("a time") });
        let hour = every(3_600_000).expect("a period");
        check(&hour, "2026-01-01T00:00:00Z", &["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]);
        check(&hour, "2026-03-29T05:59:59.999999Z", &["2026-03-29T06:00:00Z"]);
        assert!(every(0).is_err());
        assert!(every(u64::MAX).expect("a long one").next_after(Timestamp::MAX).is_none());
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_a_reason() {
        let refused = |expression: &str, timezone: &str| {
            let when = When::Cron { expression: expression.into(), timezone: timezone.into() };
            Calendar::new(&when).expect_err("refused").to_string()
        };
        assert!(refused("* * * *", "UTC").contains("found 4 fields"));
        assert!(refused("* * * * * Asia/Tokyo", "UTC").contains("found 6 fields"));
        assert!(refused("61 * * * *", "UTC").contains("five fields"));
        assert!(refused("* * * * *", "Europe/Atlantis").contains("not a time zone"));
        assert_eq!(cron("0 0 30 2 *", "UTC").next_after(Timestamp::UNIX_EPOCH), None, "there is no such day");
    }

    #[test]
    fn the_shortest_time_between_two_moments_is_known() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(cron("0,1 8 * * *", "UTC").shortest(now), Some(SignedDuration::from_mins(1)));
        assert_eq!(cron("0 8 * * *", "UTC").shortest(now), Some(SignedDuration::from_hours(24)));
        assert_eq!(Calendar::new(&When::At { at: now }).expect("a moment").shortest(now), None);
    }
}
