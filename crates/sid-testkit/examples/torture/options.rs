//! What the command line says.

use std::path::PathBuf;

use sid_testkit::rig::StoreKind;

/// What to run, and with what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Names; empty = all.
    pub(crate) names: Vec<String>,
    /// Whether the full sizes are run.
    pub(crate) is_full: bool,
    /// Only on this store.
    pub(crate) store: Option<StoreKind>,
    /// In place of one by lot.
    pub(crate) seed: Option<u64>,
    /// The program `sid-server`, built with the feature `failpoints`.
    pub(crate) server: PathBuf,
    /// Only the crash points that begin so.
    pub(crate) point: Option<String>,
    /// The program `sid`.
    pub(crate) cli: Option<PathBuf>,
    /// The program `pgbouncer`.
    pub(crate) pgbouncer: Option<PathBuf>,
    /// The library `libfaketime.so.1`.
    pub(crate) faketime: Option<PathBuf>,
    /// The page that figures are written to.
    pub(crate) page: Option<PathBuf>,
    /// Whether the folders of fleets, with their logs, are left behind.
    pub(crate) keep: bool,
    /// Whether only the names are wanted.
    pub(crate) is_list: bool,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--full" => options.is_full = true,
                "--keep" => options.keep = true,
                "--list" => options.is_list = true,
                "--seed" => options.seed = Some(value()?.parse().map_err(|_| "--seed wants a number".to_owned())?),
                "--server" => options.server = value()?.into(),
                "--point" => options.point = Some(value()?),
                "--cli" => options.cli = Some(value()?.into()),
                "--pgbouncer" => options.pgbouncer = Some(value()?.into()),
                "--faketime" => options.faketime = Some(value()?.into()),
                "--page" => options.page = Some(value()?.into()),
                "--store" => {
                    options.store = Some(match value()?.as_str() {
                        "sqlite" => StoreKind::Sqlite,
                        "postgres" => StoreKind::Postgres,
                        other => return Err(format!("--store is sqlite or postgres, not `{other}`")),
                    });
                }
                other if other.starts_with('-') => return Err(format!("no option `{other}`")),
                other => options.names.push(other.to_owned()),
            }
        }
        // Programs are started in other folders.
        match options.server.canonicalize() {
            Ok(path) => options.server = path,
            Err(_) if options.is_list => {}
            Err(_) => return Err("--server PATH names the program sid-server".into()),
        }
        Ok(options)
    }
}
