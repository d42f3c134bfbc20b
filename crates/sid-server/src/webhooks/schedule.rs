//! What follows from an answer: when to try again, and what to think of the endpoint.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimeParser;
use sid_store::{DeliveryOutcome, EndpointHealth};
use sid_types::{Delivery, Timestamp, Webhook};

/// Waits between attempts, in units of the first one: with 5 s they are 5 s, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours, three days in all, as
/// Standard Webhooks proposes.
const WAITS: [u32; 9] = [1, 60, 360, 1_440, 3_600, 7_200, 10_080, 14_400, 17_280];
/// Longest rest that an endpoint may ask for.
const LONGEST_REST: Duration = Duration::from_secs(86_400);

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// With a status, and the rest that the endpoint asked for.
    Status(u16, Option<Duration>),
    /// Without one.
    None,
    /// Nothing was sent, for a reason that is none of the endpoint's.
    Unsent,
}

/// What an operator has set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The first wait.
    pub(super) first_wait: Duration,
    /// An endpoint that has failed for so long is disabled.
    pub(super) give_up: Duration,
}

/// What becomes of a delivery and of its webhook. `dice` is in 0..1.
pub(super) fn decide(
    answer: &Answer,
    delivery: &Delivery,
    webhook: &Webhook,
    now: Timestamp,
    terms: Terms,
    dice: f64,
) -> (DeliveryOutcome, EndpointHealth) {
    let again = |rest: Option<Duration>| {
        let tries = delivery.attempts.saturating_sub(delivery.attempts_before);
        match WAITS.get(tries.saturating_sub(1) as usize) {
            // Jitter, so that many do not come back at the same moment.
            Some(wait) => DeliveryOutcome::Retry((terms.first_wait * *wait).mul_f64(0.8 + 0.4 * dice).max(rest.unwrap_or_default())),
            None => DeliveryOutcome::Failed,
        }
    };
    let failing = |rest: Option<Duration>| {
        let give_up = SignedDuration::try_from(terms.give_up).unwrap_or(SignedDuration::MAX);
        match webhook.failing_since {
            Some(since) if now.duration_since(since) >= give_up => {
                EndpointHealth::Disabled(format!("every attempt has failed since {since}"))
            }
            _ => EndpointHealth::Failing(rest),
        }
    };
    match answer {
        Answer::Status(200..=299, _) => (DeliveryOutcome::Delivered, EndpointHealth::Well),
        Answer::Status(410, _) => (DeliveryOutcome::Failed, EndpointHealth::Disabled("it answered 410 Gone".into())),
        Answer::Status(_, rest) => {
            let rest = rest.map(|rest| rest.min(LONGEST_REST));
            (again(rest), failing(rest))
        }
        Answer::None => (again(None), failing(None)),
        Answer::Unsent => (again(None), EndpointHealth::Unknown),
    }
}

