//! Reads the sources in order and lays one over the other.

use std::path::{Path, PathBuf};

use super::setting::{Raw, Section};
use super::{
    Config, ConfigError, Embedder, Engine, Issuer, Limits, Log, McpProgram, Model, Secrets, Server, Store, Top, TrustedProxy, Vectors,
    reference,
};

/// Variables that begin with `SID_` but are not configuration: the command line's, the tests' and the build's.
const OTHER_VARIABLES: &[&str] = &[
    "SID_CONFIG",
    "SID_SERVER",
    "SID_URL",
    "SID_KEY",
    "SID_API_KEY",
    "SID_TENANT",
    "SID_USER",
    "SID_AGENT",
    "SID_DATA",
    "SID_BIN",
    "SID_SERVER_BIN",
    "SID_CACHE",
    "SID_EMBED_DIR",
];
const OTHER_PREFIXES: &[&str] = &["SID_TEST_", "SID_XTASK_", "SID_CLI_", "SID_BENCH_"];

/// Where values come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; it must be there.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `SID_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value` flags, as they were given.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The usual ones: `file`, else `$SID_CONFIG`, else `./sid.toml` if it is there; and this process's environment.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let file = file
            .or_else(|| std::env::var_os("SID_CONFIG").map(PathBuf::from))
            .or_else(|| Some(PathBuf::from("sid.toml")).filter(|p| p.exists()));
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.to_string_lossy().into_owned())))
            .filter(|(k, _)| k.starts_with("SID_"))
            .collect();
        Self { file, environment, flags }
    }
}

pub(super) fn read(sources: Sources) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    if let Some(path) = &sources.file {
        read_file(&mut config, path)?;
    }
    let mut variables: Vec<_> = sources.environment.into_iter().filter(|(k, _)| is_configuration(k)).collect();
    variables.sort();
    for (name, value) in variables {
        let key = name.trim_start_matches("SID_").to_ascii_lowercase().replace("__", ".");
        set(&mut config, &key, Raw::Text(value), &format!("the environment ({name})"), None)?;
    }
    for (key, value) in sources.flags {
        set(&mut config, &key, Raw::Text(value), "the flags", None)?;
    }
    Ok(config)
}

fn is_configuration(name: &str) -> bool {
    name.starts_with("SID_") && !OTHER_VARIABLES.contains(&name) && !OTHER_PREFIXES.iter().any(|p| name.starts_with(p))
}

fn read_file(config: &mut Config, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Unreadable { path: path.to_owned(), problem: e.to_string() })?;
    let table: toml::Table =
        toml::from_str(&text).map_err(|e| ConfigError::Malformed { path: path.to_owned(), problem: one_line(&e.to_string()) })?;
    let mut flat = Vec::new();
    flatten("", table, &mut flat);
    for (key, value) in flat {
        // Paths in a file are meant from that file's folder only for secrets' files; all others are from the working folder,
        // which is what people see in `config check`.
        set(config, &key, Raw::Toml(value), &path.display().to_string(), path.parent())?;
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

fn flatten(prefix: &str, table: toml::Table, out: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            // An empty table is kept: `[models.local]` alone names a model with all defaults.
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, out),
            other => out.push((key, other)),
        }
    }
}

