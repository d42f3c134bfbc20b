//! Work for a thread that embeds: queries before documents, a few texts at a time.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{EmbedInput, LlmError};

/// One text and where its vector goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) text: String,
    pub(super) answer: oneshot::Sender<Result<Vec<f32>, LlmError>>,
}

#[derive(Debug, Default)]
struct Jobs {
    queries: VecDeque<Job>,
    documents: VecDeque<Job>,
    is_closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn push(&self, input: EmbedInput, jobs: impl IntoIterator<Item = Job>) {
        let mut waiting = self.jobs.lock();
        match input {
            EmbedInput::Query => waiting.queries.extend(jobs),
            EmbedInput::Document => waiting.documents.extend(jobs),
        }
        self.changed.notify_one();
    }

    /// The next batch, of one kind; empty when the queue is closed. Jobs that nobody waits for any more are skipped.
    ///
    /// Texts are padded to the longest of their batch, so the longest times their number stays within `max_bytes`; a longer
    /// text goes alone.
    pub(super) fn next(&self, max: usize, max_bytes: usize) -> Vec<Job> {
        let mut jobs = self.jobs.lock();
        loop {
            if jobs.is_closed {
                return Vec::new();
            }
            let waiting = if jobs.queries.is_empty() { &mut jobs.documents } else { &mut jobs.queries };
            let mut batch: Vec<Job> = Vec::new();
            let mut longest = 0;
            while batch.len() < max
                && let Some(job) = waiting.pop_front()
            {
                if job.answer.is_closed() {
                    continue;
                }
                longest = job.text.len().max(longest);
                if !batch.is_empty() && longest.saturating_mul(batch.len() + 1) > max_bytes {
                    waiting.push_front(job);
                    break;
                }
                batch.push(job);
            }
            if !batch.is_empty() {
                return batch;
            }
            if jobs.queries.is_empty() && jobs.documents.is_empty() {
                self.changed.wait(&mut jobs);
            }
        }
    }

    /// Ends the thread after its present batch; waiting jobs are dropped.
    pub(super) fn close(&self) {
        let mut jobs = self.jobs.lock();
        jobs.is_closed = true;
        jobs.queries.clear();
        jobs.documents.clear();
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_overtake_documents_and_the_abandoned_are_skipped() {
        let queue = Queue::default();
        let mut keep = Vec::new();
        let mut job = |text: &str| {
            let (answer, receiver) = oneshot::channel();
            // Nobody waits for this one.
            if text != "d2" {
                keep.push(receiver);
            }
            Job { text: text.into(), answer }
        };
        queue.push(EmbedInput::Document, [job("d1"), job("d2"), job("d3"), job("d4"), job("d5")]);
        queue.push(EmbedInput::Query, [job("q1")]);
        let texts = |batch: Vec<Job>| batch.into_iter().map(|j| j.text).collect::<Vec<_>>();
        let first = queue.next(4, 100);
        assert_eq!(first.iter().map(|j| j.text.as_str()).collect::<Vec<_>>(), ["q1"]);
        assert_eq!(texts(queue.next(4, 100)), ["d1", "d3", "d4", "d5"]);
        let long = "d".repeat(60);
        queue.push(EmbedInput::Document, [job("d6"), job(&long), job("d7")]);
        assert_eq!(texts(queue.next(4, 100)), ["d6"]);
        assert_eq!(texts(queue.next(4, 100)), [long]);
        assert_eq!(texts(queue.next(4, 100)), ["d7"]);
        queue.close();
        assert!(queue.next(4, 100).is_empty());
    }
}
