//! News between processes over Redis. It may be away, slow or full of strangers' messages: whoever listens notices what
//! is missing, and nobody ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Changes, News, letter};
use edge::redis::Redis;

/// The channel of all news.
const CHANNEL: &str = "live";
/// Letters that may wait to be read; what comes beyond is missed and found in the store.
const LETTERS_MOST: usize = 64;
/// How long it may take until somebody is heard.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Publishes what the projector of this process changes, until it is cancelled.
pub async fn publish(redis: Redis, changes: Changes, stop: CancellationToken) {
    let (mut heard, channel) = (changes.subscribe(), redis.key(&[CHANNEL]));
    loop {
        let news = tokio::select! {
            () = stop.cancelled() => return,
            news = heard.recv() => news,
        };
        match news {
            Ok(news) => {
                for letter in letter::write(&news) {
                    let sealed = redis.seal(&channel, &letter);
                    let send = async |mut connection| {
                        redis::cmd("PUBLISH").arg(&channel).arg(sealed).exec_async(&mut connection).await
                    };
                    redis.ask(send).await;
                }
            }
            // Others see that something is missing.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Listens to other processes for as long as it is held.
pub(super) struct Wire {
    letters: mpsc::Receiver<Arc<News>>,
    open: Arc<AtomicBool>,
    _listening: Option<AbortOnDropHandle<()>>,
}

impl Wire {
    /// Comes back when everything that is said from now on is heard, or when nobody answers.
    pub(super) async fn open(redis: Option<Redis>) -> Self {
        let (sender, letters) = mpsc::channel(LETTERS_MOST);
        let open = Arc::new(AtomicBool::new(false));
        let Some(redis) = redis else { return Self { letters, open, _listening: None } };
        let mut subscriber = subscribe(&redis).await;
        open.store(subscriber.is_some(), Ordering::Relaxed);
        let state = Arc::clone(&open);
        let listening = tokio::spawn(async move {
            loop {
                if let Some(messages) = subscriber.take() {
                    listen(&redis, messages, &sender).await;
                    state.store(false, Ordering::Relaxed);
                }
                tokio::time::sleep(RETRY).await;
                subscriber = subscribe(&redis).await;
                state.store(subscriber.is_some(), Ordering::Relaxed);
            }
        });
        Self { letters, open, _listening: Some(AbortOnDropHandle::new(listening)) }
    }

    /// Whether somebody would be heard.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// The next news; none for ever where there is no Redis.
    pub(super) async fn next(&mut self) -> Arc<News> {
        match self.letters.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

async fn subscribe(redis: &Redis) -> Option<redis::aio::PubSub> {
    let subscriber = async {
        let mut subscriber = redis.subscriber().await?;
        subscriber.subscribe(redis.key(&[CHANNEL])).await?;
        anyhow::Ok(subscriber)
    };
    let subscribed = tokio::time::timeout(SUBSCRIBED_WITHIN, subscriber).await;
    let subscribed = subscribed.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
    subscribed.inspect_err(|error| tracing::debug!(%error, "no news come over Redis")).ok()
}

/// Passes letters on until the connection ends.
async fn listen(redis: &Redis, messages: redis::aio::PubSub, letters: &mpsc::Sender<Arc<News>>) {
    let channel = redis.key(&[CHANNEL]);
    let mut messages = messages.into_on_message();
    while let Some(message) = messages.next().await {
        let news = redis.open(&channel, message.get_payload_bytes()).and_then(letter::read);
        match news {
            Some(news) => {
                letters.try_send(news).ok();
            }
            None => metrics::counter!("cartulary_live_foreign_total").increment(1),
        }
    }
}
