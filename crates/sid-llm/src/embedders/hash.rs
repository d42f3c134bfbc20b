//! The lexical default: hashed words and pieces of words. It needs no files and finds no synonyms.

use async_trait::async_trait;

use super::{cut, normalise};
use crate::{EmbedInput, Embedder, EmbeddingGeneration, LlmError};

const DIMENSIONS: usize = 384;
const CHUNK_BYTES: usize = 4_000;

/// Words that say little about what a text is about.
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its", "just", "me", "my", "no", "not",
    "of", "on", "or", "our", "she", "should", "so", "some", "that", "the", "their", "them", "there", "they", "this", "to", "was", "we",
    "were", "what", "when", "where", "which", "who", "will", "with", "would", "you", "your",
];

/// Feature hashing of words, their beginnings and their character trigrams into 384 numbers, or as many as are asked for.
///
/// Vectors are near when texts share words or pieces of words, whatever they mean: `is_semantic` is false, and whoever
/// shows results says so.
///
/// ```
/// use sid_llm::{EmbedInput, Embedder, HashEmbedder};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let embedder = HashEmbedder::new();
/// let texts = ["I love pickles".to_owned(), "Who loves a pickle?".to_owned(), "The Battle of Hastings".to_owned()];
/// let v = embedder.embed(EmbedInput::Document, &texts).await.unwrap();
/// let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
/// assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.2);
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HashEmbedder {
    dimensions: usize,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl HashEmbedder {
    /// The embedder with 384 dimensions; it holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_dimensions(DIMENSIONS)
    }

    /// The embedder with so many dimensions, at least one: fewer let more words fall together, more take more memory.
    #[must_use]
    pub const fn with_dimensions(dimensions: usize) -> Self {
        Self { dimensions: if dimensions == 0 { 1 } else { dimensions } }
    }

    /// The vector of one text.
    #[must_use]
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.dimensions];
        let text = cut(text, CHUNK_BYTES).to_lowercase();
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            if STOP_WORDS.contains(&word) {
                add(&mut vector, b'w', word, 0.1);
                continue;
            }
            add(&mut vector, b'w', word, 1.0);
            let chars: Vec<char> = word.chars().collect();
            if chars.len() > 4 {
                let start: String = chars[..4].iter().collect();
                add(&mut vector, b's', &start, 0.6);
            }
            for trigram in chars.windows(3) {
                let trigram: String = trigram.iter().collect();
                add(&mut vector, b't', &trigram, 0.2);
            }
        }
        normalise(&mut vector);
        vector
    }
}

/// Adds a feature at a place and with a sign that its hash tells (FNV-1a, finished by a mixer; never changes).
fn add(vector: &mut [f32], kind: u8, feature: &str, weight: f32) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in std::iter::once(kind).chain(feature.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    let at = usize::try_from(hash % vector.len() as u64).unwrap_or(0);
    vector[at] += if hash >> 63 == 0 { weight } else { -weight };
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for HashEmbedder {
    fn generation(&self) -> EmbeddingGeneration {
        let dimensions = self.dimensions;
        EmbeddingGeneration { id: format!("lexical-hash/{dimensions}/c1"), dimensions, chunk_bytes: CHUNK_BYTES, is_semantic: false }
    }

    async fn embed(&self, _: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_unit_length_and_never_change() {
        let vector = HashEmbedder::new().vector("Chad loves pickles");
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(vector, HashEmbedder::new().vector("chad LOVES   pickles!"));
        assert!(HashEmbedder::new().vector("").iter().all(|x| *x == 0.0));
        // A change of the hash would need another generation id.
        let strongest = vector.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).map(|(at, _)| at);
        assert_eq!(strongest, Some(GOLDEN));
    }

    const GOLDEN: usize = 342;

    #[test]
    fn as_many_dimensions_as_asked_for() {
        let embedder = HashEmbedder::with_dimensions(64);
        assert_eq!((embedder.vector("pickles").len(), embedder.generation().dimensions), (64, 64));
        assert_eq!(embedder.generation().id, "lexical-hash/64/c1");
        assert_eq!(HashEmbedder::new().generation().id, "lexical-hash/384/c1", "generations that are stored keep their name");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "é".repeat(10_000);
        assert_eq!(HashEmbedder::new().vector(&long).len(), DIMENSIONS);
    }
}
