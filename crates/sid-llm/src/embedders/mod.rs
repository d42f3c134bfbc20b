//! Embedders.

#[cfg(feature = "fastembed")]
mod cache;
mod hash;
#[cfg(feature = "fastembed")]
mod local;
#[cfg(feature = "fastembed")]
mod queue;
#[cfg(feature = "openai")]
mod remote;

pub use hash::HashEmbedder;
#[cfg(feature = "fastembed")]
pub use local::{FastembedConfig, FastembedEmbedder, FastembedSource};
#[cfg(feature = "openai")]
pub use remote::{OpenAiEmbedder, OpenAiEmbedderConfig};

/// Makes a vector one unit long; the zero vector stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

/// The start of a text that is at most `max` bytes, at a character.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
