//! `sid tools`: functions that agents were given.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session};
use crate::wire;

/// Functions that agents of the tenant may call.
#[derive(Debug, Subcommand)]
pub enum Tools {
    /// All toolsets, by name
    List,
    /// Give agents the functions of a file (a Python module, an OpenAPI document, or a toolset's source as the API takes it, JSON or YAML) or of
    /// an MCP server (its URL, or `mcp:NAME` for one that the operator has)
    Add(Add),
    /// One toolset with its functions
    Show {
        /// Its name
        name: String,
    },
    /// Log in to a toolset's MCP server in a browser: the tenant, or one user with --user
    Login {
        /// The toolset's name
        name: String,
        /// The code that the browser shows, if it is known already
        #[arg(long)]
        code: Option<String>,
        /// Only tell where the login stands
        #[arg(long, conflicts_with = "code")]
        status: bool,
    },
    /// Forget a login
    Logout {
        /// The toolset's name
        name: String,
    },
    /// Take a toolset away
    Remove {
        /// Its name
        name: String,
    },
}

/// What `add` makes a toolset from.
#[derive(Debug, Args)]
pub struct Add {
    /// The file, the MCP server's URL, or `mcp:NAME`
    #[arg(value_name = "FILE|URL|mcp:NAME")]
    file: PathBuf,
    /// The toolset's name [default: the file's or the server's]
    #[arg(long)]
    name: Option<String>,
    /// Where the API of an OpenAPI document is [default: the document's first server]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Only these operations of an OpenAPI document, by their ids, or tools of an MCP server, by its names for them
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Stands before the name of each function of an OpenAPI document or MCP server [default: nothing; for an MCP server the toolset's name and `_`]
    #[arg(long)]
    prefix: Option<String>,
    /// Believe an MCP server that says which of its tools only read, or may be repeated
    #[arg(long)]
    believe_hints: bool,
    /// An MCP server wants people to log in, in a browser: `sid tools login` afterwards
    #[arg(long)]
    login: bool,
    /// Let an MCP server ask the user something in the middle of a call
    #[arg(long)]
    questions: bool,
    /// A header of each call; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    /// A header whose value is a secret of the context service, such as `Authorization=Bearer {bakery}`; may be repeated
    #[arg(long, value_name = "NAME=TEXT{SECRET}", value_parser = pair)]
    secret_header: Vec<(String, String)>,
    /// Packages that a Python module needs: a `requirements.txt`
    #[arg(long, value_name = "FILE")]
    requirements: Option<PathBuf>,
    /// Let a Python module use the network, if the server grants that
    #[arg(long)]
    network: bool,
    /// Vouch for what its results say: a run that has read them is not asked before it acts outside
    #[arg(long)]
    trusted: bool,
    /// Only for agents that name the functions among their tools
    #[arg(long)]
    by_name: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(crate) async fn run(command: Tools, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |t: wire::Toolset| {
        let mut out = facts(
            &[
                ("name", t.name),
                ("for", if t.default { "every agent that names no tools" } else { "agents that name its functions" }.into()),
                ("version", t.version.to_string()),
                ("changed", moment(&t.updated_at)),
            ],
            paint,
        );
        for f in t.functions {
            out.push_str(&format!("\n  {} ({})\n    {}\n", f.name, f.effect, f.description.trim()));
        }
        for left in t.left_out {
            out.push_str(&format!("\nleft out: {}: {}\n", left.name, left.why));
        }
        out + &t.problem.map(|p| format!("\ncannot be used: {p}\n")).unwrap_or_default()
    };
    match command {
        Tools::List => {
            let table = Table::new().name("name").text("functions").name("for").name("changed");
            let row = |t: wire::Toolset| {
                let names = t.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
                vec![t.name, t.problem.unwrap_or(names), if t.default { "all" } else { "named" }.into(), moment(&t.updated_at)]
            };
            let everything = Paging { limit: 50, after: None, all: true };
            session.list(Request::get(&["tools"]), &everything, table, row, "no functions yet; add some: sid tools add FILE").await
        }
        Tools::Show { name } => session.ask(Request::get(&["tools", &name]), "the toolset", show).await,
        Tools::Add(add) => {
            let name = add.name.clone().map_or_else(|| name_of_source(&add.file), Ok)?;
            let body = json!({"default": !add.by_name, "source": source(add)?});
            session.ask(Request::put(&["tools", &name]).json(body), "the toolset", show).await
        }
        Tools::Login { name, code, status } => super::login::run(&name, code, status, session).await,
        Tools::Logout { name } => super::login::forget(&name, session).await,
        Tools::Remove { name } => {
            session.client().await?.send(Request::delete(&["tools", &name])).await?;
            if session.out.json {
                return session.out.value(&json!({"name": name, "removed": true}));
            }
            session.out.line(&format!("{name} is gone; agents have it until their next run"))
        }
    }
}

/// A file's name as a toolset may have it.
fn name_of(file: &Path) -> Result<String, CliError> {
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    let is_some = name.chars().any(|c| c.is_ascii_alphanumeric());
    if is_some { Ok(name) } else { Err(CliError::Usage("say what to call it: --name NAME".into())) }
}

/// A file's name, an MCP server's host, or the operator's name for one, as a toolset may have it.
fn name_of_source(file: &Path) -> Result<String, CliError> {
    let text = file.to_string_lossy();
    match (is_web(&text), text.strip_prefix("mcp:")) {
        // As a file's name with an ending: `mcp.example.com` is `mcp_example`.
        (true, _) => name_of(Path::new(text.split('/').nth(2).unwrap_or_default().split(':').next().unwrap_or_default())),
        (_, Some(server)) => Ok(server.to_owned()),
        _ => name_of(file),
    }
}

fn is_web(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The source that the file and the flags make.
fn source(add: Add) -> Result<Value, CliError> {
    let trusted = add.trusted;
    let mut source = read_source(add)?;
    if trusted {
        source["trusted"] = true.into();
    }
    Ok(source)
}

fn read_source(add: Add) -> Result<Value, CliError> {
    let Add { file, base_url, only, prefix, believe_hints, login, questions, header, secret_header, requirements, network, .. } = add;
    let given = file.to_string_lossy();
    let place = if is_web(&given) { Some(("url", &*given)) } else { given.strip_prefix("mcp:").map(|server| ("server", server)) };
    if let Some((key, place)) = place {
        let mut source = Map::from_iter([("kind".to_owned(), "mcp".into()), (key.to_owned(), place.into())]);
        source.insert("believe_hints".into(), believe_hints.into());
        if login {
            source.insert("login".into(), json!({}));
        }
        if questions {
            source.insert("questions".into(), true.into());
        }
        source.extend(only.map(|only| ("only".to_owned(), only.into())));
        source.extend(prefix.map(|prefix| ("prefix".to_owned(), prefix.into())));
        put_headers(&mut source, header, secret_header)?;
        return Ok(Value::Object(source));
    }
    let usage = |problem: String| CliError::Usage(format!("{}: {problem}", file.display()));
    let read = |file: &Path| std::fs::read_to_string(file).map_err(|e| CliError::Usage(format!("{}: {e}", file.display())));
    let text = read(&file)?;
    if file.extension().is_some_and(|e| e == "py") {
        let requirements = requirements.as_deref().map(read).transpose()?;
        return Ok(json!({"kind": "python", "module": text, "requirements": requirements, "network": network}));
    }
    // JSON is YAML, but for its numbers and its errors.
    let is_json = text.trim_start().starts_with('{');
    let document: Value = if is_json {
        serde_json::from_str(&text).map_err(|e| usage(format!("this is not JSON: {e}")))?
    } else {
        serde_yaml_ng::from_str(&text).map_err(|e| usage(format!("this is not YAML: {e}")))?
    };
    let mut source = match document {
        Value::Object(document) if document.contains_key("openapi") => {
            let base_url = match base_url.or_else(|| first_server(&document)) {
                Some(url) => url,
                None => return Err(usage("the document does not say where its API is: give --base-url URL".into())),
            };
            let mut source = Map::new();
            source.insert("kind".into(), "openapi".into());
            source.insert("base_url".into(), base_url.into());
            source.insert("prefix".into(), prefix.unwrap_or_default().into());
            source.extend(only.map(|only| ("only".to_owned(), only.into())));
            source.insert("document".into(), Value::Object(document));
            source
        }
        Value::Object(source) if source.contains_key("kind") => source,
        _ => return Err(usage("expected a Python module (.py), an OpenAPI document, or a toolset's source with its `kind`".into())),
    };
    put_headers(&mut source, header, secret_header)?;
    Ok(Value::Object(source))
}

fn put_headers(
    source: &mut Map<String, Value>,
    header: Vec<(String, String)>,
    secret_header: Vec<(String, String)>,
) -> Result<(), CliError> {
    if !header.is_empty() {
        source.insert("headers".into(), header.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into());
    }
    if !secret_header.is_empty() {
        let mut headers = Map::new();
        for (name, text) in secret_header {
            let (prefix, secret) = text.strip_suffix('}').and_then(|t| t.rsplit_once('{')).ok_or_else(|| {
                CliError::Usage(format!("--secret-header {name}: name the secret in braces, such as `{name}=Bearer {{bakery}}`"))
            })?;
            headers.insert(name, json!({"secret": secret, "prefix": prefix}));
        }
        source.insert("secret_headers".into(), headers.into());
    }
    Ok(())
}

/// Where a document says that its API is, if that is a whole URL.
fn first_server(document: &Map<String, Value>) -> Option<String> {
    let url = document.get("servers")?.get(0)?.get("url")?.as_str()?;
    (url.starts_with("http://") || url.starts_with("https://")).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, text: &str, more: &[&str]) -> Result<Value, CliError> {
        use clap::Parser as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        let words = ["sid", "tools", "add", file.to_str().expect("UTF-8")].into_iter().chain(more.iter().copied());
        let cli = crate::cli::Cli::try_parse_from(words).expect("it parses");
        let crate::cli::Command::Tools(Tools::Add(add)) = cli.command else { panic!("`tools add`") };
        source(add)
    }

    const YAML: &str = "openapi: 3.1.0\nservers:\n  - url: https://bakery.example/v2\npaths:\n  /breads: {get: {operationId: breads}}\n";

    #[test]
    fn an_openapi_document_becomes_a_source() {
        let made = add("bakery.yaml", YAML, &["--only", "breads,cakes", "--secret-header", "Authorization=Bearer {bakery}"]).expect("made");
        assert_eq!((&made["kind"], &made["base_url"]), (&json!("openapi"), &json!("https://bakery.example/v2")));
        assert_eq!(made["only"], json!(["breads", "cakes"]));
        assert_eq!(made["secret_headers"], json!({"Authorization": {"secret": "bakery", "prefix": "Bearer "}}));
        assert_eq!(made["document"]["paths"]["/breads"]["get"]["operationId"], "breads");
        let elsewhere = add("bakery.yaml", YAML, &["--base-url", "http://localhost:9"]).expect("made");
        assert_eq!(elsewhere["base_url"], "http://localhost:9");
    }

    #[test]
    fn a_source_is_taken_as_it_is() {
        let made = add("x.json", r#"{"kind": "http", "url": "https://x.example"}"#, &["--header", "X-Shop=1"]).expect("made");
        assert_eq!(made, json!({"kind": "http", "url": "https://x.example", "headers": {"X-Shop": "1"}}));
    }

    #[test]
    fn a_module_is_sent_whole() {
        let made = add("my_tools.py", "def f() -> int:\n    return 1\n", &["--network"]).expect("made");
        let expected = json!({"kind": "python", "module": "def f() -> int:\n    return 1\n", "requirements": null, "network": true});
        assert_eq!(made, expected);
    }

    #[test]
    fn an_mcp_server_is_named_by_its_url_or_by_the_operators_name() {
        use clap::Parser as _;
        let made = |words: &[&str]| {
            let cli = crate::cli::Cli::try_parse_from(["sid", "tools", "add"].iter().chain(words)).expect("it parses");
            let crate::cli::Command::Tools(Tools::Add(add)) = cli.command else { panic!("`tools add`") };
            (name_of_source(&add.file).expect("a name"), source(add).expect("made"))
        };
        let (name, remote) = made(&["https://mcp.example.com:8443/mcp", "--secret-header", "Authorization=Bearer {notes}"]);
        assert_eq!(name, "mcp_example");
        let headers = json!({"Authorization": {"secret": "notes", "prefix": "Bearer "}});
        let url = "https://mcp.example.com:8443/mcp";
        assert_eq!(remote, json!({"kind": "mcp", "url": url, "believe_hints": false, "secret_headers": headers}));
        let (name, local) = made(&["mcp:files", "--only", "read_file", "--believe-hints"]);
        assert_eq!(
            (name.as_str(), local),
            ("files", json!({"kind": "mcp", "server": "files", "believe_hints": true, "only": ["read_file"]}))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let told = |name: &str, text: &str, more: &[&str]| format!("{:?}", add(name, text, more).expect_err("refused"));
        assert!(told("x.json", "{", &[]).contains("not JSON"));
        assert!(told("x.yaml", "a: [", &[]).contains("not YAML"));
        assert!(told("x.yaml", "a: b", &[]).contains("OpenAPI"));
        assert!(told("x.json", r#"{"openapi": "3.0.0"}"#, &[]).contains("--base-url"));
        assert!(told("x.json", r#"{"kind": "http"}"#, &["--secret-header", "A=bakery"]).contains("braces"));
    }

    #[test]
    fn a_files_name_names_its_functions() {
        assert_eq!(name_of(Path::new("/tmp/my tools.v2.yaml")).expect("a name"), "my_tools_v2");
        assert!(name_of(Path::new("ü.json")).is_err());
    }
}
