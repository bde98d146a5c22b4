//! Request-scoped batching: loads that sibling fields need are combined into one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Collects the keys that the fields of one answer request in the same poll, and loads them together.
pub(super) struct Batcher<K, V> {
    pending: Mutex<Option<Batch<K, V>>>,
}

/// Keys that will be loaded together, and the channel that delivers their values.
struct Batch<K, V> {
    keys: Vec<K>,
    loaded: watch::Receiver<Option<Arc<Vec<V>>>>,
}

impl<K, V> Default for Batcher<K, V> {
    fn default() -> Self {
        Self { pending: Mutex::new(None) }
    }
}

impl<K, V: Clone> Batcher<K, V> {
    /// Returns the value of one key. `load` receives all keys of the batch and returns their values in the same order.
    /// Returns `None` if the load was cancelled.
    pub(super) async fn get<F>(&self, key: K, load: impl FnOnce(Vec<K>) -> F) -> Option<V>
    where
        F: Future<Output = Vec<V>>,
    {
        let (index, mut loaded, leader) = self.join(key);
        if let Some(sender) = leader {
            // Sibling fields run in the same task: while the first one yields, the others add their keys.
            tokio::task::yield_now().await;
            let keys = self.close();
            sender.send_replace(Some(Arc::new(load(keys).await)));
        }
        let loaded = loaded.wait_for(Option::is_some).await.ok()?.clone();
        loaded?.get(index).cloned()
    }

    #[expect(clippy::type_complexity, reason = "the tuple is taken apart at its only caller")]
    fn join(
        &self,
        key: K,
    ) -> (usize, watch::Receiver<Option<Arc<Vec<V>>>>, Option<watch::Sender<Option<Arc<Vec<V>>>>>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = pending.as_mut() {
            batch.keys.push(key);
            return (batch.keys.len() - 1, batch.loaded.clone(), None);
        }
        let (sender, loaded) = watch::channel(None);
        *pending = Some(Batch { keys: vec![key], loaded: loaded.clone() });
        (0, loaded, Some(sender))
    }

    fn close(&self) -> Vec<K> {
        let batch = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        batch.map(|batch| batch.keys).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn concurrent_keys_are_loaded_once_and_each_gets_its_value() {
        let (batcher, loads) = (Batcher::default(), AtomicUsize::new(0));
        let get = |key: usize| {
            batcher.get(key, |keys: Vec<usize>| {
                loads.fetch_add(1, Ordering::Relaxed);
                async move { keys.into_iter().map(|key| key * 10).collect() }
            })
        };
        let values = join_all((0..100).map(get)).await;
        assert_eq!(values, (0..100).map(|key| Some(key * 10)).collect::<Vec<_>>());
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(get(7).await, Some(70));
    }
}
