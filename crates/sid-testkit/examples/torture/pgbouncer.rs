//! The storm on one conversation, with PgBouncer in transaction mode before the database.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sid_testkit::rig::{DATABASE, ROLE};

use crate::one_conversation::{EACH, SENDERS, storm};
use crate::{Context, Sheet};

/// Connections to the database for all servers together.
const POOL: usize = 4;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let program = context.options.pgbouncer.clone().context("--pgbouncer names the program: `cargo xtask setup pgbouncer` fetches it")?;
    let plan = context.fleet().replicas(2).set("server.queue_depth", SENDERS * EACH);
    let mut fleet = plan.set("store.prepared_statements", false).prepare().await?;
    let database = fleet.postgres.as_ref().context("the store is a Postgres")?.address();
    let mut bouncer = Bouncer::start(&program, fleet.folder(), database.port())?;
    for server in &mut fleet.servers {
        server.plan.settings.push(("store.url".into(), format!("postgres://{ROLE}@127.0.0.1:{}/{DATABASE}", bouncer.port)));
    }
    fleet.open().await?;
    storm(context, sheet, &mut fleet).await?;
    let used = fleet.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"))?.parse::<f64>()?;
    sheet.at_most("connections to the database", POOL as f64, used, "");
    let log = fleet.postgres.as_ref().map(sid_testkit::postgres::OwnCluster::log).unwrap_or_default();
    let servers: String = fleet.servers.iter().map(sid_testkit::rig::Server::log).collect();
    let errors =
        log.lines().chain(servers.lines()).filter(|line| line.contains("prepared statement")).map(str::to_owned).collect::<Vec<_>>();
    sheet.nothing("errors about prepared statements", &errors);
    anyhow::ensure!(bouncer.child.try_wait()?.is_none(), "PgBouncer ended");
    Ok(())
}

/// A running PgBouncer.
struct Bouncer {
    child: Child,
    port: u16,
}

impl Bouncer {
    fn start(program: &Path, folder: &Path, database: u16) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // It does not run as root; whoever it runs as then has to read its files.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        let users = folder.join("users.txt");
        std::fs::write(&users, format!("\"{ROLE}\" \"\"\n"))?;
        let file = folder.join("pgbouncer.ini");
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 500\nlogfile =\npidfile =\n",
            users.display()
        );
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.join("pgbouncer.log"))?;
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder)?) == 0 {
            command.args(["-u", "nobody"]);
        }
        let child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        let bouncer = Self { child, port };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.join("pgbouncer.log")).unwrap_or_default();
            anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "PgBouncer does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(bouncer)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
