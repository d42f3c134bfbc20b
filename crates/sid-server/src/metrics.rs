//! Metrics of the server, and the recorder for those of the engine: names, units, labels. Never a tenant, user or conversation in a label.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sid_llm::{BreakerState, EndpointGuard};

const HTTP_REQUESTS: &str = "sid_http_requests_total";
const HTTP_SECONDS: &str = "sid_http_request_seconds";
const HTTP_IN_FLIGHT: &str = "sid_http_requests_in_flight";
const RUNS_ACTIVE: &str = "sid_runs_active";
const INDEX_INDEXED: &str = "sid_index_records";
const INDEX_PENDING: &str = "sid_index_pending_records";
const BREAKER_STATE: &str = "sid_model_breaker_state";
const BREAKER_OPENED: &str = "sid_model_breaker_opened_total";
const RETRIES_REFUSED: &str = "sid_model_retries_refused_total";
const VECTORS_ANSWERING: &str = "sid_vector_index_answering";
const VECTORS_WAITING: &str = "sid_vector_index_waiting_changes";
const VECTORS_REMOVALS: &str = "sid_vector_index_unverified_removals";
const TOOLSETS_UNUSABLE: &str = "sid_toolsets_unusable_total";
const WEBHOOK_ATTEMPTS: &str = "sid_webhook_attempts_total";
const RESIDENT: &str = "sid_process_resident_bytes";

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder, once per process. `None` when the program that embeds the server has its own.
pub(crate) fn install() -> Option<&'static PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
            let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets).ok()?;
            let handle = builder.install_recorder().ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

fn describe() {
    describe_counter!(HTTP_REQUESTS, Unit::Count, "Requests, by method, route and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "Time until the response began, by route");
    describe_gauge!(HTTP_IN_FLIGHT, Unit::Count, "Requests under way, streams included");
    describe_gauge!(RUNS_ACTIVE, Unit::Count, "Runs under way in this process");
    // Counted in sid-core.
    describe_counter!("sid_runs_total", Unit::Count, "Runs that ended, by stop reason");
    describe_histogram!("sid_run_seconds", Unit::Seconds, "From the claim of a run to its end");
    describe_counter!("sid_steps_total", Unit::Count, "Steps, by rung of the tool-call ladder");
    describe_counter!("sid_prompt_tokens_total", Unit::Count, "Tokens of prompts");
    describe_counter!("sid_completion_tokens_total", Unit::Count, "Tokens of answers");
    describe_histogram!("sid_model_first_token_seconds", Unit::Seconds, "Time to the first piece of a model's answer");
    describe_histogram!("sid_model_call_seconds", Unit::Seconds, "Whole model calls");
    describe_counter!("sid_context_overflows_total", Unit::Count, "Prompts that the model engine called too large");
    describe_counter!("sid_token_budget_warnings_total", Unit::Count, "Tenants that have used 80 % of their tokens, by period");
    describe_counter!("sid_token_budget_stops_total", Unit::Count, "Runs that ended because their tenant's tokens were used up, by period");
    describe_counter!("sid_tool_calls_total", Unit::Count, "Tool calls, by tool and whether they failed");
    describe_gauge!(
        "sid_duty_held",
        Unit::Count,
        "1 if this process does for all servers what is done once: embed, diary, maintain; else 0"
    );
    describe_counter!(
        "sid_maintenance_pieces_total",
        Unit::Count,
        "Pieces of old events, keys and used tokens that were dropped, or could not be"
    );
    describe_gauge!("sid_maintenance_complete_timestamp_seconds", Unit::Seconds, "When this process last left nothing old, in Unix time");
    describe_counter!(WEBHOOK_ATTEMPTS, Unit::Count, "Attempts to deliver to webhooks, by what came of them");
    describe_gauge!(BREAKER_STATE, Unit::Count, "Circuit breaker of a model's endpoint: 0 closed, 1 half open, 2 open");
    describe_counter!(BREAKER_OPENED, Unit::Count, "Times that the breaker has opened, by model");
    describe_counter!(RETRIES_REFUSED, Unit::Count, "Retries that the endpoint's budget did not allow, by model");
    describe_gauge!(INDEX_INDEXED, Unit::Count, "Records with vectors");
    describe_gauge!(INDEX_PENDING, Unit::Count, "Records that wait for their vectors");
    describe_gauge!(VECTORS_ANSWERING, Unit::Count, "1 if the vector index answered when a search of this process last asked it, else 0");
    describe_gauge!(VECTORS_WAITING, Unit::Count, "Changes that the vector index has not taken in; searches compare them without it");
    describe_gauge!(VECTORS_REMOVALS, Unit::Count, "Deletions from the vector index that no count has verified yet");
    describe_counter!(TOOLSETS_UNUSABLE, Unit::Count, "Times that a toolset was left out because it could not be used, by kind");
    describe_gauge!(RESIDENT, Unit::Bytes, "Memory of this process");
}

pub(crate) fn request(method: &'static str, route: String, status: u16, took: Duration) {
    counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status.to_string()).increment(1);
    histogram!(HTTP_SECONDS, "route" => route).record(took);
}

pub(crate) fn state(in_flight: usize, active_runs: usize, index: Option<sid_store::IndexStatus>) {
    gauge!(HTTP_IN_FLIGHT).set(in_flight as f64);
    gauge!(RUNS_ACTIVE).set(active_runs as f64);
    if let Some(index) = index {
        gauge!(INDEX_INDEXED).set(index.indexed as f64);
        gauge!(INDEX_PENDING).set(index.pending as f64);
    }
    if let Some(bytes) = resident_bytes() {
        gauge!(RESIDENT).set(bytes as f64);
    }
}

/// A toolset was left out. `kind`: one of those that there are, or `unknown`.
pub(crate) fn toolset_unusable(kind: &'static str) {
    counter!(TOOLSETS_UNUSABLE, "kind" => kind).increment(1);
}

/// How a model's endpoint is. The label is the configured name, of which there are few.
pub(crate) fn endpoint(model: &str, guard: &EndpointGuard) {
    let state = match guard.breaker.state() {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    gauge!(BREAKER_STATE, "model" => model.to_owned()).set(state);
    counter!(BREAKER_OPENED, "model" => model.to_owned()).absolute(guard.breaker.opened());
    counter!(RETRIES_REFUSED, "model" => model.to_owned()).absolute(guard.retries.refused());
}

pub(crate) fn vector_index(status: sid_store_pg::VectorStatus) {
    gauge!(VECTORS_ANSWERING).set(f64::from(u8::from(status.is_answering)));
    gauge!(VECTORS_WAITING).set(status.waiting as f64);
    gauge!(VECTORS_REMOVALS).set(status.removals as f64);
}

/// Resident memory, where the system tells it (Linux).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Counts an attempt to deliver to a webhook.
pub(crate) fn webhook_attempt(outcome: &sid_store::DeliveryOutcome) {
    let outcome = match outcome {
        sid_store::DeliveryOutcome::Delivered => "delivered",
        sid_store::DeliveryOutcome::Retry(_) => "retry",
        sid_store::DeliveryOutcome::Failed => "failed",
    };
    counter!(WEBHOOK_ATTEMPTS, "outcome" => outcome).increment(1);
}
