//! What is to be done about a timer that is due. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sid_types::{Held, HeldBy, Late, Timer, TimerState};

use super::Calendar;

/// Most late occurrences that get a run each.
pub const MOST_LATE: usize = 100;
/// Occurrences that are left out are counted so far.
const MOST_COUNTED: u64 = 1_000;

/// The answer to what is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The occurrence that gets a run.
    pub run: Option<Timestamp>,
    /// How many are left out, before the run or in place of one; counted up to a thousand.
    pub left_out: u64,
    /// The one to look at next.
    pub next: Option<Timestamp>,
}

/// Decides. `None`: nothing is due. What is due for longer than `patience` is late.
#[must_use]
pub fn plan(timer: &Timer, calendar: &Calendar, now: Timestamp, patience: Duration) -> Option<Plan> {
    let due = timer.next_due.filter(|due| *due <= now)?;
    let in_time = now.checked_sub(SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN);
    // What is due after the end is not due.
    let last = timer.spec.until.map_or(now, |until| until.min(now));
    let run = if due >= in_time {
        Some(due)
    } else {
        match timer.spec.late {
            Late::Skip => calendar.next_after(just_before(in_time)).filter(|at| *at <= last),
            Late::RunOnce => newest(calendar, due, last, 1).pop_front(),
            Late::RunAll => newest(calendar, due, last, MOST_LATE).pop_front(),
        }
    };
    let next = match run {
        Some(at) => calendar.next_after(at),
        None => calendar.next_after(last),
    };
    let has_more = timer.spec.most.is_none_or(|most| timer.fired + u64::from(run.is_some()) < most);
    let next = next.filter(|at| has_more && timer.spec.until.is_none_or(|until| *at <= until));
    let left_out = count(calendar, due, run.unwrap_or_else(|| last.checked_add(SignedDuration::from_micros(1)).unwrap_or(last)));
    Some(Plan { run, left_out, next })
}

impl Plan {
    /// The timer as it is to be; its version is the one that was read.
    #[must_use]
    pub fn applied(&self, timer: &Timer) -> Timer {
        Timer {
            state: if self.next.is_some() { TimerState::Active } else { TimerState::Done },
            next_due: self.next,
            fired: timer.fired + u64::from(self.run.is_some()),
            skipped: timer.skipped + self.left_out,
            last_run: self.run.map(|due| Timer::run_for(timer.id, due)).or(timer.last_run),
            held: None,
            ..timer.clone()
        }
    }

    /// The timer as it is to be if what is due gets no run, for this reason.
    #[must_use]
    pub fn left_out_by(&self, timer: &Timer, by: HeldBy, now: Timestamp) -> Timer {
        let held = Some(Held { by, at: now, until: None });
        let left_out = self.left_out + u64::from(self.run.is_some());
        Timer { fired: timer.fired, last_run: timer.last_run, skipped: timer.skipped + left_out, held, ..self.applied(timer) }
    }
}

fn just_before(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_micros(1)).unwrap_or(at)
}

/// How many occurrences there are from `due` on, which is one, and before `end`.
fn count(calendar: &Calendar, due: Timestamp, end: Timestamp) -> u64 {
    let mut at = Some(due);
    let mut count = 0;
    while let Some(found) = at.filter(|at| *at < end && count < MOST_COUNTED) {
        count += 1;
        at = calendar.next_after(found);
    }
    count
}

