//! One socket from its first message to its last. One task serves all of its subscriptions: what a slow reader has not
//! taken yet waits where rows are watched, the last value of each row, and not here.

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

use super::message::{self, Close, Said};
use crate::auth::Caller;
use crate::front::{Front, Place};
use crate::graphql::{Asked, Told, check, subscribe};

/// Who says nothing after opening a socket holds a place that others could have.
const INIT_WITHIN: Duration = Duration::from_secs(3);
/// A message that is not taken by then is not wanted.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// How often the other side must show that it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long the other side has to say goodbye.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// Subscriptions on one socket.
const SUBSCRIPTIONS_MOST: usize = 100;

/// What is told of a subscription; nothing at its end.
type Line = (Arc<str>, Option<Told>);

pub(super) struct Conversation {
    socket: WebSocket,
    front: Arc<Front>,
    /// Who calls, once that is known.
    caller: Option<Caller>,
    correlation: Option<Uuid>,
    /// What the socket takes of what this caller may have open.
    place: Option<Place>,
    /// Until it is known who calls.
    anteroom: Option<OwnedSemaphorePermit>,
    acknowledged: bool,
    running: SelectAll<BoxStream<'static, Line>>,
    ids: HashMap<Arc<str>, AbortHandle>,
    /// Whether anything came since the last ping.
    heard: bool,
}

impl Conversation {
    pub(super) fn new(
        socket: WebSocket,
        front: Arc<Front>,
        caller: Option<Caller>,
        correlation: Option<Uuid>,
        place: Option<Place>,
        anteroom: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (running, ids) = (SelectAll::new(), HashMap::new());
        Self { socket, front, caller, correlation, place, anteroom, acknowledged: false, running, ids, heard: true }
    }

    /// Talks until either side has had enough.
    pub(super) async fn hold(mut self) {
        let stopping = self.front.backend.stopping();
        let Err(close) = self.talk(stopping).await else { return };
        // What is watched for this socket is let go first.
        self.running.clear();
        if timeout(CLOSED_WITHIN, self.socket.send(close.into_message())).await.is_ok() {
            // Closing while the other side still sends would take the reason away from it.
            timeout(CLOSED_WITHIN, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await.ok();
        }
    }

    /// Nothing where the other side has gone.
    async fn talk(&mut self, mut stopping: BoxFuture<'static, ()>) -> Result<(), Close> {
        let mut deadline = Box::pin(sleep(INIT_WITHIN));
        let mut ping = Box::pin(sleep(PING_EVERY));
        loop {
            let was_acknowledged = self.acknowledged;
            tokio::select! {
                received = self.socket.recv() => match received {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(message)) => self.take(message).await?,
                    Some(Err(error)) if is_too_large(&error) => return Err(Close::TOO_LARGE),
                    Some(Err(_)) => return Ok(()),
                },
                Some((id, told)) = self.running.next() => self.tell(&id, told).await?,
                () = &mut ping => {
                    ping.as_mut().reset(Instant::now() + PING_EVERY);
                    self.ping().await?;
                }
                () = &mut deadline => return Err(if self.acknowledged { Close::EXPIRED } else { Close::LATE }),
                () = &mut stopping => return Err(Close::GOING_AWAY),
            }
            if let (false, true, Some(caller)) = (was_acknowledged, self.acknowledged, &self.caller) {
                deadline.as_mut().reset(Instant::now() + counts_for(&self.front, caller));
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), Close> {
        self.heard = true;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Close::NO_TEXT),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        match message::read(&text)? {
            Said::Init(_) if self.acknowledged => Err(Close::TWICE),
            Said::Init(authorization) => {
                if let Some(authorization) = authorization {
                    let caller = self.front.auth.caller_by(&authorization, self.front.backend.now());
                    self.caller = Some(caller.map_err(|_| Close::FORBIDDEN)?);
                }
                let caller = self.caller.as_ref().ok_or(Close::FORBIDDEN)?;
                if self.place.as_ref().is_none_or(|place| !place.is_for(caller)) {
                    self.place = Some(self.front.sockets.take(caller).map_err(|_| Close::FULL)?);
                }
                drop(self.anteroom.take());
                self.acknowledged = true;
                self.send(message::acknowledged()).await
            }
            Said::Ping => self.send(message::pong()).await,
            Said::Pong => Ok(()),
            Said::Subscribe(id, asked) => self.subscribe(id.into(), asked).await,
            Said::Complete(id) => {
                if let Some(running) = self.ids.remove(&*id) {
                    running.abort();
                }
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: Arc<str>, asked: Asked) -> Result<(), Close> {
        let Some(caller) = self.caller.clone().filter(|_| self.acknowledged) else { return Err(Close::UNAUTHORIZED) };
        if self.ids.contains_key(&id) {
            return Err(Close::used(&id));
        }
        if self.ids.len() >= SUBSCRIPTIONS_MOST {
            let message = format!("a socket has at most {SUBSCRIPTIONS_MOST} subscriptions");
            let error = json!([{ "message": message, "extensions": { "code": "TOO_MANY_SUBSCRIPTIONS" } }]);
            return self.send(message::told(&id, Told::Error(error))).await;
        }
        let begun =
            check(&self.front, asked).and_then(|checked| subscribe(&self.front, caller, self.correlation, checked));
        match begun {
            Ok(told) => {
                let (lines, own) = (Arc::clone(&id), Arc::clone(&id));
                let told = told.map(move |told| (Arc::clone(&lines), Some(told)));
                let (told, running) = abortable(told.chain(stream::once(async move { (own, None) })));
                self.ids.insert(id, running);
                self.running.push(told.boxed());
                Ok(())
            }
            Err((_, body)) => self.send(message::told(&id, Told::Error(body["errors"].clone()))).await,
        }
    }

    /// An error ends its subscription and no other.
    async fn tell(&mut self, id: &str, told: Option<Told>) -> Result<(), Close> {
        let Some(running) = self.ids.get(id) else { return Ok(()) };
        if !matches!(told, Some(Told::Next(_))) {
            running.abort();
            self.ids.remove(id);
        }
        self.send(told.map_or_else(|| message::complete(id), |told| message::told(id, told))).await
    }

    async fn ping(&mut self) -> Result<(), Close> {
        if !self.heard {
            return Err(Close::SILENT);
        }
        self.heard = false;
        self.send(Message::Ping(axum::body::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        match timeout(TAKEN_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // Whoever has gone hears nothing of it either.
            Ok(Err(_)) | Err(_) => Err(Close::TOO_SLOW),
        }
    }
}

/// How long a caller's token counts from now on.
pub(super) fn counts_for(front: &Front, caller: &Caller) -> Duration {
    let left = caller.until.micros().saturating_sub(front.backend.now().micros());
    Duration::from_micros(u64::try_from(left).unwrap_or(0))
}

fn is_too_large(error: &axum::Error) -> bool {
    // axum keeps the kind of error to itself, and says what it was.
    error.to_string().starts_with("Space limit exceeded")
}