fn set(config: &mut Config, key: &str, raw: Raw, place: &str, folder: Option<&Path>) -> Result<(), ConfigError> {
    let bad = |problem: String| ConfigError::BadValue { key: key.to_owned(), problem, place: Some(place.to_owned()) };
    let unknown = || ConfigError::UnknownKey { key: key.to_owned(), place: place.to_owned(), nearest: nearest(key) };
    if let Raw::Toml(toml::Value::Table(_)) = &raw {
        if let Some(name) = key.strip_prefix("auth.oidc.") {
            config.oidc.entry(name.to_owned()).or_default();
            return Ok(());
        }
        return match (key, key.strip_prefix("models.")) {
            (
                "server" | "store" | "vectors" | "models" | "embedder" | "engine" | "limits" | "context" | "documents" | "google"
                | "secrets" | "tools" | "images" | "webhooks" | "mcp" | "log",
                _,
            ) => Ok(()),
            ("auth" | "auth.oidc" | "auth.trusted_proxy" | "tools.mcp" | "tools.builtin", _) => Ok(()),
            ("next_embedder", _) => {
                config.next_embedder.get_or_insert_default();
                Ok(())
            }
            (_, Some(name)) => {
                config.models.entry(name.to_owned()).or_default();
                Ok(())
            }
            _ => Err(unknown()),
        };
    }
    // `…_file` of a secret: read the secret from there.
    if let Some(base) = key.strip_suffix("_file")
        && is_secret(base) == Some(true)
    {
        let name = <PathBuf as super::setting::Setting>::read(&raw).map_err(bad)?;
        let file = folder.map_or_else(|| name.clone(), |f| f.join(&name));
        let text = std::fs::read_to_string(&file).map_err(|e| bad(format!("cannot read {}: {e}", file.display())))?;
        return set(config, base, Raw::Text(text.trim_end_matches(['\r', '\n']).to_owned()), place, None);
    }
    let done = match key.split_once('.') {
        None => config.top.set(key, &raw),
        Some(("server", field)) => config.server.set(field, &raw),
        Some(("store", field)) => config.store.set(field, &raw),
        Some(("vectors", field)) => config.vectors.set(field, &raw),
        Some(("embedder", field)) => config.embedder.set(field, &raw),
        // Known first: a misspelt key must not name an embedder.
        Some(("next_embedder", field)) if Embedder::is_secret(field).is_some() => {
            config.next_embedder.get_or_insert_default().set(field, &raw)
        }
        Some(("engine", field)) => config.engine.set(field, &raw),
        Some(("limits", field)) => config.limits.set(field, &raw),
        Some(("google", field)) => config.google.set(field, &raw),
        Some(("documents", field)) => config.documents.set(field, &raw),
        Some(("context", field)) => config.context.set(field, &raw),
        Some(("secrets", field)) => config.secrets.set(field, &raw),
        Some(("tools", rest)) if rest.starts_with("builtin.") => config.builtin.set(&rest["builtin.".len()..], &raw),
        Some(("tools", rest)) => match rest.strip_prefix("mcp.").and_then(|rest| rest.rsplit_once('.')) {
            // Known first: a misspelt key must not make a server.
            Some((name, field)) if McpProgram::is_secret(field).is_some() => {
                config.mcp_programs.entry(name.to_owned()).or_default().set(field, &raw)
            }
            _ => config.tools.set(rest, &raw),
        },
        Some(("images", field)) => config.images.set(field, &raw),
        Some(("webhooks", field)) => config.webhooks.set(field, &raw),
        Some(("mcp", field)) => config.mcp.set(field, &raw),
        Some(("log", field)) => config.log.set(field, &raw),
        Some(("auth", rest)) => match rest.split_once('.') {
            Some(("trusted_proxy", field)) => config.trusted_proxy.set(field, &raw),
            Some(("oidc", rest)) => match rest.rsplit_once('.') {
                // Known first: a misspelt key must not make an issuer.
                Some((name, field)) if Issuer::is_secret(field).is_some() => {
                    config.oidc.entry(name.to_owned()).or_default().set(field, &raw)
                }
                _ => None,
            },
            _ => None,
        },
        Some(("models", rest)) => match rest.rsplit_once('.') {
            // Known first: a misspelt key must not make a model.
            Some((name, field)) if Model::is_secret(field).is_some() => config.models.entry(name.to_owned()).or_default().set(field, &raw),
            _ => None,
        },
        Some(_) => None,
    };
    match done {
        Some(result) => result.map_err(bad),
        None => Err(unknown()),
    }
}

fn is_secret(key: &str) -> Option<bool> {
    match key.split_once('.') {
        None => Top::is_secret(key),
        Some(("server", field)) => Server::is_secret(field),
        Some(("store", field)) => Store::is_secret(field),
        Some(("vectors", field)) => Vectors::is_secret(field),
        Some(("embedder" | "next_embedder", field)) => Embedder::is_secret(field),
        Some(("engine", field)) => Engine::is_secret(field),
        Some(("limits", field)) => Limits::is_secret(field),
        Some(("secrets", field)) => Secrets::is_secret(field),
        Some(("log", field)) => Log::is_secret(field),
        Some(("models", rest)) => rest.rsplit_once('.').and_then(|(_, field)| Model::is_secret(field)),
        Some(("auth", rest)) => match rest.split_once('.') {
            Some(("trusted_proxy", field)) => TrustedProxy::is_secret(field),
            Some(("oidc", rest)) => rest.rsplit_once('.').and_then(|(_, field)| Issuer::is_secret(field)),
            _ => None,
        },
        Some(_) => None,
    }
}

/// The known key that is fewest edits away; `None` when nothing is near.
fn nearest(key: &str) -> Option<String> {
    let rest = key.strip_prefix("models.").or_else(|| key.strip_prefix("auth.oidc.")).or_else(|| key.strip_prefix("tools.mcp."));
    let named = rest.and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name);
    let mut keys: Vec<String> = Vec::new();
    for field in reference() {
        let known = named.map_or_else(|| field.key.clone(), |name| field.key.replace("NAME", name));
        if field.is_secret {
            keys.push(format!("{known}_file"));
        }
        keys.push(known);
    }
    let last = |k: &str| k.rsplit_once('.').map_or(k, |(_, l)| l).to_owned();
    let by_whole = keys.iter().map(|k| (distance(key, k), k)).min()?;
    if by_whole.0 <= 3.max(key.len() / 4) {
        return Some(by_whole.1.clone());
    }
    // The right word in the wrong section.
    keys.iter().find(|k| last(k) == last(key)).cloned()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
