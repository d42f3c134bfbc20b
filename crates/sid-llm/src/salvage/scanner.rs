//! Walks over an answer as it comes and sorts it into words, reasoning and calls.
//!
//! Text that may be the start of a call is held back until that is decided, so that nobody is shown raw calls. Every
//! decision is taken only when more text cannot change it: the pieces, joined, do not depend on how the text was cut.

use super::{Block, Context, RawCall, json, python, tagged};
use crate::MAX_CALLS;

/// What the walk finds, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Words for the human.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// Calls that stood in the text.
    Calls(Vec<RawCall>),
    /// All text before was reasoning whose opening tag the chat template had swallowed.
    TextWasReasoning,
}

/// Bytes that failed attempts may look at, beyond what progress pays for: bounds the work on hostile text.
const SPARE_WORK: usize = 1 << 24;

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Only white space so far.
    blank: bool,
    /// A markdown quotation.
    quoted: bool,
    previous: char,
}

impl Line {
    const START: Self = Self { blank: true, quoted: false, previous: '\n' };

    const fn advance(&mut self, c: char) {
        if c == '\n' {
            *self = Self::START;
            return;
        }
        if self.blank && c == '>' {
            self.quoted = true;
        }
        self.blank = self.blank && c.is_whitespace();
        self.previous = c;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scanner {
    pending: String,
    line: Line,
    in_fence: bool,
    thinking: Option<&'static str>,
    after_block: bool,
    has_text: bool,
    has_thought: bool,
    /// Pending bytes at the last look; while nothing is decided the next look waits until they have grown by a fourth.
    looked_at: usize,
    work: usize,
    calls: usize,
}

enum Step {
    Wait,
    Take(Block),
    Text(usize),
}

impl Scanner {
    pub(crate) const fn new() -> Self {
        Self {
            pending: String::new(),
            line: Line::START,
            in_fence: false,
            thinking: None,
            after_block: false,
            has_text: false,
            has_thought: false,
            looked_at: 0,
            work: 0,
            calls: 0,
        }
    }

    /// Takes more text and answers what is now decided.
    pub(crate) fn push(&mut self, context: &Context<'_>, text: &str) -> Vec<Piece> {
        self.pending.push_str(text);
        // A long held text is looked at again at closers only, or when it has grown: the work stays linear.
        let held = self.looked_at;
        if held > 4_096 && self.pending.len() < held + held / 4 && !text.contains(['>', ']', '}', '`']) {
            return Vec::new();
        }
        if held > 4_096 && self.pending.len() < held + held / 64 {
            return Vec::new();
        }
        self.walk(context, false)
    }

    /// Decides the rest.
    pub(crate) fn finish(&mut self, context: &Context<'_>) -> Vec<Piece> {
        self.walk(context, true)
    }

    fn walk(&mut self, context: &Context<'_>, is_end: bool) -> Vec<Piece> {
        let pending = std::mem::take(&mut self.pending);
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < pending.len() {
            let rest = &pending[at..];
            let step = match self.thinking {
                Some(close) => think(rest, close, is_end),
                None => self.step(context, rest, is_end),
            };
            match step {
                Step::Wait => break,
                Step::Text(len) if self.thinking.is_some() => {
                    push_reasoning(&mut pieces, &rest[..len]);
                    at += len;
                }
                Step::Text(len) => {
                    self.text(&mut pieces, &rest[..len]);
                    at += len;
                }
                Step::Take(block) => at += self.take(&mut pieces, rest, block),
            }
        }
        self.looked_at = pending.len() - at;
        self.pending = pending[at..].to_owned();
        pieces
    }

    fn text(&mut self, pieces: &mut Vec<Piece>, text: &str) {
        for c in text.chars() {
            self.line.advance(c);
        }
        self.has_text |= !text.trim().is_empty();
        match pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Answers the bytes taken.
    fn take(&mut self, pieces: &mut Vec<Piece>, rest: &str, block: Block) -> usize {
        match block {
            Block::Wait | Block::No => 0,
            Block::Calls(len, calls) => {
                // Beyond the limit they are still no text.
                let room = MAX_CALLS.saturating_sub(self.calls);
                self.calls += calls.len();
                pieces.push(Piece::Calls(calls.into_iter().take(room).collect()));
                self.after_block = true;
                self.line = Line::START;
                len
            }
            Block::Text(len, text) => {
                self.text(pieces, &text);
                self.after_block = true;
                self.line = Line::START;
                len
            }
            Block::Reasoning(len, text) => {
                push_reasoning(pieces, &text);
                self.after_block = true;
                self.line = Line::START;
                len
            }
            Block::Drop(len) => len,
            Block::OpenFence(len) => {
                self.text(pieces, &rest[..len]);
                self.in_fence = true;
                len
            }
            Block::OpenThinking(len, close) => {
                self.thinking = Some(close);
                self.has_thought = true;
                len
            }
            Block::EndThinking(len) => {
                if self.thinking.take().is_none() {
                    pieces.push(Piece::TextWasReasoning);
                    self.has_text = false;
                    self.has_thought = true;
                }
                self.after_block = true;
                self.line = Line::START;
                len
            }
        }
    }

    fn step(&mut self, context: &Context<'_>, text: &str, is_end: bool) -> Step {
        if self.in_fence {
            return self.fence(text, is_end);
        }
        if self.after_block {
            let skip = text.len() - text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ',')).len();
            if skip > 0 {
                return Step::Take(Block::Drop(skip));
            }
            self.after_block = false;
        }
        let mut line = self.line;
        for (at, c) in text.char_indices() {
            if matches!(c, '<' | '[' | '{' | '`') && !line.quoted && line.previous != '`' {
                let rest = &text[at..];
                match self.look(context, rest, c, line.blank, is_end) {
                    Block::No => {}
                    _ if at > 0 => return Step::Text(at),
                    Block::Wait => return Step::Wait,
                    block => return Step::Take(block),
                }
            }
            line.advance(c);
        }
        Step::Text(text.len())
    }

    fn look(&mut self, context: &Context<'_>, rest: &str, c: char, is_line_start: bool, is_end: bool) -> Block {
        if self.work > SPARE_WORK {
            return Block::No;
        }
        // What is dropped anyway need not be looked for in the prompt.
        let without_prompt = Context { prompt: &[], ..*context };
        let context = if self.calls >= MAX_CALLS { &without_prompt } else { context };
        let bare = context.bare && is_line_start && !context.tools.is_empty();
        let block = match c {
            '{' if bare => json::bare(context, rest, is_end),
            '`' if bare => json::fenced(context, rest, is_end),
            '[' if bare => match tagged::block(context, rest, is_end) {
                Block::No => match (json::bare(context, rest, is_end), python::bare(context, rest, is_end)) {
                    (Block::No, python) => python,
                    (Block::Wait, calls @ Block::Calls(..)) => calls,
                    (json, _) => json,
                },
                block => block,
            },
            '<' | '[' => tagged::block(context, rest, is_end),
            _ => Block::No,
        };
        match block {
            Block::OpenThinking(..) if self.has_text => Block::No,
            Block::EndThinking(_) if self.has_thought => Block::Drop("</think>".len()),
            Block::No if tagged::mark(rest).is_ok() || (bare && is_hopeful(context, rest, is_end)) => {
                self.work += rest.len();
                Block::No
            }
            block => block,
        }
    }

    /// Inside a code block that is no call: everything is text up to the closing line.
    fn fence(&mut self, text: &str, is_end: bool) -> Step {
        let mut line = self.line;
        for (at, c) in text.char_indices() {
            if c == '`' && line.blank {
                let rest = &text[at..];
                if rest.starts_with("```") {
                    self.in_fence = false;
                    return Step::Text(at + 3);
                }
                if "```".starts_with(rest) && !is_end {
                    return if at > 0 { Step::Text(at) } else { Step::Wait };
                }
            }
            line.advance(c);
        }
        Step::Text(text.len())
    }
}

/// Whether a refused bare start was worth a look through the rest.
fn is_hopeful(context: &Context<'_>, rest: &str, is_end: bool) -> bool {
    json::may_be_call(rest, is_end) == Some(true) || python::may_be_call(context, rest) == Some(true)
}

fn think(text: &str, close: &'static str, is_end: bool) -> Step {
    if let Some(at) = text.find(close) {
        return if at > 0 { Step::Text(at) } else { Step::Take(Block::EndThinking(close.len())) };
    }
    if is_end {
        return Step::Text(text.len());
    }
    // The end of the text may be the start of the closer.
    let keep = (1..close.len()).rev().find(|n| close.is_char_boundary(*n) && text.ends_with(&close[..*n])).unwrap_or(0);
    match text.len() - keep {
        0 => Step::Wait,
        len => Step::Text(len),
    }
}

fn push_reasoning(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Reasoning(last)) => last.push_str(text),
        _ => pieces.push(Piece::Reasoning(text.to_owned())),
    }
}