/// The newest occurrences from `due` on, which is one, up to `last`; oldest first, at most `most`. Looks back further and further, so that
/// it costs little however long nobody looked.
fn newest(calendar: &Calendar, due: Timestamp, last: Timestamp, most: usize) -> VecDeque<Timestamp> {
    let mut window = SignedDuration::from_mins(1);
    loop {
        let begin = last.checked_sub(window).unwrap_or(Timestamp::MIN).max(due);
        let mut found = VecDeque::new();
        let mut at = if begin == due { Some(due) } else { calendar.next_after(just_before(begin)) };
        while let Some(one) = at.filter(|at| *at <= last) {
            found.push_back(one);
            if found.len() > most {
                found.pop_front();
            }
            at = calendar.next_after(one);
        }
        if found.len() == most || begin == due {
            return found;
        }
        window = window.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{AgentId, InQuietHours, TimerId, TimerKind, TimerMaker, TimerSpec, When};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn timer(when: When, late: Late, due: &str) -> Timer {
        Timer {
            id: TimerId::new(),
            agent: AgentId::new(),
            user: None,
            conversation: None,
            spec: TimerSpec {
                name: "n".into(),
                stimulus: "s".into(),
                when,
                late,
                kind: TimerKind::Reminder,
                in_quiet_hours: InQuietHours::Fire,
                only_when_open: false,
                until: None,
                most: None,
            },
            state: TimerState::Active,
            next_due: Some(at(due)),
            fired: 0,
            skipped: 0,
            last_run: None,
            held: None,
            made_by: TimerMaker::Api,
            untrusted: Vec::new(),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn hourly(late: Late) -> Timer {
        timer(When::Cron { expression: "0 * * * *".into(), timezone: "UTC".into() }, late, "2026-03-02T09:00:00Z")
    }

    fn planned(timer: &Timer, now: &str) -> Option<Plan> {
        plan(timer, &Calendar::new(&timer.spec.when).expect("a schedule"), at(now), PATIENCE)
    }

    /// Every run until nothing is due, as hours, and how many occurrences were left out.
    fn all(mut timer: Timer, now: &str) -> (Vec<String>, u64) {
        let mut hours = Vec::new();
        while let Some(plan) = planned(&timer, now) {
            hours.extend(plan.run.map(|run| run.to_string()[11..16].to_owned()));
            timer = plan.applied(&timer);
            assert_eq!(timer.state == TimerState::Active, timer.next_due.is_some());
        }
        assert!(timer.next_due.is_none_or(|next| next > at(now)));
        (hours, timer.skipped)
    }

    #[test]
    fn what_is_in_time_runs_whatever_the_policy_is() {
        for late in Late::ALL {
            assert_eq!(planned(&hourly(late), "2026-03-02T08:59:59Z"), None);
            let expected = Plan { run: Some(at("2026-03-02T09:00:00Z")), left_out: 0, next: Some(at("2026-03-02T10:00:00Z")) };
            for now in ["2026-03-02T09:00:00Z", "2026-03-02T09:01:00Z"] {
                assert_eq!(planned(&hourly(late), now), Some(expected.clone()), "{late:?}");
            }
        }
    }

    #[test]
    fn late_ones_follow_their_policy() {
        let now = "2026-03-02T12:30:00Z";
        assert_eq!(all(hourly(Late::Skip), now), (vec![], 4));
        assert_eq!(all(hourly(Late::RunOnce), now), (vec!["12:00".into()], 3));
        assert_eq!(all(hourly(Late::RunAll), now), (["09:00", "10:00", "11:00", "12:00"].map(Into::into).to_vec(), 0));
        // The last one is in time.
        let now = "2026-03-02T12:00:30Z";
        assert_eq!(all(hourly(Late::Skip), now), (vec!["12:00".into()], 3));
        assert_eq!(all(hourly(Late::RunOnce), now), (vec!["12:00".into()], 3));
    }

    #[test]
    fn once_is_once_and_late_or_not_at_all() {
        let once = |late| timer(When::At { at: at("2026-03-02T09:00:00Z") }, late, "2026-03-02T09:00:00Z");
        assert_eq!(all(once(Late::Skip), "2026-03-05T09:00:00Z"), (vec![], 1));
        for late in [Late::RunOnce, Late::RunAll] {
            assert_eq!(all(once(late), "2026-03-05T09:00:00Z"), (vec!["09:00".into()], 0));
        }
    }

    #[test]
    fn running_all_has_a_limit() {
        let (hours, left_out) = all(hourly(Late::RunAll), "2026-03-12T08:30:00Z");
        assert_eq!((hours.len(), left_out), (MOST_LATE, 10 * 24 - MOST_LATE as u64));
        assert_eq!(hours.last().map(String::as_str), Some("08:00"));
    }

    #[test]
    fn nothing_is_due_after_the_end_or_beyond_the_most() {
        let ended = |mut t: Timer, until: Option<&str>, most| {
            (t.spec.until, t.spec.most) = (until.map(at), most);
            all(t, "2026-03-02T12:30:00Z").0
        };
        assert_eq!(ended(hourly(Late::RunAll), Some("2026-03-02T10:00:00Z"), None), ["09:00", "10:00"]);
        assert_eq!(ended(hourly(Late::RunOnce), Some("2026-03-02T10:59:00Z"), None), ["10:00"]);
        assert_eq!(ended(hourly(Late::RunAll), None, Some(3)), ["09:00", "10:00", "11:00"]);
        assert_eq!(ended(hourly(Late::Skip), Some("2026-03-02T10:00:00Z"), None), [""; 0]);
    }

    #[test]
    fn a_long_absence_costs_little() {
        let minutely = When::Cron { expression: "* * * * *".into(), timezone: "UTC".into() };
        let plan = planned(&timer(minutely, Late::RunOnce, "1990-03-02T09:00:00Z"), "2026-03-02T09:00:30Z").expect("due");
        assert_eq!((plan.run, plan.left_out), (Some(at("2026-03-02T09:00:00Z")), MOST_COUNTED));
    }
}
