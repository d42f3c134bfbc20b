//! Conversations and questions as the data sets have them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;
use sid_store::RecordId;
use sid_types::{ConversationId, Message, NewMessage, Seq, Timestamp};

pub(crate) struct Turn {
    pub(crate) message: Message,
    /// What stands before the text of a hit: `[2023-05-08T13:56] Caroline: `.
    pub(crate) heading: String,
}

pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) category: String,
    pub(crate) evidence: Vec<usize>,
    pub(crate) now: Option<jiff::Zoned>,
}

pub(crate) struct Conversation {
    pub(crate) dataset: String,
    pub(crate) name: String,
    pub(crate) turns: Vec<Turn>,
    pub(crate) place: HashMap<RecordId, usize>,
    /// Those with evidence that are not meant to have no answer.
    pub(crate) questions: Vec<Question>,
}

#[derive(Deserialize)]
struct File {
    dataset: String,
    id: String,
    sessions: Vec<FileSession>,
    questions: Vec<FileQuestion>,
}

#[derive(Deserialize)]
struct FileSession {
    time: Option<String>,
    turns: Vec<FileTurn>,
}

#[derive(Deserialize)]
struct FileTurn {
    id: String,
    speaker: String,
    role: String,
    text: String,
    image: Option<String>,
}

#[derive(Deserialize)]
struct FileQuestion {
    category: String,
    question: String,
    evidence_fixed: Vec<String>,
    asked_at: Option<String>,
}

/// All conversations of a folder, by file name.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Vec<Conversation>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.to_str().is_some_and(|p| p.ends_with(".json") || p.ends_with(".json.gz")))
        .collect();
    paths.sort();
    paths.iter().map(|p| read(p).with_context(|| format!("in {}", p.display()))).collect()
}

fn read(path: &Path) -> anyhow::Result<Conversation> {
    let text = if path.extension().is_some_and(|e| e == "gz") {
        let out = Command::new("gzip").arg("-dc").arg(path).output()?;
        anyhow::ensure!(out.status.success(), "gzip failed");
        out.stdout
    } else {
        std::fs::read(path)?
    };
    let file: File = serde_json::from_slice(&text)?;
    let mut out = Conversation { dataset: file.dataset, name: file.id, turns: Vec::new(), place: HashMap::new(), questions: Vec::new() };
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for session in file.sessions {
        let conversation = ConversationId::new();
        let at = session.time.as_deref().map(moment).transpose()?.map_or(Timestamp::UNIX_EPOCH, |z| z.timestamp());
        let shown: String = session.time.unwrap_or_default().chars().take(16).collect();
        for (i, turn) in session.turns.into_iter().enumerate() {
            let text = match turn.image {
                Some(image) => format!("{} [image: {image}]", turn.text),
                None => turn.text,
            };
            let text = text.trim();
            let mut new = if turn.role == "user" { NewMessage::user(text, at) } else { NewMessage::assistant(text, at) };
            let heading = format!("[{shown}] {}: ", turn.speaker);
            new.speaker = Some(turn.speaker);
            let message = new.placed(conversation, Seq(i as u64 + 1), None);
            by_id.insert(turn.id, out.turns.len());
            out.place.insert(RecordId::Message(message.id), out.turns.len());
            out.turns.push(Turn { message, heading });
        }
    }
    for q in file.questions.into_iter().filter(|q| !q.evidence_fixed.is_empty() && q.category != "adversarial") {
        // An id that is not among the turns stays evidence that nothing can find.
        let evidence = q.evidence_fixed.iter().map(|id| by_id.get(id).copied().unwrap_or(usize::MAX)).collect();
        let now = q.asked_at.as_deref().map(moment).transpose()?;
        out.questions.push(Question { text: q.question, category: q.category, evidence, now });
    }
    Ok(out)
}

fn moment(text: &str) -> anyhow::Result<jiff::Zoned> {
    Ok(text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC)?)
}
