//! Where messages come from: a line editor at a terminal, else standard input, one message a line.

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::sync::mpsc;

use crate::error::CliError;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message or a command.
    Text(String),
    /// Ctrl-C, for the first time in a row.
    Again,
    /// There is no more.
    End,
}

/// A source of lines.
pub(super) enum Input {
    /// A line editor on a thread of its own, because it waits.
    Edited { ask: std::sync::mpsc::Sender<String>, lines: mpsc::Receiver<Result<Line, String>> },
    /// Whatever is piped in.
    Piped(Lines<BufReader<Stdin>>),
}

impl Input {
    pub(super) fn piped() -> Self {
        Self::Piped(BufReader::new(tokio::io::stdin()).lines())
    }

    /// A line editor, with what was typed in earlier chats.
    pub(super) fn edited(history: Option<PathBuf>) -> Result<Self, CliError> {
        let config = Config::builder().auto_add_history(true).max_history_size(5_000).map(|c| c.build());
        let editor = config.and_then(Editor::<(), FileHistory>::with_config);
        let editor = editor
            .map_err(|e| CliError::failed("SID-CLI-TERMINAL", format!("cannot use the terminal: {e}"), "pipe the message in, or use -m"))?;
        let (ask, questions) = std::sync::mpsc::channel();
        let (answers, lines) = mpsc::channel(1);
        std::thread::spawn(move || edit(editor, history, &questions, &answers));
        Ok(Self::Edited { ask, lines })
    }

    pub(super) const fn is_edited(&self) -> bool {
        matches!(self, Self::Edited { .. })
    }

    /// The next line; with `\` at its end it goes on in the next one.
    pub(super) async fn next(&mut self, prompt: &str) -> Result<Line, CliError> {
        match self {
            Self::Piped(lines) => {
                // Once somebody has listened for Ctrl-C, nobody else is stopped by it.
                let line = tokio::select! {
                    line = lines.next_line() => line,
                    _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
                };
                let line = line.map_err(|e| CliError::file("read", std::path::Path::new("standard input"), &e))?;
                Ok(line.map_or(Line::End, Line::Text))
            }
            Self::Edited { ask, lines } => {
                if ask.send(prompt.to_owned()).is_err() {
                    return Ok(Line::End);
                }
                match lines.recv().await {
                    Some(Ok(line)) => Ok(line),
                    Some(Err(why)) => Err(CliError::failed("SID-CLI-TERMINAL", format!("cannot read from the terminal: {why}"), "")),
                    None => Ok(Line::End),
                }
            }
        }
    }
}

/// The editor's thread: a line for each prompt.
fn edit(
    mut editor: Editor<(), FileHistory>,
    history: Option<PathBuf>,
    questions: &std::sync::mpsc::Receiver<String>,
    answers: &mpsc::Sender<Result<Line, String>>,
) {
    if let Some(file) = &history {
        // A first chat has no history yet.
        let _ = editor.load_history(file);
    }
    let mut interrupts = 0;
    while let Ok(prompt) = questions.recv() {
        let line = match read_whole(&mut editor, &prompt) {
            Ok(text) => {
                interrupts = 0;
                if let Some(file) = &history {
                    // Not being remembered must not stop a talk.
                    let _ = file.parent().map(std::fs::create_dir_all);
                    let _ = editor.append_history(file);
                }
                Ok(Line::Text(text))
            }
            Err(ReadlineError::Interrupted) => {
                interrupts += 1;
                Ok(if interrupts > 1 { Line::End } else { Line::Again })
            }
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(error.to_string()),
        };
        if answers.blocking_send(line).is_err() {
            return;
        }
    }
}

fn read_whole(editor: &mut Editor<(), FileHistory>, prompt: &str) -> Result<String, ReadlineError> {
    let mut text = editor.readline(prompt)?;
    while text.ends_with('\\') {
        text.pop();
        text.push('\n');
        text.push_str(&editor.readline("...> ")?);
    }
    Ok(text)
}
