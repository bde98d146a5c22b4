//! A reader of subscriptions that speaks `graphql-transport-ws` as its pages say, and nothing of ours.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lab::fleet::Member;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a socket with these headers beside the protocol's; the status where it is refused.
    pub(crate) async fn connect(engine: &Member, headers: &[(&'static str, String)]) -> Result<Result<Self, u16>> {
        Self::connect_with(engine, headers, TcpSocket::new_v4()?).await
    }

    async fn connect_with(
        engine: &Member,
        headers: &[(&'static str, String)],
        socket: TcpSocket,
    ) -> Result<Result<Self, u16>> {
        let place = engine.url.strip_prefix("http://").context("an address")?;
        let mut request = format!("ws://{place}/graphql").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let stream = socket.connect(place.parse()?).await?;
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Ok(Self(socket))),
            Err(Error::Http(answer)) => Ok(Err(answer.status().as_u16())),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a socket and says whose it is in the first message.
    pub(crate) async fn open(engine: &Member, token: &str) -> Result<Self> {
        Self::connect(engine, &[]).await?.ok().context("it is opened")?.greeted(token).await
    }

    /// The same, with next to no room for what was not read yet.
    pub(crate) async fn open_narrow(engine: &Member, token: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        Self::connect_with(engine, &[], socket).await?.ok().context("it is opened")?.greeted(token).await
    }

    async fn greeted(mut self, token: &str) -> Result<Self> {
        let payload = json!({ "authorization": format!("Bearer {token}") });
        self.say(json!({ "type": "connection_init", "payload": payload })).await?;
        ensure!(self.hear().await? == json!({ "type": "connection_ack" }), "it is acknowledged");
        Ok(self)
    }

    pub(crate) async fn say(&mut self, message: Value) -> Result<()> {
        self.send(Message::text(message.to_string())).await
    }

    pub(crate) async fn send(&mut self, message: Message) -> Result<()> {
        Ok(self.0.send(message).await?)
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str) -> Result<()> {
        self.say(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Result<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.context("nothing is said")?.context("it is closed")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("it is closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next message of a subscription.
    pub(crate) async fn told(&mut self, id: &str) -> Result<Value> {
        loop {
            let message = self.hear().await?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// The next update of a subscription: what its one field shows.
    pub(crate) async fn update(&mut self, id: &str) -> Result<Value> {
        let mut message = self.told(id).await?;
        ensure!(message["type"] == "next", "{message}");
        let data = message["payload"]["data"].as_object_mut().context("data")?;
        data.values_mut().next().map(Value::take).context("one field")
    }

    /// The update of a subscription that shows something, however many come before.
    pub(crate) async fn update_with(&mut self, id: &str, what: &str, wanted: Value) -> Result<Value> {
        loop {
            let update = self.update(id).await?;
            if update.pointer(what) == Some(&wanted) {
                return Ok(update);
            }
        }
    }

    /// With which code and reason it is closed.
    pub(crate) async fn closed(&mut self) -> Result<(u16, String)> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.context("it is not closed")?.context("no close frame")?? {
                Message::Close(Some(frame)) => return Ok((frame.code.into(), frame.reason.to_string())),
                Message::Close(None) => bail!("it is closed without a word"),
                _ => {}
            }
        }
    }
}

/// A reader of server-sent events.
pub(crate) struct Events {
    body: hyper::body::Incoming,
    read: String,
}

impl Events {
    /// Subscribes with one request.
    pub(crate) async fn open(engine: &Member, token: &str, query: &str) -> Result<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = hyper::Request::post(format!("{}/graphql", engine.url))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(Full::new(json!({ "query": query }).to_string().into()))?;
        let answer = timeout(PATIENCE, http.request(request)).await??;
        ensure!(answer.headers()["content-type"] == "text/event-stream", "{answer:?}");
        Ok(Self { body: answer.into_body(), read: String::new() })
    }

    /// The next event as it was written.
    pub(crate) async fn next(&mut self) -> Result<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if !event.starts_with(':') {
                    return Ok(event);
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.context("nothing is told")?.context("it ends")??;
            self.read += std::str::from_utf8(&frame.into_data().unwrap_or_default())?;
        }
    }
}
