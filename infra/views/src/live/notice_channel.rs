//! Row notices between processes over Redis pub/sub.
//!
//! Redis may be down or slow, and foreign messages may arrive: receivers detect gaps by the checkpoints, ignore
//! messages without our seal, and every wait for Redis has a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge::redis::Redis;
use futures::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::notice_codec;
use super::row_notices::{RowNotice, RowNotices};

/// Name of the pub/sub channel, after the prefix of the installation.
const CHANNEL: &str = "live";
/// Received notices that may wait for the dispatcher. Further ones are dropped; the dispatcher detects the gap.
const NOTICES_MOST: usize = 64;
/// Time limit of one attempt to subscribe.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(1);
/// Delay before the next attempt to subscribe.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Publishes the row notices of this process, until `stop`.
pub async fn publish(redis: Redis, notices: RowNotices, stop: CancellationToken) {
    let (mut receiver, channel) = (notices.subscribe(), redis.key(&[CHANNEL]));
    loop {
        let notice = tokio::select! {
            () = stop.cancelled() => return,
            notice = receiver.recv() => notice,
        };
        match notice {
            Ok(notice) => {
                for message in notice_codec::encode(&notice) {
                    let sealed = redis.seal(&channel, &message);
                    let send = async |mut connection| {
                        redis::cmd("PUBLISH").arg(&channel).arg(sealed).exec_async(&mut connection).await
                    };
                    redis.execute(send).await;
                }
            }
            // Receivers detect the gap.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Receives the row notices of other processes. Unsubscribes on drop.
pub(super) struct NoticeReceiver {
    notices: mpsc::Receiver<Arc<RowNotice>>,
    connected: Arc<AtomicBool>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl NoticeReceiver {
    /// Subscribes to the channel. Returns after the first attempt, whether it has succeeded or not; further attempts
    /// follow in the background.
    pub(super) async fn open(redis: Option<Redis>) -> Self {
        let (sender, notices) = mpsc::channel(NOTICES_MOST);
        let connected = Arc::new(AtomicBool::new(false));
        let Some(redis) = redis else { return Self { notices, connected, _task: None } };
        let mut subscriber = subscribe(&redis).await;
        connected.store(subscriber.is_some(), Ordering::Relaxed);
        let state = Arc::clone(&connected);
        let task = tokio::spawn(async move {
            loop {
                if let Some(messages) = subscriber.take() {
                    receive(&redis, messages, &sender).await;
                    state.store(false, Ordering::Relaxed);
                }
                tokio::time::sleep(RETRY_DELAY).await;
                subscriber = subscribe(&redis).await;
                state.store(subscriber.is_some(), Ordering::Relaxed);
            }
        });
        Self { notices, connected, _task: Some(AbortOnDropHandle::new(task)) }
    }

    /// True while subscribed.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Waits for the next notice; without Redis there is none.
    pub(super) async fn next(&mut self) -> Arc<RowNotice> {
        match self.notices.recv().await {
            Some(notice) => notice,
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
    subscribed.inspect_err(|error| tracing::debug!(%error, "cannot receive row notices over Redis")).ok()
}

/// Forwards notices to the dispatcher until the connection ends.
async fn receive(redis: &Redis, messages: redis::aio::PubSub, notices: &mpsc::Sender<Arc<RowNotice>>) {
    let channel = redis.key(&[CHANNEL]);
    let mut messages = messages.into_on_message();
    while let Some(message) = messages.next().await {
        let notice = redis.open(&channel, message.get_payload_bytes()).and_then(notice_codec::decode);
        match notice {
            Some(notice) => {
                notices.try_send(notice).ok();
            }
            None => metrics::counter!("cartulary_live_foreign_total").increment(1),
        }
    }
}
