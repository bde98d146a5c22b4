//! A partner outside, for effects: a real HTTP server that remembers keys, and fails as partners do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use commands::inventory::AdjustStock;
use commands::kernel::{AnyCommand, Commands, Effect, Outcome, Policy, Reactions, Start, Visitor};
use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{StockItemId, TenantId};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;
use work::{Attempt, Target};

/// How the partner takes one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    /// Does it, and the answer never arrives.
    Cut,
    /// Does it, and answers when nobody listens any more.
    Slow,
    /// Does nothing.
    Broken,
    /// Will never do it.
    Unwilling,
}

/// What the partner has seen and done.
#[derive(Default)]
pub(crate) struct Book {
    /// Every request, by tenant, in order.
    pub(crate) asked: BTreeMap<String, Vec<Uuid>>,
    /// What was done, once per key.
    pub(crate) done: BTreeMap<String, BTreeSet<Uuid>>,
    /// How the next requests of a tenant are taken.
    next: BTreeMap<String, VecDeque<Mood>>,
    /// How they are taken after that.
    usual: BTreeMap<String, Mood>,
}

/// The partner, at an address of its own.
pub(crate) struct Partner {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    serving: JoinHandle<()>,
}

impl Partner {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<Book>>::default());
        let shared = book.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = shared.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| answer(book.clone(), request));
                    // An error here is a connection that was cut, on purpose.
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                        .ok();
                });
            }
        });
        Ok(Self { address, book, serving })
    }

    pub(crate) fn is(&self, tenant: TenantId, next: &[Mood], usual: Mood) {
        let mut book = self.book.lock().expect("nobody panics with the book");
        book.next.insert(tenant.to_string(), next.iter().copied().collect());
        book.usual.insert(tenant.to_string(), usual);
    }

    /// The keys of all requests of a tenant, and how many things were done for it.
    pub(crate) fn seen(&self, tenant: TenantId) -> (Vec<Uuid>, usize) {
        let book = self.book.lock().expect("nobody panics with the book");
        let tenant = tenant.to_string();
        (book.asked.get(&tenant).cloned().unwrap_or_default(), book.done.get(&tenant).map_or(0, BTreeSet::len))
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(book: Arc<Mutex<Book>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let tenant = request.uri().path().trim_start_matches('/').to_owned();
    let key: Uuid = request.headers().get("idempotency-key").context("a key")?.to_str()?.parse()?;
    let mood = {
        let mut book = book.lock().expect("nobody panics with the book");
        book.asked.entry(tenant.clone()).or_default().push(key);
        let usual = book.usual.get(&tenant).copied().unwrap_or(Mood::Fine);
        let mood = book.next.get_mut(&tenant).and_then(VecDeque::pop_front).unwrap_or(usual);
        if matches!(mood, Mood::Fine | Mood::Cut | Mood::Slow) {
            book.done.entry(tenant).or_default().insert(key);
        }
        mood
    };
    match mood {
        Mood::Fine => {}
        Mood::Cut => bail!("the connection is cut"),
        Mood::Slow => tokio::time::sleep(Duration::from_secs(60)).await,
        Mood::Broken => return Ok(Response::builder().status(500).body(Full::default())?),
        Mood::Unwilling => return Ok(Response::builder().status(422).body(Full::default())?),
    }
    Ok(Response::new(Full::from("\"thank you\"")))
}

/// How the engine reaches it.
pub(crate) struct Line {
    address: SocketAddr,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

impl Line {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, http: HttpClient::builder(TokioExecutor::new()).build_http() }
    }

    async fn post(&self, request: &work::Request) -> Result<(u16, Bytes)> {
        let post = Request::post(format!("http://{}/{}", self.address, request.tenant))
            .header("idempotency-key", request.key.to_string())
            .body(Full::from(request.body.clone()))?;
        let answer = self.http.request(post).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

#[async_trait]
impl Target for Line {
    async fn perform(&self, request: &work::Request) -> Attempt {
        match self.post(request).await {
            Ok((200, body)) => Attempt::Done(serde_json::from_slice(&body).unwrap_or_default()),
            Ok((status @ 400..500, _)) => Attempt::Refused(status.to_string()),
            Ok((status, _)) => Attempt::Failed(status.to_string()),
            Err(error) => Attempt::Failed(error.to_string()),
        }
    }
}

/// The partner sends a sample of what came in; the sample leaves the stock. Every command has an event, so that one
/// that was sent twice shows.
#[derive(Serialize, Deserialize)]
pub(crate) struct SendSample {
    item: StockItemId,
}

impl Effect for SendSample {
    const NAME: &'static str = "send_sample";
    const TARGET: &'static str = "samples";

    fn follow_up(&self, outcome: &Outcome) -> Option<Box<dyn AnyCommand>> {
        let (change, reason) = match outcome {
            Outcome::Done { .. } => (-1, "sample sent"),
            Outcome::Refused { .. } => (-2, "sample refused"),
            Outcome::GivenUp { .. } => return None,
        };
        let (change, reason) = (change.try_into().expect("units"), reason.parse().expect("a reason"));
        Some(Box::new(AdjustStock { item: self.item, change, reason, force: false }))
    }
}

pub(crate) struct SampleOnReceived;

impl Policy for SampleOnReceived {
    const ID: &'static str = "sample_on_received";
    const START: Start = Start::Beginning;
    type Source = StockItem;
    const EVENTS: &'static [&'static str] = &["stock.received"];

    fn react(event: &Recorded<StockEvent>, reactions: &mut Reactions) {
        if let StockEvent::Received { .. } = event.event {
            reactions.effect(SendSample { item: StockItemId::new(event.stream) });
        }
    }
}

/// The house with samples.
pub(crate) fn with_samples() -> Commands {
    let mut commands = Commands::all();
    commands.policy::<SampleOnReceived>();
    commands.effect::<SendSample>();
    commands
}
