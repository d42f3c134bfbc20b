//! A next release's migration under load: killed, held up by long transactions, run again; this release's servers beside it.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sid_store_pg::{PgStore, Step};
use sid_testkit::postgres::{ADMIN, OwnCluster};
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{DATABASE, Fleet, Load, LoadPlan, Server, Tally, percentile};

use crate::{Context, Sheet};

/// The argument with which the torture starts its own program anew, to be the next release's `sid-server migrate`: `URL STEPS` follow.
pub(crate) const NEXT_RELEASE: &str = "--next-release";

/// The schema that this release's servers are made for, at least.
const THIS: u32 = 2;

/// What the next release does to the largest table, and what the one after it ends.
const NEXT: [Step; 6] = [
    // Programs that do not know the column have it filled for them.
    Step::once(&[
        "ALTER TABLE sid.messages ADD COLUMN letters int",
        "CREATE TABLE sid.letters_of_day (tenant uuid, day date, letters bigint NOT NULL, PRIMARY KEY (tenant, day))",
        "CREATE FUNCTION sid.count_letters() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.letters := length(NEW.text); RETURN NEW; END $$",
        "CREATE TRIGGER count_letters BEFORE INSERT ON sid.messages FOR EACH ROW EXECUTE FUNCTION sid.count_letters()",
    ])
    .for_programs_from(THIS),
    Step::index("without_letters", "messages", "(tenant, part) WHERE letters IS NULL").for_programs_from(THIS),
    Step::batches(
        "UPDATE sid.messages SET letters = length(text) WHERE (tenant, part, conv, seq) IN
            (SELECT tenant, part, conv, seq FROM sid.messages WHERE letters IS NULL LIMIT 500 FOR UPDATE SKIP LOCKED)",
    )
    .for_programs_from(THIS),
    Step::once(&["ALTER TABLE sid.messages ADD CONSTRAINT letters_counted CHECK (letters IS NOT NULL) NOT VALID"]).for_programs_from(THIS),
    Step::once(&["ALTER TABLE sid.messages VALIDATE CONSTRAINT letters_counted"]).for_programs_from(THIS),
    Step::once(&[
        "ALTER TABLE sid.messages ALTER COLUMN letters SET NOT NULL",
        "ALTER TABLE sid.messages DROP CONSTRAINT letters_counted",
        "DROP INDEX sid.without_letters",
    ]),
];
/// So many of them belong to the next release; the rest to the one after.
const EXPANDED: usize = 3;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (rows, calm) = context.size((20_000, 3), (300_000, 20));
    let mut plan = context.fleet().replicas(2);
    // Longer waits for locks than this are logged; that is what they are counted by.
    plan.postgres = "-c deadlock_timeout=1900ms".into();
    let mut fleet = plan.start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(8, 2).await?;
    let _ = fleet.sql(&format!(
        "INSERT INTO sid.messages (tenant, part, conv, seq, id, role, text, at, written_at) SELECT '{}', n % 64, gen_random_uuid(), n,
            gen_random_uuid(), 0, repeat('x', n % 500), now(), now() FROM generate_series(1, {rows}) n",
        uuid::Uuid::from_u128(7)
    ))?;
    let ledger = fleet.ledger()?;
    let load = Load::start(&LoadPlan { waits: 0.5, pause_ms: 0..400, ..LoadPlan::new(conversations.clone(), context.seed) }, &api, &ledger);
    let watch = Watch::default();
    watch.enter("before");
    watch.during(&load, tokio::time::sleep(Duration::from_secs(calm))).await;
    let before = load.tally();
    let migrated = watch.during(&load, storm(&mut fleet, &load, &watch)).await?;
    let tally = load.stop().await;
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    sheet.fact("acknowledged messages, older rows", format!("{}, {rows}", ledger.len()));
    sheet.fact("migrations run, killed", format!("{}, {}", migrated.runs, migrated.kills));
    sheet.nothing("requests that failed after the ordinary retry", &tally.wrong);
    sheet.fact("failures that were repeated", tally.shown());
    sheet.fact("of these while no server was restarted", failures(&tally) - migrated.at_restarts);
    sheet.nothing("waits of 2 s for a table", &migrated.table_waits);
    sheet.fact("waits of 2 s for another's row", migrated.row_waits);
    sheet.none("rows without the new value, or with a wrong one", migrated.wrong_rows);
    sheet.exactly("an older server, started after the end, is refused", 1, u64::from(refused(&fleet).await?));
    sheet.fact("longest time without an acknowledgement", watch.shown());
    for (what, before, all) in [("accept", &before.accept_ms, &tally.accept_ms), ("answer", &before.answer_ms, &tally.answer_ms)] {
        let mut during = all[before.len()..].to_vec();
        let (p50, p99, max) = (percentile(&mut during, 0.5), percentile(&mut during, 0.99), percentile(&mut during, 1.0));
        let p99_before = percentile(&mut before.clone(), 0.99);
        sheet.fact(&format!("{what} p99 before; p50, p99, longest during"), format!("{p99_before:.0}; {p50:.0}, {p99:.0}, {max:.0} ms"));
    }
    sheet.none("servers that ended", fleet.fallen() as u64);
    sheet.invariants(&examine(&api, &conversations, ledger.entries(), Depth { runs: 1_000, ..Depth::default() }).await?);
    Ok(())
}

