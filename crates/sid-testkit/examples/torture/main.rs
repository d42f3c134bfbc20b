//! The tortures: what Sid promises, under the faults that it promises it for.
//!
//! `cargo xtask torture` builds everything and starts this; see its `--help`. By hand:
//! `torture --server PATH [NAME...] [--full] [--store sqlite|postgres] [--seed N] [--page docs/torture.md]`.
//! Exits with 1 when a target is missed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]

mod backup;
mod cancel;
mod clocks;
mod crash;
mod database;
mod external;
mod failover;
mod kill;
mod migration;
mod one_conversation;
mod options;
mod overload;
mod page;
mod pgbouncer;
mod repeats;
mod resume;
mod rolling;
mod sheet;
mod size;
mod zombie;

use std::process::ExitCode;
use std::time::Instant;

use futures::future::LocalBoxFuture;
use sid_testkit::rig::{FleetPlan, StoreKind};

use options::Options;
use sheet::Sheet;

/// One torture.
struct Torture {
    name: &'static str,
    /// What it does, in a line.
    about: &'static str,
    /// What it is run on.
    stores: &'static [StoreKind],
    run: for<'a> fn(&'a Context, &'a mut Sheet) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

/// What a torture is told.
struct Context {
    options: Options,
    store: StoreKind,
    /// Everything that is drawn by lot follows from it.
    seed: u64,
}

impl Context {
    /// One server on the torture's store.
    fn fleet(&self) -> FleetPlan {
        FleetPlan { keep: self.options.keep, ..FleetPlan::new(&self.options.server, self.store) }
    }

    /// A size: that of the quick form, or that of the full one.
    fn size<T>(&self, quick: T, full: T) -> T {
        if self.options.is_full { full } else { quick }
    }
}

use StoreKind::{Postgres, Sqlite};

/// All of them, the most important first.
const TORTURES: &[Torture] = &[
    Torture {
        name: "kill",
        about: "the server is killed under load, again and again: nothing acknowledged is lost or doubled, every run ends",
        stores: &[Sqlite, Postgres],
        run: |context, sheet| Box::pin(kill::run(context, sheet)),
    },
    Torture {
        name: "crash",
        about: "the server ends at each of its named points, once and again on the way back: as with a kill, and every point is reached",
        stores: &[Sqlite, Postgres],
        run: |context, sheet| Box::pin(crash::run(context, sheet)),
    },
    Torture {
        name: "external",
        about: "the server ends at every point around an external call: one effect where the service knows its key, no repeat where it does not",
        stores: &[Sqlite, Postgres],
        run: |context, sheet| Box::pin(external::run(context, sheet)),
    },
    Torture {
        name: "one-conversation",
        about: "64 senders write into one conversation over several servers: stored once, in one order, turns never mixed",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(one_conversation::run(context, sheet)),
    },
    Torture {
        name: "zombie",
        about: "the server that runs a step stands still and comes back later: the other takes over, the stream goes on, nothing is written late",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(zombie::run(context, sheet)),
    },
    Torture {
        name: "resume",
        about: "streams are cut at any byte and taken up on another server: no gap, no repeat",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(resume::run(context, sheet)),
    },
    Torture {
        name: "database",
        about: "Postgres is killed, stopped and frozen under load: only 429 and 503 outside, service is back soon after it is",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(database::run(context, sheet)),
    },
    Torture {
        name: "rolling",
        about: "three servers are restarted one after the other under load: no request fails, no step is begun twice",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(rolling::run(context, sheet)),
    },
    Torture {
        name: "migration",
        about: "a next release's migration under load, killed and held up by long transactions, this release's servers beside it: no request fails",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(migration::run(context, sheet)),
    },
    Torture {
        name: "repeats",
        about: "every request that makes something is sent five times at once, and three answers in ten are lost: one effect",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(repeats::run(context, sheet)),
    },
    Torture {
        name: "cancel",
        about: "three clients in ten hang up at any byte, on a pool of five connections: no answer goes astray, no transaction stays open",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(cancel::run(context, sheet)),
    },
    Torture {
        name: "overload",
        about: "four times what the server can do, most of it one tenant's: the others hardly notice",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(overload::run(context, sheet)),
    },
    Torture {
        name: "failover",
        about: "the primary is killed and a synchronous standby takes its place: nothing acknowledged is lost; with an asynchronous one the checker sees the loss",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(failover::run(context, sheet)),
    },
    Torture {
        name: "clocks",
        about: "two of three servers are an hour off, and are set while they run: leases, order and repeats do not care",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(clocks::run(context, sheet)),
    },
    Torture {
        name: "size",
        about: "a conversation of a million messages among a hundred thousand agents: a turn and a page cost what they cost in a small one",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(size::run(context, sheet)),
    },
    Torture {
        name: "pgbouncer",
        about: "the storm on one conversation behind PgBouncer in transaction mode, with four connections to the database",
        stores: &[Postgres],
        run: |context, sheet| Box::pin(pgbouncer::run(context, sheet)),
    },
    Torture {
        name: "backup",
        about: "a copy of a store at work is opened elsewhere, and a conversation is carried by export and import: all is there, what was erased is not",
        stores: &[Sqlite, Postgres],
        run: |context, sheet| Box::pin(backup::run(context, sheet)),
    },
];

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(migration::NEXT_RELEASE).is_some() {
        return migration::as_next_release(arguments).await;
    }
    let options = match Options::read(arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if options.is_list {
        for torture in TORTURES {
            println!("  {:<18} {}", torture.name, torture.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = options.names.iter().find(|n| TORTURES.iter().all(|t| t.name != n.as_str())) {
        let names: Vec<&str> = TORTURES.iter().map(|t| t.name).collect();
        eprintln!("no torture is called `{unknown}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |t: &&Torture| options.names.is_empty() || options.names.iter().any(|n| n == t.name);
    let mut sheets = Vec::new();
    for torture in TORTURES.iter().filter(wanted) {
        for store in torture.stores.iter().copied().filter(|s| options.store.is_none_or(|only| only == *s)) {
            sheets.push(one(torture, store, &options).await);
            // After each: a run that is stopped half-way keeps what it has measured.
            if let Some(path) = &options.page
                && let Err(error) = page::write(path, &sheets, options.is_full)
            {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    let is_well = sheet::table(&sheets);
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one torture on one store, whatever happens.
async fn one(torture: &Torture, store: StoreKind, options: &Options) -> Sheet {
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("\n==> {} on {} (seed {seed}): {}", torture.name, store.name(), torture.about);
    let began = Instant::now();
    let mut sheet = Sheet::new(torture.name, store.name(), seed);
    let context = Context { options: options.clone(), store, seed };
    tokio::select! {
        done = (torture.run)(&context, &mut sheet) => if let Err(error) = done {
            sheet.broken(format!("{error:#}"));
        },
        // Everything that was started is ended on the way out.
        _ = tokio::signal::ctrl_c() => sheet.broken("stopped by hand".into()),
    }
    sheet.took = began.elapsed();
    sheet
}
