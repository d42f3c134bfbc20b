//! Named places at which a process can be told to end: what a crash leaves behind is tested at each of them.
//!
//! [`crash_point!`](crate::crash_point) marks a place. Without the feature `failpoints` it is nothing at all. With it, a process that
//! was armed for the place's name ends there with status 137, as if it had been killed: no destructor runs, nothing is flushed.

/// All names, as they stand in the code; `xtask` has a test that compares the two, and `cargo xtask torture crash` crashes a server at each.
///
/// `sqlite.` and `pg.` are places of one store; the others are the engine's and the server's, on any store.
pub const POINTS: &[&str] = &[
    "accept.before",
    "accept.after",
    "answer.before",
    "cancel.before",
    "cancel.after",
    "claim.before",
    "claim.after",
    "diary.before",
    "diary.after",
    "drain.begin",
    "drain.end",
    "erase.before",
    "erase.after",
    "events.before",
    "events.after",
    "finish.before",
    "finish.after",
    "fire.before",
    "fire.after",
    "load.before",
    "load.after",
    "model.before",
    "model.after",
    "page-out.before",
    "page-out.after",
    "pg.begin.after",
    "pg.call.before",
    "pg.call.after",
    "pg.commit.before",
    "pg.commit.after",
    "pg.migrate.before",
    "pg.migrate.inside",
    "pg.migrate.after",
    "prompt.after",
    "record.before",
    "record.after",
    "release.before",
    "release.after",
    "renew.before",
    "renew.after",
    "results.before",
    "results.after",
    "run.left",
    "sqlite.begin.after",
    "sqlite.checkpoint.before",
    "sqlite.checkpoint.after",
    "sqlite.commit.before",
    "sqlite.commit.after",
    "sqlite.job.after",
    "sqlite.migrate.before",
    "sqlite.migrate.after",
    "sqlite.open.after",
    "sqlite.reply.before",
    "start.before",
    "start.after",
    "summary.before",
    "summary.after",
    "task.accept.before",
    "task.accept.after",
    "task.letter.before",
    "task.letter.after",
    "task.settle.before",
    "task.settle.after",
    "task.turn.after",
    "timers.before",
    "timers.after",
    "tool.before",
    "tool.after",
    "vectors.before",
    "vectors.after",
];

/// Marks a place by one of the names in [`crash::POINTS`](crate::crash::POINTS).
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{}};
}

/// Marks a place by one of the names in [`crash::POINTS`](crate::crash::POINTS).
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::reach($name)
    };
}

/// Tells this process where to end: `name=actions`, several with `;` between them, with the actions of the crate `fail`. `accept.after=return`
/// ends it when it first comes there, `accept.after=2*off->return` when it comes there for the third time.
///
/// Panics: when there is no such place, or no such action: a crash that cannot happen proves nothing.
#[cfg(feature = "failpoints")]
pub fn arm(places: &str) {
    for place in places.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, actions) = place.split_once('=').unwrap_or((place, "return"));
        assert!(POINTS.contains(&name), "there is no crash point `{name}`");
        fail::cfg(name, actions).unwrap_or_else(|problem| panic!("`{place}`: {problem}"));
    }
}

/// Ends the process if it was armed for this place.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub fn reach(name: &str) {
    let _: Option<()> = fail::eval(name, |_| std::process::exit(137));
}
