//! One WebSocket. One task serves all of its subscriptions and sends one message at a time; meanwhile the backend keeps
//! the pending updates, as the last value of each row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::future::BoxFuture;
use futures::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::message::{self, ClientMessage, Close};
use crate::admission::concurrency::{ConcurrencyLimiter, Permit};
use crate::admission::connections::SOCKET_SUBSCRIPTIONS_MOST;
use crate::auth::Authenticator;
use crate::graphql::{GraphqlExecutor, GraphqlRequest, SubscriptionMessage, check, subscribe};
use crate::port::Caller;

/// Time limit for `connection_init` after the upgrade, so that an idle socket does not keep its permit.
const INIT_WITHIN: Duration = Duration::from_secs(3);
/// Time limit for sending one message.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// Interval of pings. A client that sends nothing, not even a pong, between two of them is disconnected.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Time limit for sending the close frame, and then for the client's closing of the connection.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// Message of a subscription, by its id; `None` marks the end of the subscription.
type SubscriptionEvent = (Arc<str>, Option<SubscriptionMessage>);

/// State of one WebSocket.
pub(super) struct Socket {
    socket: WebSocket,
    auth: Arc<Authenticator>,
    graphql: Arc<GraphqlExecutor>,
    /// Limiter of open WebSockets.
    sockets: Arc<ConcurrencyLimiter>,
    correlation: Option<Uuid>,
    /// The caller, once authenticated.
    pub(super) caller: Option<Caller>,
    /// The caller's permit for this socket.
    pub(super) permit: Option<Permit>,
    /// The permit of an unauthenticated socket, held until the caller's own permit is taken.
    pub(super) unauthenticated: Option<OwnedSemaphorePermit>,
    /// True once `connection_init` was accepted.
    acknowledged: bool,
    /// Events of all subscriptions of this socket.
    events: SelectAll<BoxStream<'static, SubscriptionEvent>>,
    /// Running subscriptions by id.
    subscriptions: HashMap<Arc<str>, AbortHandle>,
    /// True if the client sent anything since the last ping.
    received_since_ping: bool,
}

impl Socket {
    pub(super) fn new(
        socket: WebSocket,
        auth: Arc<Authenticator>,
        graphql: Arc<GraphqlExecutor>,
        sockets: Arc<ConcurrencyLimiter>,
        correlation: Option<Uuid>,
    ) -> Self {
        let (caller, permit, unauthenticated) = (None, None, None);
        let (events, subscriptions) = (SelectAll::new(), HashMap::new());
        Self {
            socket,
            auth,
            graphql,
            sockets,
            correlation,
            caller,
            permit,
            unauthenticated,
            acknowledged: false,
            events,
            subscriptions,
            received_since_ping: true,
        }
    }

