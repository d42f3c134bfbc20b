//! What a seed decides before anything happens: how much of which trouble there will be.
//!
//! Each kind of trouble is left out of a third of all seeds, so that no kind always hides another.

use std::time::Duration;

use jiff::SignedDuration;

use super::dice::Dice;

/// How long a lease holds in a simulation: short, so that being frozen for longer is cheap.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// The troubles of one seed.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Engines.
    pub(super) replicas: usize,
    /// How far each engine's clock is off; the store's is right.
    pub(super) skews: Vec<SignedDuration>,
    /// How long the weather is bad.
    pub(super) storm: Duration,
    /// Share of store calls that fail before they have an effect, and after it.
    pub(super) store_before: f64,
    pub(super) store_after: f64,
    /// Most milliseconds of a store call, each way.
    pub(super) store_millis: u64,
    /// Share of requests that never arrive, and of answers.
    pub(super) request_lost: f64,
    pub(super) answer_lost: f64,
    /// Share of reads after which a stream is cut.
    pub(super) cut: f64,
    /// Share of model calls that fail, and most milliseconds of one.
    pub(super) model_faults: f64,
    pub(super) model_millis: u64,
    /// Share of replies that call tools.
    pub(super) calls: f64,
    /// What may happen to a replica.
    pub(super) crashes: bool,
    pub(super) freezes: bool,
    pub(super) partitions: bool,
    pub(super) drains: bool,
    /// Share of runs that somebody cancels, and of messages that interrupt.
    pub(super) cancels: f64,
    /// Tokens that the agents' models take; the small one pages out.
    pub(super) window: u32,
    /// Whether memory gets vectors.
    pub(super) embeds: bool,
    /// Whether people write as of days ago, so that there are diary pages to be written.
    pub(super) diary: bool,
}

impl Plan {
    pub(super) fn draw(dice: &Dice) -> Self {
        let has = || dice.chance(2.0 / 3.0);
        let share = |most: f64| if has() { dice.share(most) } else { 0.0 };
        let replicas = if dice.chance(0.2) { 3 } else { 2 };
        let has_skew = dice.chance(0.3);
        let skew = |_| SignedDuration::from_secs(if has_skew { 3_600 * (dice.number(0..3).cast_signed() - 1) } else { 0 });
        Self {
            replicas,
            skews: (0..replicas).map(skew).collect(),
            storm: dice.millis(2_000..15_000),
            store_before: share(0.05),
            store_after: share(0.05),
            store_millis: *dice.pick(&[1, 5, 40]),
            request_lost: share(0.15),
            answer_lost: share(0.15),
            cut: share(0.5),
            model_faults: share(0.15),
            model_millis: *dice.pick(&[20, 200, 1_500]),
            calls: share(0.6),
            crashes: has(),
            freezes: has(),
            partitions: has(),
            drains: has(),
            cancels: share(0.2),
            window: *dice.pick(&[1_300, 6_000]),
            embeds: dice.chance(0.4),
            diary: dice.chance(0.15),
        }
    }
}
