//! Who reads.

use async_trait::async_trait;
use sid_types::DocumentFormat;

use crate::error::Unreadable;
use crate::limits::Limits;
use crate::read::{ReadDocument, read};

/// Reads documents, however hostile, without harm to who asks.
#[async_trait]
pub trait DocumentReader: Send + Sync {
    /// What it may use up.
    fn limits(&self) -> &Limits;

    /// What the document says. Ready within [`Limits::time`], or soon after.
    ///
    /// Errors: [`Unreadable`].
    async fn read(&self, format: DocumentFormat, content: Vec<u8>) -> Result<ReadDocument, Unreadable>;
}

/// Bytes of stack for a reader's thread: some formats are read as deep as they are nested.
const STACK: usize = 64 << 20;

/// Reads on a thread of this process. A panic is caught; a thread that does not end in time is left to itself. Memory and stack are not
/// bounded: for files that are trusted, and for tests.
#[derive(Debug, Clone, Default)]
pub struct InProcess {
    /// What a document may use up.
    pub limits: Limits,
}

#[async_trait]
impl DocumentReader for InProcess {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn read(&self, format: DocumentFormat, content: Vec<u8>) -> Result<ReadDocument, Unreadable> {
        let time = self.limits.time;
        let limits = self.limits.clone();
        let (answer, answered) = tokio::sync::oneshot::channel();
        on_thread(move || {
            let _ = answer.send(read(format, &content, &limits));
        })?;
        match tokio::time::timeout(time, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Unreadable::Broken { format: format.as_str().into(), problem: "reading it ended in a fault".into() }),
            Err(_) => Err(Unreadable::UsedUp { what: "time".into() }),
        }
    }
}

/// Starts a thread with room on its stack.
pub(crate) fn on_thread(work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>, Unreadable> {
    let thread = std::thread::Builder::new().name("sid-document".into()).stack_size(STACK);
    thread.spawn(work).map_err(|e| Unreadable::NoReader { problem: e.to_string() })
}
