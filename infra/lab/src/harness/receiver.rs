//! A receiver of webhooks: an HTTP server that keeps the messages it received and fails on demand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// Reaction of the receiver to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverReply {
    /// Answers 204.
    Accepted,
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and a `retry-after` of this many seconds.
    RetryAfter(u16, u64),
    /// Answers 301 with another path of the receiver.
    Redirect,
    /// Keeps the connection open and sends no answer within ten minutes.
    NoAnswer,
    /// Closes the connection without an answer.
    Cut,
    /// Answers 200 with a body that does not end.
    EndlessBody,
    /// Answers 200 with a body of ten megabytes.
    LargeBody,
    /// Answers 204 after 1.2 seconds, which counts as slow.
    SlowAccepted,
}

/// One message as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The `webhook-id`.
    pub id: Uuid,
    /// The `webhook-timestamp`.
    pub timestamp: String,
    /// The `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: String,
    /// Path and query.
    pub path: String,
    /// Time of receipt.
    pub at: Instant,
    /// Reaction of the receiver.
    pub reply: ReceiverReply,
}

/// Messages that were received, and the reactions to the next ones.
#[derive(Default)]
struct ReceiverBook {
    messages: Vec<Received>,
    next: VecDeque<ReceiverReply>,
    /// Reaction to all messages after `next`.
    usual: Option<ReceiverReply>,
}

/// A receiver at an address of its own.
pub struct Receiver {
    /// The address it listens on.
    pub address: SocketAddr,
    book: Arc<Mutex<ReceiverBook>>,
    serving: JoinHandle<()>,
}

impl Received {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a message is JSON")
    }

    /// The type of the event.
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a message has a type").to_owned()
    }

    /// The tenant position of the event.
    pub fn position(&self) -> i64 {
        self.json()["position"].as_i64().expect("a message has a position")
    }
}

impl Receiver {
    /// Starts the server on 127.0.0.1, without TLS.
    pub async fn open() -> Result<Self> {
        Self::open_at("127.0.0.1", None).await
    }

    /// Starts the server on this host name or address, with TLS if there is an acceptor.
    pub async fn open_at(host: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<ReceiverBook>>::default());
        let shared = book.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(book, stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(book, stream).await,
                            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
                        },
                    }
                });
            }
        });
        Ok(Self { address, book, serving })
    }

    /// Sets the reactions to the next messages, and to all that follow.
    pub fn replies(&self, next: &[ReceiverReply], usual: ReceiverReply) {
        let mut book = self.book.lock().expect("the book is not poisoned");
        (book.next, book.usual) = (next.iter().copied().collect(), Some(usual));
    }

    /// Every message, in the order of receipt.
    pub fn received(&self) -> Vec<Received> {
        self.book.lock().expect("the book is not poisoned").messages.clone()
    }

    /// Tenant positions of the messages that were answered with 2xx, in the order of receipt.
    pub fn accepted_positions(&self) -> Vec<i64> {
        let was_accepted = |message: &&Received| {
            matches!(message.reply, ReceiverReply::Accepted | ReceiverReply::LargeBody | ReceiverReply::SlowAccepted)
        };
        self.received().iter().filter(was_accepted).map(Received::position).collect()
    }

    /// URL for a subscription, with a query string.
    pub fn url(&self) -> String {
        format!("http://{}/hook?shop=7", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(book: Arc<Mutex<ReceiverBook>>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = service_fn(|request| answer(book.clone(), request));
    // An error here is a connection that was closed, which tests do on purpose.
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
}

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

async fn answer(book: Arc<Mutex<ReceiverBook>>, request: Request<Incoming>) -> Result<Answer> {
    let header = |name: &str| {
        let value = request.headers().get(name).with_context(|| format!("no {name}"))?;
        Ok::<_, anyhow::Error>(value.to_str()?.to_owned())
    };
    let (id, timestamp) = (header("webhook-id")?.parse()?, header("webhook-timestamp")?);
    let (signature, path) = (header("webhook-signature")?, request.uri().to_string());
    let body = String::from_utf8(request.into_body().collect().await?.to_bytes().into())?;
    let reply = {
        let mut book = book.lock().expect("the book is not poisoned");
        let usual = book.usual.unwrap_or(ReceiverReply::Accepted);
        let reply = book.next.pop_front().unwrap_or(usual);
        book.messages.push(Received { id, timestamp, signature, body, path, at: Instant::now(), reply });
        reply
    };
    let text = |text: &'static str| UnsyncBoxBody::new(Full::from(text));
    let answer = Response::builder();
    Ok(match reply {
        ReceiverReply::Accepted => answer.status(204).body(text(""))?,
        ReceiverReply::SlowAccepted => {
            sleep(Duration::from_millis(1_200)).await;
            answer.status(204).body(text(""))?
        }
        ReceiverReply::Status(status) => answer.status(status).body(text("no"))?,
        ReceiverReply::RetryAfter(status, seconds) => {
            answer.status(status).header("retry-after", seconds).body(text(""))?
        }
        ReceiverReply::Redirect => answer.status(301).header("location", "/elsewhere").body(text(""))?,
        ReceiverReply::NoAnswer => {
            sleep(Duration::from_secs(600)).await;
            bail!("no answer, on purpose")
        }
        ReceiverReply::Cut => bail!("the connection is cut"),
        ReceiverReply::EndlessBody => {
            let bytes = stream::unfold((), |()| async {
                sleep(Duration::from_millis(50)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"."))), ()))
            });
            answer.status(200).body(UnsyncBoxBody::new(StreamBody::new(bytes)))?
        }
        ReceiverReply::LargeBody => {
            answer.status(200).body(UnsyncBoxBody::new(Full::from(vec![b'x'; 10 * 1024 * 1024])))?
        }
    })
}
