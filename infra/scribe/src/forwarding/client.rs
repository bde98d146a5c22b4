//! Dispatch of commands: to the scribe of this process, or forwarded to the process that owns their lane.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use commands::kernel::{NotNow, StateRegistry};
use commands::scribe::{Answer, Envelope, LaneId};
use domain::shared::TenantId;
use event_log::Routes;
use foldhash::HashMap;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::clock::now;
use platform::clock_monitor::ClockMonitor;
use platform::connectivity::within_statement_timeout;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failures::ForwardingFailures;
use super::message::{ForwardedAnswer, ForwardedCommand, ForwardedCommands, PATH, SIGNATURE_HEADER};
use super::signature::ForwardingKey;
use crate::handle::ScribeHandle;
use crate::presence;

/// Lifetime of a cached owner address, interval of the background checks, and time limit of a probe.
const ADDRESS_TTL: Duration = Duration::from_secs(1);
/// Time after which no further attempt is made while a lane changes its owner. Callers then retry with the same ids.
const ATTEMPTS_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Time limit for connecting to an owner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Role of the processes that run the scribe.
const SCRIBE: &str = "scribe";
/// Maximum size of an answer in bytes.
const ANSWER_BYTES_MOST: usize = 16 * 1024 * 1024;

/// Owner address of each lane and the time of the look-up; `None` for a lane whose owner has no valid lease or no
/// address.
type OwnerCache = HashMap<LaneId, (Option<String>, Instant)>;

/// Submits commands to the owner of their lane, in this process or another one.
#[derive(Clone)]
pub struct Dispatch {
    local: Option<ScribeHandle>,
    routes: Routes,
    pool: PgPool,
    key: ForwardingKey,
    registry: Arc<StateRegistry>,
    http: Client<HttpConnector, Full<Bytes>>,
    owners: Arc<RwLock<OwnerCache>>,
    failures: Arc<ForwardingFailures>,
    /// While the clock of this process is off, no owner of a lane would accept its commands.
    clock: ClockMonitor,
    /// Names of the processes that run the scribe; `None` while the store cannot be reached.
    scribes: watch::Receiver<Option<Vec<String>>>,
    /// Sender that never sends: keeps the receivers of [`written`](Self::written) open in a process without a scribe.
    never: Arc<watch::Sender<u64>>,
}

impl Dispatch {
    /// Starts with the scribe of this process, if it runs one; without it, watches for processes that do.
    pub async fn start(
        pool: PgPool,
        local: Option<ScribeHandle>,
        key: ForwardingKey,
        states: StateRegistry,
        clock: ClockMonitor,
        stop: CancellationToken,
    ) -> Result<Self, sqlx::Error> {
        let (names, scribes) = watch::channel(Some(presence::members(&pool, SCRIBE).await?));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let routes = local.as_ref().map_or_else(|| Routes::new(pool.clone()), |local| local.routes().clone());
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let (registry, never) = (Arc::new(states), Arc::new(watch::Sender::new(0)));
        let (owners, failures) = (Arc::default(), Arc::default());
        let dispatch = Self { local, routes, pool, key, registry, http, owners, failures, clock, scribes, never };
        let names = dispatch.local.is_none().then_some(names);
        // The task has no handle of the scribe: its loops end when the last handle is dropped.
        tokio::spawn(Self { local: None, ..dispatch.clone() }.watch_scribes(names, stop));
        Ok(dispatch)
    }

