//! Clients of subscriptions: `graphql-transport-ws` and server-sent events, written from the specifications and without
//! code of the product.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::WAIT_TIMEOUT;

/// A WebSocket that speaks `graphql-transport-ws`.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a socket with additional headers. The inner error is the HTTP status of a refusal.
    pub async fn connect(url: &str, headers: &[(&'static str, String)]) -> Result<Result<Self, u16>> {
        Self::connect_with(url, headers, TcpSocket::new_v4()?).await
    }

    async fn connect_with(
        url: &str,
        headers: &[(&'static str, String)],
        socket: TcpSocket,
    ) -> Result<Result<Self, u16>> {
        let place = url.strip_prefix("http://").context("an address")?;
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

    /// Opens a socket that sends its token in the first message, and waits for the acknowledgement.
    pub async fn open(url: &str, token: &str) -> Result<Self> {
        Self::connect(url, &[]).await?.ok().context("it is opened")?.acknowledged(token).await
    }

    /// The same with a receive buffer of 4 KB, so that the server soon cannot send to a client that reads nothing.
    pub async fn open_narrow(url: &str, token: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        Self::connect_with(url, &[], socket).await?.ok().context("it is opened")?.acknowledged(token).await
    }

    async fn acknowledged(mut self, token: &str) -> Result<Self> {
        let payload = json!({ "authorization": format!("Bearer {token}") });
        self.send_json(json!({ "type": "connection_init", "payload": payload })).await?;
        ensure!(self.receive().await? == json!({ "type": "connection_ack" }), "it is acknowledged");
        Ok(self)
    }

    /// Sends a message of the protocol.
    pub async fn send_json(&mut self, message: Value) -> Result<()> {
        self.send(Message::text(message.to_string())).await
    }

    /// Sends a frame.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        Ok(self.0.send(message).await?)
    }

    /// Starts a subscription under an id.
    pub async fn subscribe(&mut self, id: &str, query: &str) -> Result<()> {
        self.send_json(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await
    }

    /// The next message. Pings, which come for ever, do not prolong the wait.
    pub async fn receive(&mut self) -> Result<Value> {
        let next = async {
            loop {
                match self.0.next().await.context("it is closed")?? {
                    Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                    Message::Close(frame) => bail!("it is closed: {frame:?}"),
                    _ => {}
                }
            }
        };
        timeout(WAIT_TIMEOUT, next).await.context("no message comes")?
    }

    /// The next message of a subscription.
    pub async fn receive_for(&mut self, id: &str) -> Result<Value> {
        loop {
            let message = self.receive().await?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// The next update of a subscription: the value of its one field.
    pub async fn update(&mut self, id: &str) -> Result<Value> {
        let mut message = self.receive_for(id).await?;
        ensure!(message["type"] == "next", "{message}");
        let data = message["payload"]["data"].as_object_mut().context("data")?;
        data.values_mut().next().map(Value::take).context("one field")
    }

    /// The first update of a subscription that has the wanted value at a JSON pointer.
    pub async fn update_with(&mut self, id: &str, pointer: &str, wanted: Value) -> Result<Value> {
        loop {
            let update = self.update(id).await?;
            if update.pointer(pointer) == Some(&wanted) {
                return Ok(update);
            }
        }
    }

    /// Waits until the socket is closed. Returns code and reason.
    pub async fn closed(&mut self) -> Result<(u16, String)> {
        let closed = async {
            loop {
                match self.0.next().await.context("no close frame")?? {
                    Message::Close(Some(frame)) => return Ok((frame.code.into(), frame.reason.to_string())),
                    Message::Close(None) => bail!("it is closed without a code"),
                    _ => {}
                }
            }
        };
        timeout(WAIT_TIMEOUT, closed).await.context("it is not closed")?
    }
}

/// A stream of server-sent events.
pub struct EventStream {
    body: hyper::body::Incoming,
    read: String,
}

impl EventStream {
    /// Starts a subscription with one request.
    pub async fn open(url: &str, token: &str, query: &str) -> Result<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = hyper::Request::post(format!("{url}/graphql"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(Full::new(json!({ "query": query }).to_string().into()))?;
        let answer = timeout(WAIT_TIMEOUT, http.request(request)).await??;
        ensure!(answer.headers()["content-type"] == "text/event-stream", "{answer:?}");
        Ok(Self { body: answer.into_body(), read: String::new() })
    }

    /// The next event, as text. Comments, which come for ever, do not prolong the wait.
    pub async fn next(&mut self) -> Result<String> {
        timeout(WAIT_TIMEOUT, self.read_event()).await.context("no event comes")?
    }

    async fn read_event(&mut self) -> Result<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if !event.starts_with(':') {
                    return Ok(event);
                }
                continue;
            }
            let frame = self.body.frame().await.context("it ends")??;
            self.read += std::str::from_utf8(&frame.into_data().unwrap_or_default())?;
        }
    }
}
