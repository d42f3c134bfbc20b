//! BM25, computed at once for two texts: the document alone, and the document with the one before it in its conversation.

use std::collections::HashMap;

use super::documents::{Documents, NONE, keep_alive};
use super::terms::for_each_term;

/// Saturation of term frequency (Lucene's default).
const K1: f32 = 1.2;
/// Length normalisation of the document alone.
const B_OWN: f32 = 0.75;
/// Weaker with context, whose length says more about the previous speaker than about the document.
const B_CONTEXT: f32 = 0.6;
/// So much of the end of a message is context for the next one.
const TAIL_CHARS: usize = 400;
/// Of a longer posting list only the newest part is walked, so that a word that is everywhere cannot make a search slow.
/// What is left out are weak scores: such a word tells documents hardly apart.
pub(super) const LONGEST_WALK: usize = 5_000;

#[derive(Debug, Clone, Copy)]
struct Posting {
    doc: u32,
    /// How often the term stands in the document.
    own: u8,
    /// How often in its tail, which is context for the next message.
    tail: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    own: u32,
    tail: u32,
}

/// The inverted index of a partition.
///
/// The context's frequencies are not stored: they are the document's own plus the tail's of the message before it. So one list
/// serves both channels, and a removed message leaves its neighbour's context, too.
#[derive(Debug, Default)]
pub(super) struct Lexical {
    numbers: HashMap<Box<str>, u32>,
    postings: Vec<Vec<Posting>>,
    lengths: Vec<Lengths>,
    /// Of the living: their own lengths, and the tails that stand before them.
    own_total: u64,
    before_total: u64,
}

/// Both lexical scores by slot.
pub(super) struct LexicalScores {
    pub(super) own: Vec<f32>,
    pub(super) context: Vec<f32>,
    /// The slots that may have a score other than 0, each once. A search costs what its words' lists cost, not what the partition holds.
    pub(super) touched: Vec<u32>,
}

/// How many documents there are, and in how many each word of a query stands.
///
/// BM25 weighs a word by its rarity. In a search over several partitions rarity is that of all of them together: else the only
/// record of a small partition, in which every word is common, could never stand beside those of a large one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WordStatistics {
    documents: f32,
    containing: HashMap<String, f32>,
}

impl WordStatistics {
    /// Adds another partition's.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        for (word, count) in &other.containing {
            *self.containing.entry(word.clone()).or_default() += count;
        }
    }

    /// Takes a partition's own off again: what is left are the others'.
    #[must_use]
    pub fn without(&self, own: &Self) -> Self {
        let rest = |word: &String, count: &f32| (count - own.containing.get(word).copied().unwrap_or_default()).max(0.0);
        Self {
            documents: (self.documents - own.documents).max(0.0),
            containing: self.containing.iter().map(|(w, c)| (w.clone(), rest(w, c))).filter(|(_, c)| *c > 0.0).collect(),
        }
    }

    fn of(&self, word: &str) -> f32 {
        self.containing.get(word).copied().unwrap_or_default()
    }
}

impl Lexical {
    /// This partition's statistics of a query's words.
    pub(super) fn statistics(&self, query: &str, documents: &Documents) -> WordStatistics {
        let mut statistics = WordStatistics { documents: documents.alive() as f32, ..WordStatistics::default() };
        for_each_term(query, |term| {
            if let Some(number) = self.numbers.get(term) {
                // Dead documents are few between two compactions: the length of the list is near enough.
                let count = self.postings[*number as usize].len() as f32;
                statistics.containing.insert(term.to_owned(), count.min(statistics.documents));
            }
        });
        statistics
    }

