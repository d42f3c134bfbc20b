//! `sid documents`: texts from outside that are read in parts, searched and cited.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use sid_types::DocumentFormat;

use super::owner::OwnerArgs;
use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::file::NewFile;
use crate::output::table::{Table, facts};
use crate::output::text::printable;
use crate::session::{Paging, Session, given};
use crate::wire;

/// Longest wait for a document to be read.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const REST: Duration = Duration::from_millis(200);

/// Documents.
#[derive(Debug, Subcommand)]
pub enum Documents {
    /// Bring a file and wait until it was read; with --user for that user, else for the tenant, unless flags say otherwise
    Add {
        /// The file
        file: PathBuf,
        /// What it is called, and cited as [default: the file's name]
        #[arg(long)]
        title: Option<String>,
        /// What it is [default: as the file's name ends]
        #[arg(long)]
        format: Option<Format>,
        /// Put it in the place of this document: its new version
        #[arg(long, value_name = "ID", conflicts_with_all = ["agent", "team"])]
        replace: Option<String>,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Documents that you see, newest first
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// One document, and what it says
    Show {
        /// Its id (`sid documents list` shows it)
        id: String,
        /// From this part on
        #[arg(long, conflicts_with = "page")]
        part: Option<u32>,
        /// From this page on
        #[arg(long)]
        page: Option<u32>,
        /// Most parts
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
        parts: u32,
    },
    /// The bytes as they came, into a file
    Download {
        /// Its id
        id: String,
        /// The file
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Search documents, or one of them
    Search {
        /// What to look for
        #[arg(required = true)]
        words: Vec<String>,
        /// Only in this document
        #[arg(long, value_name = "ID")]
        document: Option<String>,
        /// Most hits
        #[arg(short, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
        k: u32,
    },
    /// Forget a document with all that it says
    Remove {
        /// Its id
        id: String,
    },
}

/// What a file is.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Format {
    Text,
    Markdown,
    Html,
    Pdf,
}

pub(crate) async fn run(command: Documents, session: &Session) -> Result<(), CliError> {
    match command {
        Documents::Add { file, title, format, replace, no_wait, owner } => {
            let content = std::fs::read(&file).map_err(|e| CliError::file("read", &file, &e))?;
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let promised = name.as_deref().and_then(DocumentFormat::of_name).map(|format| format.as_str().to_owned());
            let title = title.or_else(|| name.filter(|_| replace.is_none()));
            let request = match &replace {
                Some(id) => Request::put(&["documents", id]),
                None => owner.owner(session)?.query(Request::post(&["documents"])),
            };
            let format = format.and_then(|f| f.to_possible_value()).map(|f| f.get_name().to_owned()).or(promised);
            let request = request.query_if("title", title).query_if("format", format).bytes(content);
            let client = session.client().await?;
            let mut document = client.value(request).await?;
            let end = tokio::time::Instant::now() + PATIENCE;
            while !no_wait && document["status"] == "reading" && tokio::time::Instant::now() < end {
                tokio::time::sleep(REST).await;
                document = client.value(Request::get(&["documents", document["id"].as_str().unwrap_or_default()])).await?;
            }
            show(session, document)
        }
        Documents::List { paging } => {
            let table = Table::new().name("id").text("title").name("format").name("status").number("parts");
            let row = |d: wire::Document| vec![d.id, printable(&d.title), d.format, d.status, d.parts.to_string()];
            session.list(Request::get(&["documents"]), &paging, table, row, "no documents yet; bring one: sid documents add FILE").await
        }
        Documents::Show { id, part, page, parts } => {
            let client = session.client().await?;
            let mut document = client.value(Request::get(&["documents", &id])).await?;
            if parts > 0 {
                let text = Request::get(&["documents", &id, "text"]).query_if("part", part).query_if("page", page).query("limit", parts);
                document["text"] = client.value(text).await?;
            }
            show(session, document)
        }
        Documents::Download { id, file, force } => {
            let content = session.client().await?.send(Request::get(&["documents", &id, "content"])).await?.bytes().await?;
            let mut to = NewFile::create(&file, force)?;
            to.write(&content)?;
            to.finish()?;
            session.out.line(&format!("{} bytes in {}", content.len(), file.display()))
        }
        Documents::Search { words, document, k } => {
            let body = given([("query", Some(json!(words.join(" ")))), ("document", document.map(Value::String)), ("k", Some(json!(k)))]);
            let found = session.client().await?.value(Request::post(&["documents", "search"]).json(body)).await?;
            if session.out.json {
                return session.out.value(&found);
            }
            let hits = found["hits"].as_array().cloned().unwrap_or_default();
            if hits.is_empty() {
                return session.out.line("nothing was found");
            }
            for hit in hits {
                let text = |value: &Value| printable(value.as_str().unwrap_or_default());
                let (cite, id) = (text(&hit["citation"]["cite"]), text(&hit["citation"]["document"]));
                session.out.line(&format!("{cite} {id} part {}\n{}\n", hit["citation"]["part"], text(&hit["excerpt"])))?;
            }
            Ok(())
        }
        Documents::Remove { id } => {
            session.client().await?.send(Request::delete(&["documents", &id])).await?;
            if session.out.json {
                return session.out.value(&json!({"id": id, "removed": true}));
            }
            session.out.line(&format!("{id} is gone"))
        }
    }
}

/// A document, and the parts that were asked for.
fn show(session: &Session, document: Value) -> Result<(), CliError> {
    if session.out.json {
        return session.out.value(&document);
    }
    let text = document["text"].clone();
    let d: wire::Document = read(document, "the document")?;
    let mut lines = vec![
        ("id", d.id),
        ("title", printable(&d.title)),
        ("format", d.format),
        ("status", d.status),
        ("problem", d.problem.map(|p| printable(&p)).unwrap_or_default()),
        ("of", d.owner.describe()),
        ("from", d.origin.map(|o| printable(&o)).unwrap_or_default()),
        ("bytes", d.size.to_string()),
        ("version", d.version.to_string()),
        ("parts", d.parts.to_string()),
        ("pages", d.pages.map(|p| p.to_string()).unwrap_or_default()),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    session.out.line(facts(&lines, session.out.paint).trim_end())?;
    for part in text["items"].as_array().into_iter().flatten() {
        let said = |value: &Value| printable(value.as_str().unwrap_or_default());
        session.out.line(&format!("\n{} part {}\n{}", said(&part["citation"]["cite"]), part["citation"]["part"], said(&part["text"])))?;
    }
    Ok(())
}
