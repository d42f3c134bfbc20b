//! The corpora of the fuzz targets, and seeded mutations of them, with the targets' own bodies.

#[path = "../../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../../tests/fuzz/bodies/sse.rs"]
mod sse;
#[path = "../../../tests/fuzz/bodies/tool_calls.rs"]
mod tool_calls;

#[test]
fn streams_of_events_are_read_alike_however_they_are_cut() {
    corpus::run("sse", sse::check);
}

#[test]
fn calls_are_found_alike_however_an_answer_is_cut() {
    corpus::run("tool_calls", tool_calls::check);
}
