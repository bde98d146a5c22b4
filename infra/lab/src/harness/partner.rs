//! A partner for effects: an HTTP server that performs each idempotency key once and fails on demand.

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
use work::{AttemptResult, Target};

/// Reaction of the partner to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerReply {
    /// Performs the effect and answers 200.
    Done,
    /// Performs the effect and closes the connection without an answer.
    DoneThenCut,
    /// Performs the effect and sends no answer within ten minutes.
    DoneWithoutAnswer,
    /// Answers 500 and performs nothing.
    Failed,
    /// Answers 422 and performs nothing.
    Refused,
}

/// Requests that the partner received, effects that it performed, and its next reactions.
#[derive(Default)]
struct PartnerBook {
    /// Keys of all requests, by tenant, in order.
    asked: BTreeMap<String, Vec<Uuid>>,
    /// Keys of the performed effects, by tenant.
    done: BTreeMap<String, BTreeSet<Uuid>>,
    /// Reactions to the next requests of a tenant.
    next: BTreeMap<String, VecDeque<PartnerReply>>,
    /// Reaction to all requests after `next`.
    usual: BTreeMap<String, PartnerReply>,
}

/// A partner at an address of its own.
pub struct Partner {
    /// The address on which it listens.
    pub address: SocketAddr,
    book: Arc<Mutex<PartnerBook>>,
    serving: JoinHandle<()>,
}

impl Partner {
    /// Starts the server.
    pub async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<PartnerBook>>::default());
        let shared = book.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = shared.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| answer(book.clone(), request));
                    // An error here is a connection that was closed, which tests do on purpose.
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                        .ok();
                });
            }
        });
        Ok(Self { address, book, serving })
    }

    /// Sets the reactions to the next requests of a tenant, and to all that follow.
    pub fn replies(&self, tenant: TenantId, next: &[PartnerReply], usual: PartnerReply) {
        let mut book = self.book.lock().expect("the book is not poisoned");
        book.next.insert(tenant.to_string(), next.iter().copied().collect());
        book.usual.insert(tenant.to_string(), usual);
    }

    /// Keys of all requests of a tenant, and the number of effects that the partner performed for it.
    pub fn seen(&self, tenant: TenantId) -> (Vec<Uuid>, usize) {
        let book = self.book.lock().expect("the book is not poisoned");
        let tenant = tenant.to_string();
        (book.asked.get(&tenant).cloned().unwrap_or_default(), book.done.get(&tenant).map_or(0, BTreeSet::len))
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(book: Arc<Mutex<PartnerBook>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let tenant = request.uri().path().trim_start_matches('/').to_owned();
    let key: Uuid = request.headers().get("idempotency-key").context("a key")?.to_str()?.parse()?;
    let reply = {
        let mut book = book.lock().expect("the book is not poisoned");
        book.asked.entry(tenant.clone()).or_default().push(key);
        let usual = book.usual.get(&tenant).copied().unwrap_or(PartnerReply::Done);
        let reply = book.next.get_mut(&tenant).and_then(VecDeque::pop_front).unwrap_or(usual);
        if matches!(reply, PartnerReply::Done | PartnerReply::DoneThenCut | PartnerReply::DoneWithoutAnswer) {
            book.done.entry(tenant).or_default().insert(key);
        }
        reply
    };
    match reply {
        PartnerReply::Done => {}
        PartnerReply::DoneThenCut => bail!("the connection is cut"),
        PartnerReply::DoneWithoutAnswer => tokio::time::sleep(Duration::from_secs(600)).await,
        PartnerReply::Failed => return Ok(Response::builder().status(500).body(Full::default())?),
        PartnerReply::Refused => return Ok(Response::builder().status(422).body(Full::default())?),
    }
    Ok(Response::new(Full::from("\"thank you\"")))
}

/// Target of the effect: calls the partner.
pub struct PartnerClient {
    address: SocketAddr,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

impl PartnerClient {
    /// A client of the partner at an address.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, http: HttpClient::builder(TokioExecutor::new()).build_http() }
    }

    async fn post(&self, request: &work::EffectCall) -> Result<(u16, Bytes)> {
        let post = Request::post(format!("http://{}/{}", self.address, request.tenant))
            .header("idempotency-key", request.key.to_string())
            .body(Full::from(request.body.clone()))?;
        let answer = self.http.request(post).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

#[async_trait]
impl Target for PartnerClient {
    async fn perform(&self, request: &work::EffectCall) -> AttemptResult {
        match self.post(request).await {
            Ok((200, body)) => AttemptResult::Done(serde_json::from_slice(&body).unwrap_or_default()),
            Ok((status @ 400..500, _)) => AttemptResult::Refused(status.to_string()),
            Ok((status, _)) => AttemptResult::Failed(status.to_string()),
            Err(error) => AttemptResult::Failed(error.to_string()),
        }
    }
}

/// Effect for tests: the partner sends a sample of the received stock, and the follow-up takes it out of the stock. Each
/// follow-up causes an event, so the log shows whether one was sent twice.
#[derive(Serialize, Deserialize)]
struct SendSample {
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

/// Policy for tests: asks for one sample when stock is received.
struct SampleOnReceived;

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

/// All commands of the product, with the policy and the effect of samples (target `samples`).
pub fn commands_with_samples() -> Commands {
    let mut commands = Commands::all();
    commands.policy::<SampleOnReceived>();
    commands.effect::<SendSample>();
    commands
}
