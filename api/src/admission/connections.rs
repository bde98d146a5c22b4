//! Limits of long-lived connections and subscriptions of one process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::concurrency::{Caps, ConcurrencyLimiter, overloaded};
use crate::error::Problem;

/// Open WebSockets.
const SOCKETS: Caps = Caps { code: "TOO_MANY_SOCKETS", customer: 20, member: 2_000, tenant: 3_000, all: 4_096 };
/// Open event streams. Each one occupies a connection of the HTTP server, as a WebSocket does.
const STREAMS: Caps = Caps { code: "TOO_MANY_STREAMS", customer: 20, member: 2_000, tenant: 3_000, all: 4_096 };
/// Running subscriptions, over WebSockets and event streams together.
const SUBSCRIPTIONS: Caps =
    Caps { code: "TOO_MANY_SUBSCRIPTIONS", customer: 100, member: 5_000, tenant: 10_000, all: 20_000 };
/// WebSockets whose caller is not authenticated yet. Each is closed after `live::socket::INIT_WITHIN`.
const UNAUTHENTICATED_MOST: u32 = 512;
/// Maximum number of subscriptions on one WebSocket.
pub(crate) const SOCKET_SUBSCRIPTIONS_MOST: usize = 100;

/// Limits of connections and subscriptions; one set per process.
pub(crate) struct ConnectionLimits {
    pub(crate) sockets: Arc<ConcurrencyLimiter>,
    pub(crate) streams: Arc<ConcurrencyLimiter>,
    pub(crate) subscriptions: Arc<ConcurrencyLimiter>,
    unauthenticated: Arc<Semaphore>,
}

impl ConnectionLimits {
    pub(crate) fn new() -> Self {
        let [sockets, streams, subscriptions] = [SOCKETS, STREAMS, SUBSCRIPTIONS].map(ConcurrencyLimiter::new);
        let unauthenticated = Arc::new(Semaphore::new(UNAUTHENTICATED_MOST as usize));
        Self { sockets, streams, subscriptions, unauthenticated }
    }

    /// Admits a WebSocket whose caller is not authenticated yet.
    pub(crate) fn admit_unauthenticated(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.unauthenticated).try_acquire_owned().map_err(|_| overloaded())
    }

    /// Waits until all WebSockets are closed. They close by themselves when the process begins to shut down.
    pub(crate) async fn sockets_closed(&self) {
        // A socket takes its caller's permit before it returns the one for unauthenticated sockets, so waiting for
        // these permits first misses no socket.
        let unauthenticated = self.unauthenticated.acquire_many(UNAUTHENTICATED_MOST).await;
        self.sockets.all_free().await;
        drop(unauthenticated);
    }
}
