//! Quiet hours by the clock on the user's wall, which is put forward and back.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sid_types::{Agent, QuietHours, User};

/// The quiet hours that are in force for a user with an agent.
pub(crate) struct Quiet {
    hours: Option<QuietHours>,
    zone: TimeZone,
}

impl Quiet {
    /// The user's own, else those of the agent.
    pub(crate) fn of(agent: &Agent, user: &User) -> Self {
        let zone = user.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        Self { hours: user.quiet_hours.or(agent.spec.quiet_hours), zone }
    }

    fn holds_at(&self, at: Timestamp) -> bool {
        self.hours.is_some_and(|hours| hours.holds_at(self.zone.to_datetime(at).time()))
    }

    /// The first moment after `now` that is not quiet; `None` if `now` is not.
    pub(crate) fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let hours = self.hours.filter(|_| self.holds_at(now))?;
        // Quiet ends when the wall shows its end, or at a moment at which the clock is put past it.
        let today = self.zone.to_datetime(now).date();
        let days = [today, today.tomorrow().unwrap_or(today), today.saturating_add(jiff::Span::new().days(2))];
        let shown = days.iter().flat_map(|day| {
            let end = self.zone.to_ambiguous_timestamp(day.to_datetime(hours.to));
            [end.earlier().ok(), end.later().ok()]
        });
        let put = self.zone.following(now).map(|change| Some(change.timestamp())).take(2);
        let found = shown.chain(put).flatten().filter(|at| *at > now && !self.holds_at(*at)).min();
        // There is one on each day; should a zone have none, it is asked again in a day.
        found.or_else(|| now.checked_add(SignedDuration::from_hours(24)).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(hours: &str, zone: &str) -> Quiet {
        Quiet { hours: Some(hours.parse().expect("hours")), zone: TimeZone::get(zone).expect("a zone") }
    }

    fn check(hours: &str, zone: &str, now: &str, expected: Option<&str>) {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(quiet(hours, zone).ends(at(now)), expected.map(at), "{hours} {zone} {now}");
    }

    #[test]
    fn nights_end_by_the_users_clock() {
        check("22:00-07:00", "UTC", "2026-03-02T21:59:59Z", None);
        check("22:00-07:00", "UTC", "2026-03-02T22:00:00Z", Some("2026-03-03T07:00:00Z"));
        check("22:00-07:00", "UTC", "2026-03-03T06:59:59Z", Some("2026-03-03T07:00:00Z"));
        check("22:00-07:00", "UTC", "2026-03-03T07:00:00Z", None);
        check("22:00-07:00", "Asia/Kolkata", "2026-03-02T20:00:00Z", Some("2026-03-03T01:30:00Z"));
        check("00:00-00:00", "UTC", "2026-03-02T00:00:00Z", None);
    }

    #[test]
    fn the_clock_is_put_forward_and_back() {
        // Berlin skips 02:00 to 03:00 on 2026-03-29 at 01:00 UTC, and shows it twice on 2026-10-25, from 00:00 UTC and from 01:00 UTC on.
        check("22:00-07:00", "Europe/Berlin", "2026-03-28T23:00:00Z", Some("2026-03-29T05:00:00Z"));
        check("22:00-07:00", "Europe/Berlin", "2026-10-24T22:00:00Z", Some("2026-10-25T06:00:00Z"));
        check("22:00-02:30", "Europe/Berlin", "2026-03-29T00:30:00Z", Some("2026-03-29T01:00:00Z"));
        check("22:00-02:30", "Europe/Berlin", "2026-10-24T23:30:00Z", Some("2026-10-25T00:30:00Z"));
        check("22:00-02:30", "Europe/Berlin", "2026-10-25T01:10:00Z", Some("2026-10-25T01:30:00Z"));
        check("02:30-07:00", "Europe/Berlin", "2026-10-25T00:45:00Z", Some("2026-10-25T01:00:00Z"));
    }

    /// Minute by minute over both changes of several zones: the end is the first minute that is not quiet.
    #[test]
    fn the_end_is_the_first_moment_that_is_not_quiet() {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"] {
            for hours in ["22:00-07:00", "01:45-02:15", "02:30-02:45", "23:30-02:10", "13:00-12:30"] {
                let quiet = quiet(hours, zone);
                for day in [
                    "2026-03-07T18:00:00Z",
                    "2026-03-28T12:00:00Z",
                    "2026-04-04T06:00:00Z",
                    "2026-10-03T06:00:00Z",
                    "2026-10-24T12:00:00Z",
                    "2026-10-31T18:00:00Z",
                ] {
                    let first: Timestamp = day.parse().expect("a time");
                    let minutes: Vec<Timestamp> = (0..2_880).map(|m| first + SignedDuration::from_mins(m)).collect();
                    let mut end = None;
                    for at in minutes.iter().rev() {
                        if !quiet.holds_at(*at) {
                            end = Some(*at);
                            assert_eq!(quiet.ends(*at), None);
                        } else if let Some(end) = end {
                            assert_eq!(quiet.ends(*at), Some(end), "{zone} {hours} {at}");
                        }
                    }
                }
            }
        }
    }
}