    /// Serves the socket until either side closes it.
    pub(super) async fn run(mut self) {
        let stopping = self.graphql.backend.stopping();
        let Err(close) = self.serve(stopping).await else { return };
        // Subscriptions end before the closing handshake.
        self.events.clear();
        if timeout(CLOSED_WITHIN, self.socket.send(close.into_message())).await.is_ok() {
            // Closing the connection while the client still sends would discard the close frame.
            timeout(CLOSED_WITHIN, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await.ok();
        }
    }

    /// Returns `Ok` if the client disconnected, otherwise the reason for closing the socket.
    async fn serve(&mut self, mut stopping: BoxFuture<'static, ()>) -> Result<(), Close> {
        // Limit for `connection_init`; after the acknowledgement, the end of the token's validity.
        let mut init_or_expiry = Box::pin(sleep(INIT_WITHIN));
        let mut ping = Box::pin(sleep(PING_EVERY));
        loop {
            let was_acknowledged = self.acknowledged;
            tokio::select! {
                received = self.socket.recv() => match received {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(message)) => self.receive(message).await?,
                    Some(Err(error)) => return read_failure(&error).map_or(Ok(()), Err),
                },
                Some((id, payload)) = self.events.next() => self.send_event(&id, payload).await?,
                () = &mut ping => {
                    ping.as_mut().reset(Instant::now() + PING_EVERY);
                    self.ping().await?;
                }
                () = &mut init_or_expiry => {
                    return Err(if self.acknowledged { Close::TOKEN_EXPIRED } else { Close::INIT_TOO_LATE });
                }
                () = &mut stopping => return Err(Close::GOING_AWAY),
            }
            if let (false, true, Some(caller)) = (was_acknowledged, self.acknowledged, &self.caller) {
                init_or_expiry.as_mut().reset(Instant::now() + caller.valid_for(self.graphql.backend.now()));
            }
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), Close> {
        self.received_since_ping = true;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Close::BINARY_MESSAGE),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        match message::read(&text)? {
            ClientMessage::Init(_) if self.acknowledged => Err(Close::INIT_TWICE),
            ClientMessage::Init(authorization) => {
                if let Some(authorization) = authorization {
                    let caller = self.auth.caller_of_header(&authorization, self.graphql.backend.now());
                    self.caller = Some(caller.map_err(|_| Close::INVALID_TOKEN)?);
                }
                let caller = self.caller.as_ref().ok_or(Close::INVALID_TOKEN)?;
                if self.permit.as_ref().is_none_or(|permit| !permit.is_for(caller)) {
                    self.permit = Some(self.sockets.take(caller).map_err(|_| Close::TOO_MANY_SOCKETS)?);
                }
                drop(self.unauthenticated.take());
                self.acknowledged = true;
                self.send(message::acknowledged()).await
            }
            ClientMessage::Ping => self.send(message::pong()).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe(id, request) => self.subscribe(id.into(), request).await,
            ClientMessage::Complete(id) => {
                if let Some(handle) = self.subscriptions.remove(&*id) {
                    handle.abort();
                }
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: Arc<str>, request: GraphqlRequest) -> Result<(), Close> {
        let Some(caller) = self.caller.clone().filter(|_| self.acknowledged) else {
            return Err(Close::SUBSCRIBED_BEFORE_INIT);
        };
        if self.subscriptions.contains_key(&id) {
            return Err(Close::id_in_use(&id));
        }
        if self.subscriptions.len() >= SOCKET_SUBSCRIPTIONS_MOST {
            let message = format!("a socket has at most {SOCKET_SUBSCRIPTIONS_MOST} subscriptions");
            let error = json!([{ "message": message, "extensions": { "code": "TOO_MANY_SUBSCRIPTIONS" } }]);
            return self.send(message::payload(&id, SubscriptionMessage::Error(error))).await;
        }
        let started = check(&self.graphql, request)
            .and_then(|checked| subscribe(&self.graphql, caller, self.correlation, checked));
        match started {
            Ok(payloads) => {
                let (each, end) = (Arc::clone(&id), Arc::clone(&id));
                let payloads = payloads.map(move |payload| (Arc::clone(&each), Some(payload)));
                let (events, handle) = abortable(payloads.chain(stream::once(async move { (end, None) })));
                self.subscriptions.insert(id, handle);
                self.events.push(events.boxed());
                Ok(())
            }
            Err((_, body)) => {
                self.send(message::payload(&id, SubscriptionMessage::Error(body["errors"].clone()))).await
            }
        }
    }

    /// Sends a message or the end of a subscription. An error ends its own subscription only.
    async fn send_event(&mut self, id: &str, payload: Option<SubscriptionMessage>) -> Result<(), Close> {
        let Some(handle) = self.subscriptions.get(id) else { return Ok(()) };
        if !matches!(payload, Some(SubscriptionMessage::Next(_))) {
            handle.abort();
            self.subscriptions.remove(id);
        }
        self.send(payload.map_or_else(|| message::complete(id), |payload| message::payload(id, payload))).await
    }

    async fn ping(&mut self) -> Result<(), Close> {
        if !self.received_since_ping {
            return Err(Close::PINGS_UNANSWERED);
        }
        self.received_since_ping = false;
        self.send(Message::Ping(axum::body::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        match timeout(SENT_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // A failed send gets the same reason, which a disconnected client does not receive.
            Ok(Err(_)) | Err(_) => Err(Close::TOO_SLOW),
        }
    }
}

/// Reason for closing the socket after a failed read; `None` if the connection is gone. axum hides the kind of the
/// error; only its text shows it.
fn read_failure(error: &axum::Error) -> Option<Close> {
    let text = error.to_string();
    if text.starts_with("Space limit exceeded") {
        return Some(Close::MESSAGE_TOO_LARGE);
    }
    if text.starts_with("UTF-8 encoding error") {
        return Some(Close::INVALID_UTF8);
    }
    let is_violation = text.starts_with("WebSocket protocol error") && !text.contains("without closing handshake");
    is_violation.then_some(Close::PROTOCOL_VIOLATION)
}
