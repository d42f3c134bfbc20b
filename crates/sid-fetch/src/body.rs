//! Bodies: counted as they come, and after they are unpacked.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::CONTENT_ENCODING;

use crate::FetchError;

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + more.len() > self.limit {
            self.is_over = true;
            return Err(std::io::Error::other("the limit is reached"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a whole body, decompressed, up to `limit` bytes.
///
/// The client's own decompression is not used: it is chosen for all clients of a program together, and those that stream must not have it.
pub(crate) async fn read(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, FetchError> {
    let too_large = || FetchError::TooLarge { limit_bytes: limit };
    if response.content_length().is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    let encoding = response.headers().get(CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let is_packed = match encoding.as_deref() {
        None | Some("" | "identity") => false,
        Some("gzip" | "x-gzip") => true,
        Some(other) => {
            let problem = format!("its content encoding is `{}`, which was not asked for", other.chars().take(40).collect::<String>());
            return Err(FetchError::Interrupted { problem });
        }
    };
    let mut plain = Bounded { bytes: Vec::new(), limit, is_over: false };
    if !is_packed {
        while let Some(chunk) = next(&mut response).await? {
            plain.write_all(&chunk).map_err(|_| too_large())?;
        }
        return Ok(plain.bytes);
    }
    let mut unpacker = MultiGzDecoder::new(plain);
    let mut packed = 0;
    while let Some(chunk) = next(&mut response).await? {
        packed += chunk.len();
        if packed > limit {
            return Err(too_large());
        }
        if let Err(error) = unpacker.write_all(&chunk) {
            return Err(unpacking(&unpacker, &error, limit));
        }
    }
    if packed > 0
        && let Err(error) = unpacker.try_finish()
    {
        return Err(unpacking(&unpacker, &error, limit));
    }
    Ok(std::mem::take(&mut unpacker.get_mut().bytes))
}

async fn next(response: &mut reqwest::Response) -> Result<Option<Bytes>, FetchError> {
    response.chunk().await.map_err(|e| FetchError::Interrupted { problem: root_cause(&e) })
}

fn unpacking(unpacker: &MultiGzDecoder<Bounded>, error: &std::io::Error, limit: usize) -> FetchError {
    if unpacker.get_ref().is_over {
        FetchError::TooLarge { limit_bytes: limit }
    } else {
        FetchError::Interrupted { problem: format!("it is not gzip: {error}") }
    }
}

pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