    /// Reasons for which commands of some lanes cannot be acknowledged now; empty if there are none.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = match &self.local {
            Some(local) => local.problems(),
            None => match &*self.scribes.borrow() {
                None => vec!["the store cannot be reached".into()],
                Some(names) if names.is_empty() => vec!["no process writes lanes".into()],
                Some(_) => vec![],
            },
        };
        problems.extend(self.failures.problems());
        problems
    }

    /// Changes after each commit of this process; never in a process without a scribe.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.local.as_ref().map_or_else(|| self.never.subscribe(), ScribeHandle::written)
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Submits the commands of one request. They are decided in their order; there is one answer per command, in the
    /// same order.
    pub async fn submit(&self, tenant: TenantId, from_engine: bool, commands: Vec<Envelope>) -> Vec<Answer> {
        let count = commands.len();
        if let Some(difference) = self.clock.problem() {
            return vec![Answer::NotNow(NotNow::ClockOff(difference)); count];
        }
        let Ok(lane) = self.routes.lane(tenant).await else {
            return vec![Answer::NotNow(NotNow::StoreAway); count];
        };
        if let Some(local) = &self.local {
            // The local scribe takes over a lane without a reachable owner.
            if local.owns(lane) || matches!(self.owner_address(lane).await, Ok(None)) {
                return local.submit(tenant, from_engine, commands).await;
            }
        }
        let forwarded: Result<Vec<_>, _> = commands.iter().map(ForwardedCommand::from_envelope).collect();
        let body = forwarded.and_then(|commands| {
            serde_json::to_vec(&ForwardedCommands { tenant, from_engine, commands }).map(Bytes::from)
        });
        match body {
            Ok(body) => self.forward(lane, body, count).await,
            Err(error) => vec![Answer::Fault(error.to_string()); count],
        }
    }

    /// Sends a request to the owner of the lane until each command has a final answer, or the time for attempts is
    /// over. A repeated attempt is safe, because the commands keep their ids.
    async fn forward(&self, lane: LaneId, body: Bytes, count: usize) -> Vec<Answer> {
        let until = Instant::now() + ATTEMPTS_TIMEOUT;
        let mut first: Vec<Option<Answer>> = vec![None; count];
        loop {
            let reason = match self.owner_address(lane).await {
                Ok(Some(address)) => match self.request_owner(lane, &address, body.clone()).await {
                    Ok(answers) if answers.len() == count => {
                        let incomplete = keep_first(&mut first, answers);
                        if !incomplete {
                            return first.into_iter().flatten().collect();
                        }
                        NotNow::LaneElsewhere
                    }
                    Ok(_) => NotNow::LaneElsewhere,
                    Err(error) => {
                        tracing::debug!(lane = lane.0, address, %error, "forwarded commands were not answered");
                        NotNow::LaneElsewhere
                    }
                },
                Ok(None) => NotNow::LaneElsewhere,
                Err(_) => NotNow::StoreAway,
            };
            if Instant::now() > until {
                let reason = Answer::NotNow(reason);
                return first.into_iter().map(|answer| answer.unwrap_or_else(|| reason.clone())).collect();
            }
            self.forget_owner(lane);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends a request, and waits for the answer only while this address owns the lane: a frozen process does not
    /// answer, but loses the lane.
    async fn request_owner(&self, lane: LaneId, address: &str, body: Bytes) -> anyhow::Result<Vec<Answer>> {
        let request = self.request(address, body);
        tokio::pin!(request);
        loop {
            tokio::select! {
                answers = &mut request => {
                    self.failures.record(address, answers.as_ref().err());
                    return answers;
                }
                () = tokio::time::sleep(ADDRESS_TTL) => {}
            }
            let owner = self.owner_address(lane).await;
            anyhow::ensure!(
                owner.is_err() || owner.is_ok_and(|owner| owner.as_deref() == Some(address)),
                "the lane has another owner now"
            );
        }
    }

    async fn request(&self, address: &str, body: Bytes) -> anyhow::Result<Vec<Answer>> {
        let request = Request::post(format!("http://{address}{PATH}"))
            .header(SIGNATURE_HEADER, self.key.sign(&body, now()))
            .body(Full::new(body))?;
        let answered = async {
            let response = self.http.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MOST).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            anyhow::ensure!(
                status != StatusCode::UNAUTHORIZED,
                "the signature was refused; check that all processes have the same outer key and clock"
            );
            anyhow::ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
            let answers: Vec<ForwardedAnswer> = serde_json::from_slice(&body)?;
            Ok(answers.into_iter().map(|answer| answer.into_answer(&self.registry)).collect())
        };
        tokio::time::timeout(REQUEST_TIMEOUT, answered).await?
    }

    /// Address of the lane's owner; `None` if its lease has expired or it has no address.
    async fn owner_address(&self, lane: LaneId) -> Result<Option<String>, sqlx::Error> {
        let cached = self.owners.read().ok().and_then(|owners| owners.get(&lane).cloned());
        if let Some((address, looked_up_at)) = cached
            && looked_up_at.elapsed() < ADDRESS_TTL
        {
            return Ok(address);
        }
        let text = "SELECT address FROM log.lanes WHERE lane = $1 AND lease > clock_timestamp() AND address <> ''";
        let address: Option<String> =
            within_statement_timeout(sqlx::query_scalar(text).bind(lane.0).fetch_optional(&self.pool)).await?;
        if let Ok(mut owners) = self.owners.write() {
            owners.insert(lane, (address.clone(), Instant::now()));
        }
        Ok(address)
    }

    fn forget_owner(&self, lane: LaneId) {
        if let Ok(mut owners) = self.owners.write() {
            owners.remove(&lane);
        }
    }

    /// Updates the names of the processes that run the scribe, and checks failing owners again, until `stop`.
    async fn watch_scribes(self, scribes: Option<watch::Sender<Option<Vec<String>>>>, stop: CancellationToken) {
        while tokio::time::timeout(ADDRESS_TTL, stop.cancelled()).await.is_err() {
            if let Some(scribes) = &scribes {
                let names = presence::members(&self.pool, SCRIBE).await.ok();
                scribes.send_if_modified(|known| std::mem::replace(known, names.clone()) != names);
            }
            let addresses = self.failures.addresses();
            if addresses.is_empty() {
                continue;
            }
            let text = "SELECT DISTINCT address FROM log.lanes WHERE lease > clock_timestamp()";
            let Ok(owners) = within_statement_timeout(sqlx::query_scalar(text).fetch_all(&self.pool)).await else {
                continue;
            };
            self.failures.retain(&owners);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.probe(&addresses) => {}
            }
        }
    }

    /// Sends requests without commands to failing owners, so that recovery is noticed even without callers.
    async fn probe(&self, addresses: &[String]) {
        let request = ForwardedCommands { tenant: TenantId::PLATFORM, from_engine: true, commands: vec![] };
        let Ok(body) = serde_json::to_vec(&request).map(Bytes::from) else { return };
        for address in addresses {
            let answered = tokio::time::timeout(ADDRESS_TTL, self.request(address, body.clone())).await;
            let answered = answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {ADDRESS_TTL:?}")));
            self.failures.record(address, answered.err().as_ref());
        }
    }
}

