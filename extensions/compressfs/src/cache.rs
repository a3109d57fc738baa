//! Chunks decoded not long ago, so that small reads of one chunk decode it once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Total of all decoded bytes that are kept.
const BUDGET: usize = 16 << 20;
/// Independent parts, each with a lock and an equal share of the budget.
const SHARDS: usize = 8;

/// Names a chunk: the image it belongs to (unique in this process) and its number there.
pub(crate) type Key = (u64, u64);

/// A bounded set of decoded chunks; the least recently used ones go first.
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    chunks: HashMap<Key, (u64, Arc<Vec<u8>>)>,
    /// Sum of the lengths in `chunks`; at most `BUDGET / SHARDS` whenever the lock is free.
    bytes: usize,
    clock: u64,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        let mut shard = self.shard(key).lock();
        shard.clock += 1;
        let now = shard.clock;
        let (used, chunk) = shard.chunks.get_mut(&key)?;
        *used = now;
        Some(Arc::clone(chunk))
    }

    pub(crate) fn insert(&self, key: Key, chunk: Arc<Vec<u8>>) {
        let mut shard = self.shard(key).lock();
        shard.clock += 1;
        let now = shard.clock;
        shard.bytes += chunk.len();
        if let Some((_, old)) = shard.chunks.insert(key, (now, chunk)) {
            shard.bytes -= old.len();
        }
        while shard.bytes > BUDGET / SHARDS {
            shard.evict();
        }
    }

    fn shard(&self, (image, chunk): Key) -> &Mutex<Shard> {
        // Fibonacci hashing: neighbouring chunks, and first chunks of files, spread evenly.
        let mixed = (image ^ chunk.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 61) as usize]
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}

impl Shard {
    fn evict(&mut self) {
        let oldest = self.chunks.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
        let Some((_, chunk)) = oldest.and_then(|key| self.chunks.remove(&key)) else {
            return;
        };
        self.bytes -= chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_recent_chunks_stay() {
        let cache = Cache::new();
        for chunk in 0..1000 {
            cache.insert((7, chunk), Arc::new(vec![chunk as u8; 128 << 10]));
            assert!(cache.bytes() <= BUDGET);
            assert!(cache.get((7, chunk)).is_some(), "chunk {chunk} is gone at once");
        }
        assert!(cache.bytes() > BUDGET / 2, "half of the budget is idle");
        assert!(cache.get((7, 0)).is_none());
    }

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let cache = Cache::new();
        cache.insert((1, 1), Arc::new(vec![1; 1 << 10]));
        for chunk in 0..10_000 {
            assert_eq!(cache.get((1, 1)).expect("in use").len(), 1 << 10);
            cache.insert((2, chunk), Arc::new(vec![0; 16 << 10]));
        }
    }

    #[test]
    fn replacing_a_chunk_counts_it_once() {
        let cache = Cache::new();
        for _ in 0..100 {
            cache.insert((1, 1), Arc::new(vec![1; 1 << 20]));
        }
        assert_eq!(cache.bytes(), 1 << 20);
    }
}
