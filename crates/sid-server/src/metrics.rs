//! Every metric of the server: names, units, labels. Never a tenant, user or conversation in a label.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sid_types::Run;

use crate::api::wire::stop_name;

const HTTP_REQUESTS: &str = "sid_http_requests_total";
const HTTP_SECONDS: &str = "sid_http_request_seconds";
const HTTP_IN_FLIGHT: &str = "sid_http_requests_in_flight";
const RUNS: &str = "sid_runs_total";
const RUN_SECONDS: &str = "sid_run_seconds";
const RUN_QUEUE_SECONDS: &str = "sid_run_queue_seconds";
const RUN_STEPS: &str = "sid_run_steps_total";
const RUNS_ACTIVE: &str = "sid_runs_active";
const TOKENS: &str = "sid_tokens_total";
const MODEL_CALLS: &str = "sid_model_calls_total";
const MODEL_SECONDS: &str = "sid_model_call_seconds";
const MODEL_FIRST_SECONDS: &str = "sid_model_first_token_seconds";
const INDEX_INDEXED: &str = "sid_index_records";
const INDEX_PENDING: &str = "sid_index_pending_records";
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
    describe_counter!(RUNS, Unit::Count, "Runs that ended, by stop reason");
    describe_histogram!(RUN_SECONDS, Unit::Seconds, "From the claim of a run to its end");
    describe_histogram!(RUN_QUEUE_SECONDS, Unit::Seconds, "From the acceptance of a run to its claim");
    describe_counter!(RUN_STEPS, Unit::Count, "Steps of runs that ended");
    describe_gauge!(RUNS_ACTIVE, Unit::Count, "Runs under way in this process");
    describe_counter!(TOKENS, Unit::Count, "Tokens, by kind: prompt, completion, cached");
    describe_counter!(MODEL_CALLS, Unit::Count, "Model calls, by configured model, outcome and rung of the tool-call ladder");
    describe_histogram!(MODEL_SECONDS, Unit::Seconds, "Whole model calls, by configured model");
    describe_histogram!(MODEL_FIRST_SECONDS, Unit::Seconds, "Time to the first piece of an answer, by configured model");
    describe_gauge!(INDEX_INDEXED, Unit::Count, "Records with vectors");
    describe_gauge!(INDEX_PENDING, Unit::Count, "Records that wait for their vectors");
    describe_gauge!(RESIDENT, Unit::Bytes, "Memory of this process");
}

pub(crate) fn request(method: &'static str, route: String, status: u16, took: Duration) {
    counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status.to_string()).increment(1);
    histogram!(HTTP_SECONDS, "route" => route).record(took);
}

pub(crate) fn run_ended(run: &Run) {
    let reason = run.stop_reason.map_or("unknown", stop_name);
    counter!(RUNS, "stop_reason" => reason).increment(1);
    counter!(RUN_STEPS).increment(u64::from(run.steps));
    if let (Some(started), Some(ended)) = (run.started_at, run.ended_at) {
        histogram!(RUN_SECONDS).record(seconds(ended.duration_since(started)));
        histogram!(RUN_QUEUE_SECONDS).record(seconds(started.duration_since(run.created_at)));
    }
}

fn seconds(span: jiff::SignedDuration) -> f64 {
    span.as_secs_f64().max(0.0)
}

/// One call of a chat model.
pub(crate) struct ModelCall {
    pub(crate) model: String,
    pub(crate) outcome: &'static str,
    pub(crate) rung: &'static str,
    pub(crate) first: Option<Duration>,
    pub(crate) total: Duration,
    pub(crate) usage: Option<sid_types::Usage>,
}

pub(crate) fn model_call(call: ModelCall) {
    let model = call.model;
    counter!(MODEL_CALLS, "model" => model.clone(), "outcome" => call.outcome, "rung" => call.rung).increment(1);
    if let Some(first) = call.first {
        histogram!(MODEL_FIRST_SECONDS, "model" => model.clone()).record(first);
    }
    if let Some(usage) = call.usage {
        for (kind, tokens) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens), ("cached", usage.cached_tokens)] {
            counter!(TOKENS, "model" => model.clone(), "kind" => kind).increment(tokens);
        }
    }
    histogram!(MODEL_SECONDS, "model" => model).record(call.total);
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

/// Resident memory, where the system tells it (Linux).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
