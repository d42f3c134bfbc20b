use futures::StreamExt as _;
use tokio::time::{advance, sleep};

use super::*;
use crate::layer::{BudgetPolicy, EndpointGuard, ModelExt as _, RetryBudget, RetryPolicy, Timeouts};
use crate::{Scripted, ScriptedModel, complete};

fn fault() -> LlmError {
    LlmError::ServerFault { status: 503, detail: String::new() }
}

fn request() -> ChatRequest {
    ChatRequest::default()
}

/// Fails with `error` as long as the script is empty.
fn failing(error: LlmError) -> ScriptedModel {
    ScriptedModel::answering(move |_| Scripted::Error(error.clone()))
}

/// The breaker after these calls, each failed (`true`) or not, one each 100 ms.
async fn after(calls: impl IntoIterator<Item = bool>) -> BreakerState {
    let breaker = CircuitBreaker::default();
    for has_failed in calls {
        let model = if has_failed { failing(fault()) } else { ScriptedModel::new() };
        let _ = complete(&model.breaker(breaker.clone()), request()).await;
        advance(Duration::from_millis(100)).await;
    }
    breaker.state()
}

#[tokio::test(start_paused = true)]
async fn half_of_twenty_opens_it_and_less_does_not() {
    assert_eq!(after([true; 19]).await, BreakerState::Closed, "too few calls to say");
    assert_eq!(after([true; 20]).await, BreakerState::Open);
    let half = |failed: usize| (0..20).map(move |i| i >= 20 - failed);
    assert_eq!(after(half(9)).await, BreakerState::Closed);
    assert_eq!(after(half(10)).await, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_counts_no_more() {
    let breaker = CircuitBreaker::default();
    let model = failing(fault()).breaker(breaker.clone());
    for _ in 0..60 {
        let _ = complete(&model, request()).await;
        advance(Duration::from_secs(2)).await;
    }
    assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Closed, 0), "never 20 calls in 30 s");
}

#[tokio::test(start_paused = true)]
async fn failures_are_what_may_pass_and_nothing_else() {
    use crate::TimeoutStage as S;
    let counts = [
        LlmError::Unreachable { url: String::new(), detail: String::new() },
        LlmError::Timeout { stage: S::Connect, limit: Duration::ZERO },
        LlmError::Timeout { stage: S::FirstByte, limit: Duration::ZERO },
        LlmError::RateLimited { retry_after: None },
        LlmError::Interrupted { detail: String::new() },
        fault(),
    ];
    let does_not = [
        LlmError::Unauthorized { status: 401 },
        LlmError::Refused { status: 400, detail: String::new() },
        LlmError::ContextOverflow { prompt: None, window: None },
        LlmError::OutputTooLarge { limit_bytes: 1 },
    ];
    for (error, expected) in counts.map(|e| (e, BreakerState::Open)).into_iter().chain(does_not.map(|e| (e, BreakerState::Closed))) {
        let breaker = CircuitBreaker::default();
        let model = failing(error.clone()).breaker(breaker.clone());
        for _ in 0..20 {
            let _ = complete(&model, request()).await;
        }
        assert_eq!(breaker.state(), expected, "{error}");
    }
    // A stream that breaks off after it began is a failure too; one that its reader drops is nothing.
    let breaker = CircuitBreaker::default();
    let broken = ScriptedModel::answering(|_| Scripted::Broken(vec!["a".into(), "b".into()], fault())).breaker(breaker.clone());
    for _ in 0..30 {
        let _ = broken.chat(request()).await.expect("begins").next().await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..20 {
        let _ = complete(&broken, request()).await;
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

/// An open breaker, and a model behind it that answers what its script says, else fails.
async fn opened() -> (CircuitBreaker, ScriptedModel, WithBreaker<ScriptedModel>) {
    let (breaker, script) = (CircuitBreaker::default(), failing(fault()));
    let model = script.clone().breaker(breaker.clone());
    for _ in 0..20 {
        let _ = complete(&model, request()).await;
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    (breaker, script, model)
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_no_call_is_made() {
    let (_, script, model) = opened().await;
    advance(Duration::from_secs(9)).await;
    assert_eq!(complete(&model, request()).await, Err(LlmError::BreakerOpen { retry_after: Duration::from_secs(1) }));
    assert_eq!(script.requests().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_call_tries() {
    let (breaker, script, model) = opened().await;
    advance(Duration::from_secs(10)).await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    script.push(Scripted::Hang);
    let probing = tokio::spawn({
        let model = model.clone();
        async move { complete(&model, request()).await }
    });
    sleep(Duration::from_millis(1)).await;
    let refused = complete(&model, request()).await;
    assert_eq!(refused, Err(LlmError::BreakerOpen { retry_after: Duration::ZERO }), "one probe, not two");
    // A probe that is given up proves nothing: the next call probes.
    probing.abort();
    let _ = probing.await;
    assert_eq!(complete(&model, request()).await, Err(fault()));
    assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 2), "the endpoint is not back: another pause");
    advance(Duration::from_secs(10)).await;
    script.push(Scripted::Text("Back.".into()));
    assert_eq!(complete(&model, request()).await.expect("the probe").text, "Back.");
    assert_eq!(breaker.state(), BreakerState::Closed);
    // Old failures are forgotten with it.
    assert_eq!(complete(&model, request()).await, Err(fault()));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_it_opens_those_that_waited_for_a_place_fail_at_once() {
    let guard = EndpointGuard::default();
    let timeouts = Timeouts { first_byte: Duration::from_secs(60), ..Timeouts::default() };
    let hanging = ScriptedModel::answering(|_| Scripted::Hang);
    let model = Arc::new(hanging.clone().standard(20, timeouts, RetryPolicy::never(), guard.clone()));
    let begun = Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { complete(&*model, request()).await.expect_err("hangs") })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    assert!(begun.elapsed() < Duration::from_secs(61), "those that waited for a place went at once: {:?}", begun.elapsed());
    assert_eq!(hanging.requests().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_nobody_waits_for_a_place() {
    let guard = EndpointGuard::default();
    let script = ScriptedModel::answering(|_| Scripted::Hang);
    let model = Arc::new(script.standard(1, Timeouts::default(), RetryPolicy::default(), guard.clone()));
    let hung = tokio::spawn({
        let model = model.clone();
        async move { complete(&*model, request()).await }
    });
    sleep(Duration::from_millis(1)).await;
    // Another model with the same guard opens it meanwhile.
    let other = failing(fault()).breaker(guard.breaker.clone());
    for _ in 0..20 {
        let _ = complete(&other, request()).await;
    }
    let begun = Instant::now();
    assert!(matches!(complete(&*model, request()).await, Err(LlmError::BreakerOpen { .. })));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    hung.abort();
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_their_share() {
    let budget = RetryBudget::new(BudgetPolicy { minimum: 3, ..BudgetPolicy::default() });
    let script = failing(fault());
    let model = script.clone().retry(RetryPolicy { tries: 2, base: Duration::ZERO, ..RetryPolicy::default() }, budget.clone());
    for _ in 0..100 {
        assert_eq!(complete(&model, request()).await, Err(fault()), "the endpoint's own error is told");
    }
    // Of 100 calls 3 and, as the calls came in, a tenth of them: 13 retries at most.
    assert_eq!(script.requests().len(), 113);
    assert_eq!(budget.refused(), 87);
    // A window later a quiet endpoint may try again.
    advance(Duration::from_secs(31)).await;
    assert_eq!(complete(&model, request()).await, Err(fault()));
    assert_eq!(script.requests().len(), 115);
}
