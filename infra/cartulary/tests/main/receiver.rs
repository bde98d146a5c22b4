//! Somebody outside who is sent webhooks: a real HTTP server that keeps what it got, and fails as such people's servers do.

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

/// How one message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Fine,
    Status(u16),
    /// Wants to be left alone for so many seconds.
    Busy(u16, u64),
    /// Sends on to itself.
    Moved,
    /// Never answers.
    Silent,
    /// The connection is cut.
    Cut,
    /// Answers, and its words never end.
    Endless,
    /// Answers with ten megabytes.
    Wordy,
    /// Takes it well, after more than a second.
    Late,
}

/// One message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: String,
    pub(crate) path: String,
    pub(crate) at: Instant,
    pub(crate) taken: Taken,
}

#[derive(Default)]
struct Book {
    messages: Vec<Message>,
    next: VecDeque<Taken>,
    usual: Option<Taken>,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    serving: JoinHandle<()>,
}

impl Message {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a message is JSON")
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a message has a type").to_owned()
    }

    pub(crate) fn position(&self) -> i64 {
        self.json()["position"].as_i64().expect("a message has a position")
    }
}

impl Receiver {
    pub(crate) async fn open() -> Result<Self> {
        Self::open_at("127.0.0.1", None).await
    }

    /// At an address of this machine; with TLS, if it has a certificate.
    pub(crate) async fn open_at(host: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<Book>>::default());
        let shared = book.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(book, stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(book, stream).await,
                            Err(error) => tracing::debug!(%error, "nobody speaks TLS there"),
                        },
                    }
                });
            }
        });
        Ok(Self { address, book, serving })
    }

    /// How the next messages are taken, and those after them.
    pub(crate) fn is(&self, next: &[Taken], usual: Taken) {
        let mut book = self.book.lock().expect("nobody panics with the book");
        (book.next, book.usual) = (next.iter().copied().collect(), Some(usual));
    }

    /// Everything that ever came.
    pub(crate) fn got(&self) -> Vec<Message> {
        self.book.lock().expect("nobody panics with the book").messages.clone()
    }

    /// The positions of what was taken well, in the order in which it came.
    pub(crate) fn positions(&self) -> Vec<i64> {
        let well = |message: &&Message| matches!(message.taken, Taken::Fine | Taken::Wordy | Taken::Late);
        self.got().iter().filter(well).map(Message::position).collect()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?shop=7", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(book: Arc<Mutex<Book>>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = service_fn(|request| answer(book.clone(), request));
    // An error here is a connection that was cut, on purpose.
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
}

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

async fn answer(book: Arc<Mutex<Book>>, request: Request<Incoming>) -> Result<Answer> {
    let header = |name: &str| {
        let value = request.headers().get(name).with_context(|| format!("no {name}"))?;
        Ok::<_, anyhow::Error>(value.to_str()?.to_owned())
    };
    let (id, timestamp) = (header("webhook-id")?.parse()?, header("webhook-timestamp")?);
    let (signature, path) = (header("webhook-signature")?, request.uri().to_string());
    let body = String::from_utf8(request.into_body().collect().await?.to_bytes().into())?;
    let taken = {
        let mut book = book.lock().expect("nobody panics with the book");
        let usual = book.usual.unwrap_or(Taken::Fine);
        let taken = book.next.pop_front().unwrap_or(usual);
        book.messages.push(Message { id, timestamp, signature, body, path, at: Instant::now(), taken });
        taken
    };
    let text = |text: &'static str| UnsyncBoxBody::new(Full::from(text));
    let answer = Response::builder();
    Ok(match taken {
        Taken::Fine => answer.status(204).body(text(""))?,
        Taken::Late => {
            sleep(Duration::from_millis(1_200)).await;
            answer.status(204).body(text(""))?
        }
        Taken::Status(status) => answer.status(status).body(text("no"))?,
        Taken::Busy(status, seconds) => answer.status(status).header("retry-after", seconds).body(text(""))?,
        Taken::Moved => answer.status(301).header("location", "/elsewhere").body(text(""))?,
        Taken::Silent => {
            sleep(Duration::from_secs(60)).await;
            bail!("nobody listens any more")
        }
        Taken::Cut => bail!("the connection is cut"),
        Taken::Endless => {
            let drops = stream::unfold((), |()| async {
                sleep(Duration::from_millis(50)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"."))), ()))
            });
            answer.status(200).body(UnsyncBoxBody::new(StreamBody::new(drops)))?
        }
        Taken::Wordy => answer.status(200).body(UnsyncBoxBody::new(Full::from(vec![b'x'; 10 * 1024 * 1024])))?,
    })
}