/// Adds the answers of an attempt to those of earlier attempts. The first final answer of a command stays, so that it
/// does not count as replayed because its request was sent twice. Returns true if a command still has no final answer.
fn keep_first(first: &mut [Option<Answer>], answers: Vec<Answer>) -> bool {
    let mut incomplete = false;
    for (first, answer) in first.iter_mut().zip(answers) {
        match is_elsewhere(&answer) {
            true => incomplete |= first.is_none(),
            false => _ = first.get_or_insert(answer),
        }
    }
    incomplete
}

/// True if another process will answer: the lane has changed its owner, the owner is shutting down, or it gives its lanes
/// up because its clock is off.
fn is_elsewhere(answer: &Answer) -> bool {
    matches!(answer, Answer::NotNow(NotNow::LaneElsewhere | NotNow::ShuttingDown | NotNow::ClockOff(_)))
}

#[cfg(test)]
mod tests {
    use commands::scribe::{Accepted, Settled};

    use super::*;

    fn accepted(replayed: bool) -> Answer {
        let accepted = Accepted { tenant_position: 1, epoch: 1, recorded_at: now(), changed: Default::default() };
        Answer::Settled { settled: Settled::Accepted(accepted), replayed }
    }

    #[test]
    fn first_answer_is_kept_when_a_request_is_sent_twice() {
        let mut first = vec![None, None];
        assert!(keep_first(&mut first, vec![accepted(false), Answer::NotNow(NotNow::LaneElsewhere)]));
        assert!(!keep_first(&mut first, vec![accepted(true), accepted(false)]));
        assert!(first.iter().all(|answer| matches!(answer, Some(Answer::Settled { replayed: false, .. }))));
    }
}
