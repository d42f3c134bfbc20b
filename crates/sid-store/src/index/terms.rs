//! The analyser: from text to the stems that are indexed and looked up.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};

/// English words that carry no content. Checked before stemming.
const STOP_WORDS: &str = "a an the and or but if of to in on at for from by with about as is are was were be been being am do does did \
doing have has had having i you he she it we they me him her them my your his its our their this that these those there here what which \
who whom whose when where why how not no so than too very can could will would shall should may might must just also up out into over \
then once s t m re ve ll d";

/// Contractions without their apostrophe; stop words only when it was written, for `id` and `ill` are words.
const CONTRACTIONS: &str = "im ive ill id youre youve youll youd hes hell hed shes shell shed its itll were weve well wed theyre theyve \
theyll theyd dont doesnt didnt isnt wasnt arent werent hasnt havent hadnt wont wouldnt cant couldnt shouldnt thats whats wheres whos hows \
theres heres lets";

/// Longer words are noise (encoded data, links); this much of them is kept.
const MAX_WORD_CHARS: usize = 40;

static STOP: LazyLock<HashSet<&'static str>> = LazyLock::new(|| STOP_WORDS.split_ascii_whitespace().collect());
static CONTRACTED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| CONTRACTIONS.split_ascii_whitespace().collect());

/// The terms of a text, in order, repetitions kept.
///
/// Lower case; runs of letters and digits, accents of Latin letters taken off and apostrophes inside words dropped; English stop
/// words left out; English (Snowball) stems. Scripts written without spaces (Han, kana, Hangul) become overlapping pairs of
/// characters. SQLite's FTS5 rows hold the same terms, joined by spaces.
///
/// ```
/// assert_eq!(sid_store::index::terms("Caroline's cats are RUNNING to the café"), ["carolin", "cat", "run", "cafe"]);
/// ```
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for_each_term(text, |t| out.push(t.to_owned()));
    out
}

/// Calls `take` with each term of `text`, in order.
pub(super) fn for_each_term(text: &str, take: impl FnMut(&str)) {
    let mut analyser = Analyser { take, stems: Stems::default(), word: Word::default(), ideograph: None };
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if is_unspaced(c) {
            analyser.end_word();
            analyser.take_ideograph(c);
        } else if c.is_alphanumeric() {
            analyser.end_ideographs();
            analyser.word.push(c);
        } else if matches!(c, '\'' | '\u{2019}') && analyser.word.chars > 0 && rest.peek().is_some_and(|n| n.is_alphabetic()) {
            // "don't" is one word, and so is "Caroline's".
            analyser.word.is_contracted = true;
        } else if !is_mark(c) {
            analyser.end_ideographs();
            analyser.end_word();
        }
    }
    analyser.end_ideographs();
    analyser.end_word();
}

struct Analyser<F> {
    take: F,
    stems: Stems,
    word: Word,
    /// The last character of an unspaced run, and whether it is the run's first.
    ideograph: Option<(char, bool)>,
}

#[derive(Default)]
struct Word {
    folded: String,
    chars: usize,
    is_contracted: bool,
}

impl Word {
    fn push(&mut self, c: char) {
        if self.chars < MAX_WORD_CHARS {
            push_folded(&mut self.folded, c);
        }
        self.chars += 1;
    }

    fn is_stop_word(&self) -> bool {
        STOP.contains(self.folded.as_str()) || (self.is_contracted && CONTRACTED.contains(self.folded.as_str()))
    }
}

impl<F: FnMut(&str)> Analyser<F> {
    fn end_word(&mut self) {
        if !self.word.folded.is_empty() && !self.word.is_stop_word() {
            self.stems.with(&self.word.folded, &mut self.take);
        }
        self.word.folded.clear();
        self.word.chars = 0;
        self.word.is_contracted = false;
    }

    fn take_ideograph(&mut self, c: char) {
        if let Some((before, _)) = self.ideograph {
            (self.take)(&String::from_iter([before, c]));
        }
        self.ideograph = Some((c, self.ideograph.is_none()));
    }

    /// A run of a single ideograph is a term by itself.
    fn end_ideographs(&mut self) {
        if let Some((c, true)) = self.ideograph.take() {
            (self.take)(c.encode_utf8(&mut [0; 4]));
        }
    }
}

/// Stems words. Stemming costs most of the analysis and texts repeat their words, so each thread remembers the stems it has made.
struct Stems(Stemmer);

impl Default for Stems {
    fn default() -> Self {
        Self(Stemmer::create(Algorithm::English))
    }
}

/// The memory is dropped when it has grown to this many words.
const REMEMBERED_STEMS: usize = 20_000;

thread_local! {
    static REMEMBERED: RefCell<HashMap<Box<str>, Box<str>>> = RefCell::new(HashMap::new());
}

impl Stems {
    fn with(&self, word: &str, take: &mut impl FnMut(&str)) {
        if !word.is_ascii() || word.bytes().any(|b| b.is_ascii_digit()) {
            take(word);
            return;
        }
        let stem = REMEMBERED.with_borrow_mut(|m| {
            if let Some(stem) = m.get(word) {
                return stem.clone();
            }
            if m.len() >= REMEMBERED_STEMS {
                m.clear();
            }
            let stem: Box<str> = self.0.stem(word).into();
            m.insert(word.into(), stem.clone());
            stem
        });
        take(&stem);
    }
}

/// Han, kana and Hangul: no spaces between words, so pairs of characters stand in for words.
fn is_unspaced(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x11FF | 0x3040..=0x30FF | 0x3130..=0x318F | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0xFF66..=0xFF9D | 0x20000..=0x3FFFF)
}

/// Combining marks belong to the letter before them; folding drops them.
fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x0300..=0x036F | 0x200B..=0x200D | 0x00AD | 0xFE00..=0xFE0F)
}

fn push_folded(word: &mut String, c: char) {
    if c.is_ascii() {
        word.push(c.to_ascii_lowercase());
        return;
    }
    for l in c.to_lowercase() {
        match l {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => word.push('a'),
            'æ' => word.push_str("ae"),
            'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => word.push('c'),
            'ď' | 'đ' | 'ð' => word.push('d'),
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => word.push('e'),
            'ĝ' | 'ğ' | 'ġ' | 'ģ' => word.push('g'),
            'ì' | 'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'į' | 'ı' => word.push('i'),
            'ł' | 'ļ' | 'ľ' => word.push('l'),
            'ñ' | 'ń' | 'ň' | 'ņ' => word.push('n'),
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => word.push('o'),
            'œ' => word.push_str("oe"),
            'ŕ' | 'ř' => word.push('r'),
            'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => word.push('s'),
            'ß' => word.push_str("ss"),
            'ť' | 'ţ' | 'ț' => word.push('t'),
            'ù' | 'ú' | 'û' | 'ü' | 'ũ' | 'ū' | 'ů' | 'ű' | 'ų' => word.push('u'),
            'ý' | 'ÿ' => word.push('y'),
            'ź' | 'ż' | 'ž' => word.push('z'),
            l if is_mark(l) => {}
            l => word.push(l),
        }
    }
}
