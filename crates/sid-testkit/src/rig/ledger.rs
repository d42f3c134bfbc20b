//! What was acknowledged, on disk before anybody relies on it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::checker::Entry;

/// A file of entries, one line each. [`Ledger::add`] returns when its line is on the disk; lines of many senders share one `fdatasync`.
#[derive(Debug)]
pub struct Ledger {
    entries: Arc<Mutex<Vec<Entry>>>,
    queue: Sender<(Entry, oneshot::Sender<()>)>,
    clock: AtomicU64,
}

impl Ledger {
    /// An empty one.
    ///
    /// Errors: the file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make the ledger {}", path.display()))?;
        let (queue, waiting) = channel();
        let entries: Arc<Mutex<Vec<Entry>>> = Arc::default();
        let kept = Arc::clone(&entries);
        // A thread of its own: waiting for a disk must not hold up the senders' runtime.
        std::thread::spawn(move || write(file, &waiting, &kept));
        Ok(Self { entries, queue, clock: AtomicU64::new(1) })
    }

    /// The next moment, for [`Entry::sent`]: a counter that all senders share.
    #[must_use]
    pub fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes one down, acknowledged now.
    ///
    /// # Panics
    /// When the disk refuses: what follows would prove nothing.
    pub async fn add(&self, mut entry: Entry) {
        entry.acknowledged = self.moment();
        let (done, is_written) = oneshot::channel();
        self.queue.send((entry, done)).expect("the ledger's thread lives as long as the ledger");
        is_written.await.expect("the ledger can be written");
    }

    /// Everything so far, in the order in which it was written down.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn write(mut file: File, waiting: &Receiver<(Entry, oneshot::Sender<()>)>, kept: &Mutex<Vec<Entry>>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let mut lines = Vec::new();
        for (entry, _) in &batch {
            serde_json::to_writer(&mut lines, entry).expect("an entry is JSON");
            lines.push(b'\n');
        }
        if file.write_all(&lines).and_then(|()| file.sync_data()).is_err() {
            // Those who wait are told by the closed channel.
            return;
        }
        for (entry, done) in batch {
            kept.lock().push(entry);
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_added_is_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger");
        let ledger = Ledger::create(&path).expect("a ledger");
        let entry = |text: &str| Entry { text: text.into(), sent: ledger.moment(), ..Entry::default() };
        futures::future::join_all(["one", "two", "three"].map(|text| ledger.add(entry(text)))).await;
        let lines = std::fs::read_to_string(&path).expect("readable");
        let read: Vec<Entry> = lines.lines().map(|l| serde_json::from_str(l).expect("an entry")).collect();
        assert_eq!((read.len(), &read), (3, &ledger.entries()));
        assert!(read.iter().all(|e| e.sent < e.acknowledged), "{read:?}");
    }
}