/// The rest of a `Retry-After`: seconds, or a moment.
pub(super) fn rest(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use sid_types::{WebhookEvent, WebhookId, WebhookState};
    use uuid::Uuid;

    use super::*;

    const TERMS: Terms = Terms { first_wait: Duration::from_secs(5), give_up: Duration::from_secs(5 * 86_400) };

    fn now() -> Timestamp {
        "2026-03-02T09:00:00Z".parse().expect("a time")
    }

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId::new(),
            url: "https://example.org/".into(),
            description: String::new(),
            events: vec![],
            include_content: false,
            secrets: vec![],
            state: WebhookState::Enabled,
            disabled_because: None,
            failing_since: None,
            not_before: None,
            version: 1,
            created_at: now(),
            updated_at: now(),
        }
    }

    fn decided(answer: Answer, attempts: u32, webhook: &Webhook, dice: f64) -> (DeliveryOutcome, EndpointHealth) {
        let delivery = Delivery { attempts, ..Delivery::new(webhook.id, WebhookEvent::RunFailed, Uuid::nil(), now()) };
        decide(&answer, &delivery, webhook, now(), TERMS, dice)
    }

    #[test]
    fn ten_attempts_take_three_days() {
        let waits: Vec<Duration> = (1..10)
            .map(|attempt| match decided(Answer::Status(500, None), attempt, &webhook(), 0.5).0 {
                DeliveryOutcome::Retry(wait) => wait,
                other => panic!("attempt {attempt}: {other:?}"),
            })
            .collect();
        assert_eq!(waits[..3], [5, 300, 1_800].map(Duration::from_secs));
        let hours = waits.iter().sum::<Duration>().as_secs() / 3_600;
        assert_eq!(hours, 75);
        assert_eq!(decided(Answer::None, 10, &webhook(), 0.5).0, DeliveryOutcome::Failed);
        let again =
            Delivery { attempts: 11, attempts_before: 10, ..Delivery::new(WebhookId::new(), WebhookEvent::RunFailed, Uuid::nil(), now()) };
        let (outcome, _) = decide(&Answer::None, &again, &webhook(), now(), TERMS, 0.5);
        assert_eq!(outcome, DeliveryOutcome::Retry(Duration::from_secs(5)), "asked for again, it begins anew");
        let (soonest, latest) = (decided(Answer::None, 2, &webhook(), 0.0).0, decided(Answer::None, 2, &webhook(), 1.0).0);
        assert_eq!((soonest, latest), (DeliveryOutcome::Retry(Duration::from_secs(240)), DeliveryOutcome::Retry(Duration::from_secs(360))));
    }

    #[test]
    fn answers_are_taken_at_their_word() {
        let minute = Some(Duration::from_secs(60));
        for (answer, outcome, health) in [
            (Answer::Status(200, None), DeliveryOutcome::Delivered, EndpointHealth::Well),
            (Answer::Status(204, minute), DeliveryOutcome::Delivered, EndpointHealth::Well),
            (Answer::Status(410, minute), DeliveryOutcome::Failed, EndpointHealth::Disabled("it answered 410 Gone".into())),
            (Answer::Status(503, minute), DeliveryOutcome::Retry(Duration::from_secs(60)), EndpointHealth::Failing(minute)),
            (Answer::Status(429, Some(Duration::MAX)), DeliveryOutcome::Retry(LONGEST_REST), EndpointHealth::Failing(Some(LONGEST_REST))),
            (Answer::Status(302, None), DeliveryOutcome::Retry(Duration::from_secs(5)), EndpointHealth::Failing(None)),
            (Answer::None, DeliveryOutcome::Retry(Duration::from_secs(5)), EndpointHealth::Failing(None)),
            (Answer::Unsent, DeliveryOutcome::Retry(Duration::from_secs(5)), EndpointHealth::Unknown),
        ] {
            assert_eq!(decided(answer.clone(), 1, &webhook(), 0.5), (outcome, health), "{answer:?}");
        }
    }

    #[test]
    fn who_fails_for_days_is_disabled() {
        let since = |days: i64| Webhook { failing_since: now().checked_sub(SignedDuration::from_hours(24 * days)).ok(), ..webhook() };
        assert!(matches!(decided(Answer::None, 1, &since(4), 0.5).1, EndpointHealth::Failing(None)));
        assert!(matches!(decided(Answer::Status(500, None), 1, &since(5), 0.5).1, EndpointHealth::Disabled(_)));
        assert_eq!(decided(Answer::Unsent, 1, &since(9), 0.5).1, EndpointHealth::Unknown, "it is not the endpoint's fault");
        assert_eq!(decided(Answer::Status(200, None), 1, &since(9), 0.5).1, EndpointHealth::Well);
    }

    #[test]
    fn rests_are_seconds_or_moments() {
        for (value, seconds) in
            [("120", Some(120)), (" 0 ", Some(0)), ("Mon, 02 Mar 2026 09:01:00 GMT", Some(60)), ("soon", None), ("-1", None)]
        {
            assert_eq!(rest(value, now()).map(|rest| rest.as_secs()), seconds, "{value}");
        }
        assert_eq!(rest("Mon, 02 Mar 2026 08:00:00 GMT", now()), Some(Duration::ZERO), "it is over");
    }
}
