//! The simulation over some seeds: sound stores pass, the same seed is the same story, and each planted bug is found.
//!
//! `cargo xtask torture simulate` runs thousands.

use sid_testkit::sim::{Bug, Tally, simulate};

/// A bug must be found within so many seeds.
const SEEDS: u64 = 500;

#[test]
fn sound_replicas_keep_every_invariant() {
    let mut tally = Tally::default();
    for seed in 0..60 {
        let outcome = simulate(seed, Bug::None);
        assert!(outcome.wrong.is_empty(), "seed {seed}: {:#?}", outcome.wrong);
        tally += outcome.tally;
    }
    // What did not happen was not tested.
    assert!(tally.acknowledged > 300 && tally.runs >= tally.acknowledged && tally.steps > 300, "{tally:?}");
    assert!(tally.crashes > 20 && tally.zombies > 10 && tally.store_faults > 300, "{tally:?}");
    assert!(tally.fenced > 10 && tally.page_outs > 5 && tally.streamed > 1_000, "{tally:?}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let (once, again) = (simulate(seed, Bug::None), simulate(seed, Bug::None));
        let differs = once.trace.iter().zip(&again.trace).find(|(a, b)| a != b);
        assert!(once.hash == again.hash, "seed {seed} tells {differs:?}");
        hashes.insert(once.hash);
    }
    assert_eq!(hashes.len(), 30, "another seed is another story");
}

/// Asserts that a seed finds the bug, by what it breaks.
#[track_caller]
fn found(bug: Bug, invariant: &str) {
    let finds = |seed: &u64| simulate(*seed, bug).wrong.iter().any(|what| what.starts_with(invariant));
    let seed = (0..SEEDS).find(finds);
    assert!(seed.is_some(), "{bug:?} is not found as {invariant} in {SEEDS} seeds");
}

#[test]
fn a_dropped_fence_is_found() {
    found(Bug::DropsTheFence, "I4");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    found(Bug::AcknowledgesBeforeTheCommit, "I1");
}

#[test]
fn a_skipped_tenant_is_found() {
    found(Bug::SkipsTheTenant, "I8");
}

#[test]
fn events_read_twice_are_found() {
    found(Bug::RepeatsEventsOnResume, "I7");
}

#[test]
fn forgotten_idempotency_keys_are_found() {
    found(Bug::ForgetsIdempotencyKeys, "I1");
}