    /// Takes in the next document.
    pub(super) fn push(&mut self, speaker: Option<&str>, text: &str) {
        let doc = u32::try_from(self.lengths.len()).expect("as many as documents");
        let mut counts: HashMap<u32, (u8, u8)> = HashMap::new();
        let mut lengths = Lengths::default();
        let tail_start = tail_start(text);
        let (head, tail) = text.split_at(tail_start);
        let mut count = |numbers: &mut HashMap<Box<str>, u32>, part: &str, is_tail: bool| {
            for_each_term(part, |term| {
                let number = number_of(numbers, term);
                let (own, in_tail) = counts.entry(number).or_default();
                *own = own.saturating_add(1);
                lengths.own += 1;
                if is_tail {
                    *in_tail = in_tail.saturating_add(1);
                    lengths.tail += 1;
                }
            });
        };
        if let Some(speaker) = speaker {
            count(&mut self.numbers, speaker, true);
        }
        count(&mut self.numbers, head, false);
        count(&mut self.numbers, tail, true);
        self.lengths.push(lengths);
        self.postings.resize_with(self.numbers.len(), Vec::new);
        for (number, (own, tail)) in counts {
            self.postings[number as usize].push(Posting { doc, own, tail });
        }
    }

    /// Both scores of every slot for the query's words; dead slots have 0. `others` are the statistics of the partitions beside
    /// this one.
    pub(super) fn scores(&self, query: &str, documents: &Documents, others: &WordStatistics) -> LexicalScores {
        let slots = self.lengths.len();
        let mut scores = LexicalScores { own: vec![0.0; slots], context: vec![0.0; slots], touched: Vec::new() };
        let asked = self.asked(query);
        if asked.is_empty() {
            return scores;
        }
        let norms = self.norms(documents);
        let alive = documents.alive() as f32 + others.documents;
        let mut context_counts = vec![0_u16; slots];
        let mut touched: Vec<u32> = Vec::new();
        for Asked { term, times, word } in asked {
            let elsewhere = others.of(&word);
            let list = &self.postings[term as usize];
            let walk = &list[list.len().saturating_sub(LONGEST_WALK)..];
            let living = walk.iter().filter(|p| documents.is_alive(p.doc)).count();
            // What was not walked is taken to be as much alive as what was.
            let scale = list.len() as f32 / walk.len().max(1) as f32;
            let idf = idf(alive, living as f32 * scale + elsewhere) * times;
            for p in walk {
                if !documents.is_alive(p.doc) {
                    continue;
                }
                scores.own[p.doc as usize] += weight(idf, f32::from(p.own), norms.own(self.lengths[p.doc as usize]));
                add(&mut context_counts, &mut touched, p.doc, p.own);
                let next = documents.next(p.doc);
                if p.tail > 0 && next != NONE {
                    add(&mut context_counts, &mut touched, next, p.tail);
                }
            }
            let idf = self::idf(alive, (touched.len() as f32 * scale + elsewhere).min(alive)) * times;
            for doc in touched.drain(..) {
                let count = std::mem::take(&mut context_counts[doc as usize]);
                let length = self.context_length(doc, documents);
                let score = &mut scores.context[doc as usize];
                if *score == 0.0 {
                    // Whatever has an own score has one with its context, too.
                    scores.touched.push(doc);
                }
                *score += weight(idf, f32::from(count), norms.context(length));
            }
        }
        scores
    }

    /// The query's words, each once; words that are nowhere are left out.
    fn asked(&self, query: &str) -> Vec<Asked> {
        let mut asked: Vec<Asked> = Vec::new();
        for_each_term(query, |word| {
            if let Some(number) = self.numbers.get(word) {
                match asked.iter_mut().find(|a| a.term == *number) {
                    Some(a) => a.times += 1.0,
                    None => asked.push(Asked { term: *number, times: 1.0, word: word.to_owned() }),
                }
            }
        });
        asked
    }

    fn context_length(&self, doc: u32, documents: &Documents) -> u32 {
        let before = documents.prev(doc);
        self.lengths[doc as usize].own + if before == NONE { 0 } else { self.lengths[before as usize].tail }
    }

    fn norms(&self, documents: &Documents) -> Norms {
        let alive = documents.alive().max(1) as f64;
        let (own, context) = (self.own_total as f64, (self.own_total + self.before_total) as f64);
        Norms { own: ((own / alive).max(1e-9)) as f32, context: ((context / alive).max(1e-9)) as f32 }
    }