/// What the migrations came to.
struct Migrated {
    runs: u64,
    kills: u64,
    /// Answers other than success around the restarts, which are repeated.
    at_restarts: u64,
    table_waits: Vec<String>,
    row_waits: usize,
    wrong_rows: u64,
}

/// The whole story: expand, fill, contract, with five kills.
async fn storm(fleet: &mut Fleet, load: &Load, watch: &Watch) -> Result<Migrated> {
    let (mut runs, mut kills) = (0, 0);
    watch.enter("expand");
    // This release's own migration again: nothing to do.
    let schema = "SELECT string_agg(version || '@' || applied_at, ',') FROM sid.schema_version";
    let found = fleet.sql(schema)?;
    let mut this = Server::new(fleet.servers[0].plan.clone());
    this.plan.settings.push(("store.admin_url".into(), cluster(fleet)?.url(ADMIN, DATABASE)));
    tokio::task::block_in_place(|| this.run("migrate"))?;
    ensure!(fleet.sql(schema)? == found, "migrating again has changed the schema");
    let first: usize = fleet.sql("SELECT max(version) FROM sid.schema_version")?.parse()?;
    let version = |more: usize| format!("SELECT max(version) >= {} FROM sid.schema_version", first + more);
    let queued =
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'sid.messages'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";

    // Expand, while a transaction holds the table; killed while it waits. The other transaction holds up the index after it.
    let reader = Long::begin(cluster(fleet)?, "SELECT count(*) FROM sid.messages")?;
    let snapshot = Long::begin(cluster(fleet)?, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")?;
    runs += 3;
    let waiting = Migration::start(fleet, EXPANDED)?;
    until(fleet, queued).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    kills += waiting.kill()?;
    let expanding = Migration::start(fleet, EXPANDED)?;
    until(fleet, queued).await?;
    reader.end()?;
    until(fleet, &version(1)).await?;
    watch.enter("index");
    until(fleet, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event = 'virtualxid'")
        .await?;
    kills += expanding.kill()?;
    snapshot.end()?;

    // Fill; killed inside. Servers of this release are restarted beside the newer schema.
    let left =
        |share: &str| format!("SELECT count(*) < (SELECT count(*) FROM sid.messages) * {share} FROM sid.messages WHERE letters IS NULL");
    let filling = Migration::start(fleet, EXPANDED)?;
    until(fleet, &version(2)).await?;
    watch.enter("fill");
    until(fleet, &left("0.9")).await?;
    kills += filling.kill()?;
    watch.enter("restarts");
    let failed = failures(&load.tally());
    for at in 0..fleet.servers.len() {
        let (status, _) = fleet.servers[at].stop(Duration::from_secs(40)).await?;
        ensure!(status.success(), "a server ended with {status}");
        fleet.servers[at].start().await?;
    }
    // Who met a server that was just gone has repeated by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let at_restarts = failures(&load.tally()) - failed;
    watch.part.set("fill");
    let filling = Migration::start(fleet, EXPANDED)?;
    until(fleet, &left("0.5")).await?;
    kills += filling.kill()?;
    Migration::start(fleet, EXPANDED)?.done().await?;

    watch.enter("contract");
    // Contract; killed while a transaction holds the table.
    let reader = Long::begin(cluster(fleet)?, "SELECT count(*) FROM sid.messages")?;
    let contracting = Migration::start(fleet, NEXT.len())?;
    until(fleet, queued).await?;
    kills += contracting.kill()?;
    reader.end()?;
    Migration::start(fleet, NEXT.len())?.done().await?;
    runs += 5;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let wrong_rows = fleet.sql("SELECT count(*) FROM sid.messages WHERE letters IS DISTINCT FROM length(text)")?.parse()?;
    // Waits for a table are a migration's doing; those for another's row are the servers' own, on a machine that is busy.
    let log = cluster(fleet)?.log();
    let waits = |what: &str| -> Vec<String> {
        log.lines().filter(|l| l.contains("still waiting for") && l.contains(what)).map(str::to_owned).collect()
    };
    let (table_waits, row_waits) = (waits(" on relation "), waits(" on transaction ").len());
    Ok(Migrated { runs, kills, at_restarts, table_waits, row_waits, wrong_rows })
}

fn cluster(fleet: &Fleet) -> Result<&OwnCluster> {
    fleet.postgres.as_ref().context("the store is a Postgres")
}

fn failures(tally: &Tally) -> u64 {
    tally.failures.values().sum()
}

/// Waits until the database answers yes.
async fn until(fleet: &Fleet, sql: &str) -> Result<()> {
    let began = Instant::now();
    while tokio::task::block_in_place(|| fleet.sql(sql))? != "t" {
        if began.elapsed() > Duration::from_secs(300) {
            let at_work = "SELECT pid, state, wait_event, age(clock_timestamp(), xact_start), left(query, 90) FROM pg_stat_activity WHERE xact_start IS NOT NULL";
            bail!("not after five minutes: {sql}; at work are:\n{}", fleet.sql(at_work)?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Whether a server of this release refuses to start on what the last step has left.
async fn refused(fleet: &Fleet) -> Result<bool> {
    let mut late = Server::new(fleet.servers[0].plan.clone());
    late.plan.name = "late".into();
    late.plan.port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(late.start().await.is_err() && late.log().contains("newer Sid"))
}

/// The longest time in which nothing was acknowledged, in each part of the story.
#[derive(Default)]
struct Watch {
    part: Cell<&'static str>,
    longest: RefCell<Vec<(&'static str, Duration)>>,
}

impl Watch {
    fn enter(&self, part: &'static str) {
        self.part.set(part);
        self.longest.borrow_mut().push((part, Duration::ZERO));
    }

    fn look(&self, load: &Load) {
        let now = load.tally().last.map_or(Duration::ZERO, |last| last.elapsed());
        if let Some((_, longest)) = self.longest.borrow_mut().iter_mut().find(|(part, _)| *part == self.part.get()) {
            *longest = now.max(*longest);
        }
    }

    async fn during<T>(&self, load: &Load, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(20)) => self.look(load),
            }
        }
    }

    fn shown(&self) -> String {
        let parts = self.longest.borrow();
        let parts: Vec<String> = parts.iter().map(|(part, longest)| format!("{part} {:.0}", longest.as_secs_f64() * 1e3)).collect();
        parts.join(", ") + " ms"
    }
}

/// A transaction that does not end.
struct Long(Child);

impl Long {
    fn begin(cluster: &OwnCluster, sql: &str) -> Result<Self> {
        let mut psql = cluster.program("psql");
        psql.args(["-X", "-q", "-t", "-U", ADMIN, "-d", DATABASE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = psql.spawn()?;
        writeln!(child.stdin.as_mut().context("piped")?, "BEGIN; {sql};")?;
        // An answer: it has its snapshot, and its locks.
        std::io::Read::read_exact(child.stdout.as_mut().context("piped")?, &mut [0])?;
        Ok(Self(child))
    }

    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "the long transaction has lasted to its end");
        Ok(())
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The next release's `migrate`, as a process.
struct Migration(Child);

impl Migration {
    fn start(fleet: &Fleet, steps: usize) -> Result<Self> {
        let url = cluster(fleet)?.url(ADMIN, DATABASE);
        Ok(Self(Command::new(std::env::current_exe()?).args([NEXT_RELEASE, &url, &steps.to_string()]).stdin(Stdio::null()).spawn()?))
    }

    /// SIGKILL, in the middle: it must not have ended.
    fn kill(mut self) -> Result<u64> {
        if let Some(status) = self.0.try_wait()? {
            bail!("the migration has ended with {status} before it could be killed");
        }
        self.0.kill()?;
        self.0.wait()?;
        Ok(1)
    }

    async fn done(mut self) -> Result<()> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "the migration ended with {status}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Migration {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program as that process.
pub(crate) async fn as_next_release(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (url, steps) = (arguments.next().unwrap_or_default(), arguments.next().and_then(|n| n.parse().ok()).unwrap_or(NEXT.len()));
    match PgStore::migrate_with(&url, &NEXT[..steps]).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
