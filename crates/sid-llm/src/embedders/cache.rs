//! Vectors of texts that were embedded lately.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Keeps what was used lately, by content: two halves, of which the older one is dropped when the younger is full.
#[derive(Debug)]
pub(super) struct Cache {
    halves: Mutex<Halves>,
    half: usize,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<[u8; 32], Arc<[f32]>>,
    old: HashMap<[u8; 32], Arc<[f32]>>,
}

impl Cache {
    pub(super) fn new(entries: usize) -> Self {
        Self { halves: Mutex::default(), half: entries.div_ceil(2) }
    }

    pub(super) fn key(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }

    pub(super) fn get(&self, key: &[u8; 32]) -> Option<Vec<f32>> {
        let mut halves = self.halves.lock();
        if let Some(vector) = halves.young.get(key) {
            return Some(vector.to_vec());
        }
        let vector = halves.old.remove(key)?;
        let answer = vector.to_vec();
        self.insert(&mut halves, *key, vector);
        Some(answer)
    }

    pub(super) fn put(&self, key: [u8; 32], vector: &[f32]) {
        self.insert(&mut self.halves.lock(), key, vector.into());
    }

    fn insert(&self, halves: &mut Halves, key: [u8; 32], vector: Arc<[f32]>) {
        if self.half == 0 {
            return;
        }
        if halves.young.len() >= self.half {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(key, vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_drops_the_rest() {
        let cache = Cache::new(4);
        let key = |n: usize| Cache::key(&n.to_string());
        for n in 0..100 {
            cache.put(key(n), &[n as f32]);
            assert_eq!(cache.get(&key(0)), Some(vec![0.0]), "used at every step");
        }
        assert_eq!(cache.get(&key(99)), Some(vec![99.0]));
        assert_eq!(cache.get(&key(50)), None);
        let halves = cache.halves.lock();
        assert!(halves.young.len() + halves.old.len() <= 4);
    }
}
