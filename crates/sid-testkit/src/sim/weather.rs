//! What happens to replicas while the clients talk, until it calms down.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Sim;
use super::link::Condition;
use super::plan::LEASE;

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Crash,
    Freeze,
    Partition,
    Drain,
}

/// Makes trouble as long as the plan says, then puts everything right: each replica runs and reaches the store.
pub(super) async fn rage(sim: &Arc<Sim>) {
    let plan = &sim.plan;
    let kinds = [
        (plan.crashes, Trouble::Crash),
        (plan.freezes, Trouble::Freeze),
        (plan.partitions, Trouble::Partition),
        (plan.drains, Trouble::Drain),
    ];
    let troubles: Vec<Trouble> = kinds.into_iter().filter(|(is_on, _)| *is_on).map(|(_, trouble)| trouble).collect();
    let end = tokio::time::Instant::now() + plan.storm;
    let mut under_way = Vec::new();
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(sim.dice.millis(200..3_000)).await;
        if !troubles.is_empty() {
            let (trouble, victim) = (*sim.dice.pick(&troubles), sim.dice.number(0..sim.replicas.len() as u64));
            under_way.push(tokio::spawn(make(sim.clone(), trouble, usize::try_from(victim).expect("an index"))));
        }
    }
    for trouble in under_way {
        trouble.await.expect("trouble does not panic");
    }
    sim.is_stormy.store(false, Ordering::Relaxed);
    for replica in &sim.replicas {
        replica.start(sim);
    }
    sim.trace.say("weather", format_args!("calm"));
}

/// One trouble from its beginning to its end.
async fn make(sim: Arc<Sim>, trouble: Trouble, victim: usize) {
    let replica = &sim.replicas[victim];
    let Some(process) = replica.process() else { return };
    sim.trace.say("weather", format_args!("{trouble:?} of {}", process.link.name()));
    let lease = u64::try_from(LEASE.as_millis()).expect("a few seconds");
    match trouble {
        Trouble::Crash => {
            sim.heard.lock().tally.crashes += 1;
            replica.kill();
            tokio::time::sleep(sim.dice.millis(0..3_000)).await;
            replica.start(&sim);
        }
        Trouble::Freeze => {
            let time = sim.dice.millis(100..lease * 2);
            sim.heard.lock().tally.zombies += u64::from(time > LEASE);
            process.link.set(Condition::Frozen);
            tokio::time::sleep(time).await;
            process.link.set(Condition::Running);
            sim.trace.say("weather", format_args!("{} goes on", process.link.name()));
        }
        Trouble::Partition => {
            process.link.cut_off(true);
            tokio::time::sleep(sim.dice.millis(100..lease * 2)).await;
            process.link.cut_off(false);
            sim.trace.say("weather", format_args!("{} reaches the store again", process.link.name()));
        }
        Trouble::Drain => {
            replica.drain(sim.dice.millis(0..2_000)).await;
            tokio::time::sleep(sim.dice.millis(0..500)).await;
            replica.start(&sim);
        }
    }
}
