//! What engines and models get wrong, one cassette per failure, in the shapes in which it was reported.
//!
//! Each cassette is a list of chunks of the OpenAI stream. It is played whole, with the content cut into single characters,
//! and as a whole answer; the reply must be the same.

mod cassette;
mod in_calls;
mod in_text;
