//! Many questions of one kind within one request, asked in one go.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Collects the keys that fields of one answer ask for until none of them can go on, and loads them together.
pub(super) struct Batcher<K, V> {
    open: Mutex<Option<Wave<K, V>>>,
}

struct Wave<K, V> {
    keys: Vec<K>,
    loaded: watch::Receiver<Option<Arc<Vec<V>>>>,
}

impl<K, V> Default for Batcher<K, V> {
    fn default() -> Self {
        Self { open: Mutex::new(None) }
    }
}

impl<K, V: Clone> Batcher<K, V> {
    /// The value of one key. `load` is given all keys that were asked for meanwhile and answers in their order.
    /// Nothing where the load was given up.
    pub(super) async fn get<F>(&self, key: K, load: impl FnOnce(Vec<K>) -> F) -> Option<V>
    where
        F: Future<Output = Vec<V>>,
    {
        let (at, mut loaded, leads) = self.join(key);
        if let Some(sender) = leads {
            // The first to ask lets all its siblings ask before it loads for all of them.
            tokio::task::yield_now().await;
            let keys = self.close();
            sender.send_replace(Some(Arc::new(load(keys).await)));
        }
        let loaded = loaded.wait_for(Option::is_some).await.ok()?.clone();
        loaded?.get(at).cloned()
    }

    #[expect(clippy::type_complexity, reason = "the three belong together for two lines")]
    fn join(
        &self,
        key: K,
    ) -> (usize, watch::Receiver<Option<Arc<Vec<V>>>>, Option<watch::Sender<Option<Arc<Vec<V>>>>>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wave) = open.as_mut() {
            wave.keys.push(key);
            return (wave.keys.len() - 1, wave.loaded.clone(), None);
        }
        let (sender, loaded) = watch::channel(None);
        *open = Some(Wave { keys: vec![key], loaded: loaded.clone() });
        (0, loaded, Some(sender))
    }

    fn close(&self) -> Vec<K> {
        let wave = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        wave.map(|wave| wave.keys).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn siblings_are_loaded_together_and_each_gets_its_own() {
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