    /// Takes note that a document has been linked between its neighbours.
    pub(super) fn linked(&mut self, doc: u32, documents: &Documents) {
        let (prev, next) = (documents.prev(doc), documents.next(doc));
        self.own_total += u64::from(self.lengths[doc as usize].own);
        if prev != NONE {
            self.before_total += self.tail(prev);
        }
        if next != NONE {
            self.before_total = self.before_total + self.tail(doc) - if prev == NONE { 0 } else { self.tail(prev) };
        }
    }

    /// Takes note that a document is about to be taken out from between its neighbours.
    pub(super) fn unlinked(&mut self, doc: u32, documents: &Documents) {
        let (prev, next) = (documents.prev(doc), documents.next(doc));
        self.own_total -= u64::from(self.lengths[doc as usize].own);
        if prev != NONE {
            self.before_total -= self.tail(prev);
        }
        if next != NONE {
            self.before_total = self.before_total + if prev == NONE { 0 } else { self.tail(prev) } - self.tail(doc);
        }
    }

    fn tail(&self, doc: u32) -> u64 {
        u64::from(self.lengths[doc as usize].tail)
    }

    /// Follows a compaction of the documents.
    pub(super) fn compact(&mut self, renumbered: &[u32]) {
        keep_alive(&mut self.lengths, renumbered);
        for list in &mut self.postings {
            list.retain_mut(|p| {
                p.doc = renumbered[p.doc as usize];
                p.doc != NONE
            });
            list.shrink_to_fit();
        }
        let mut moved = vec![NONE; self.postings.len()];
        let mut next = 0;
        for (number, list) in self.postings.iter().enumerate() {
            if !list.is_empty() {
                moved[number] = next;
                next += 1;
            }
        }
        self.numbers.retain(|_, number| {
            *number = moved[*number as usize];
            *number != NONE
        });
        self.postings.retain(|list| !list.is_empty());
    }

    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.postings.iter().map(|l| l.capacity() * size_of::<Posting>()).sum();
        let words: usize = self.numbers.capacity() * (size_of::<(Box<str>, u32)>() + 1) + self.numbers.len() * 16;
        lists + words + self.postings.capacity() * size_of::<Vec<Posting>>() + self.lengths.capacity() * size_of::<Lengths>()
    }
}

/// A word of the query.
struct Asked {
    term: u32,
    times: f32,
    word: String,
}

/// Average lengths, in terms.
struct Norms {
    own: f32,
    context: f32,
}

impl Norms {
    fn own(&self, length: Lengths) -> f32 {
        K1 * (1.0 - B_OWN + B_OWN * length.own as f32 / self.own)
    }

    fn context(&self, length: u32) -> f32 {
        K1 * (1.0 - B_CONTEXT + B_CONTEXT * length as f32 / self.context)
    }
}

fn number_of(numbers: &mut HashMap<Box<str>, u32>, term: &str) -> u32 {
    if let Some(number) = numbers.get(term) {
        return *number;
    }
    let number = u32::try_from(numbers.len()).expect("fewer than 2^32 words");
    numbers.insert(term.into(), number);
    number
}

/// Lucene's form, which is never negative.
fn idf(documents: f32, containing: f32) -> f32 {
    (1.0 + (documents - containing + 0.5) / (containing + 0.5)).ln()
}

fn weight(idf: f32, count: f32, norm: f32) -> f32 {
    idf * count * (K1 + 1.0) / (count + norm)
}

fn add(counts: &mut [u16], touched: &mut Vec<u32>, doc: u32, count: u8) {
    let slot = &mut counts[doc as usize];
    if *slot == 0 {
        touched.push(doc);
    }
    *slot += u16::from(count);
}

/// Where the last [`TAIL_CHARS`] characters begin, moved on to the next border between words.
fn tail_start(text: &str) -> usize {
    let Some((cut, _)) = text.char_indices().rev().nth(TAIL_CHARS - 1).filter(|(i, _)| *i > 0) else { return 0 };
    let rest = &text[cut..];
    rest.find(char::is_whitespace).map_or(cut, |i| cut + i)
}
