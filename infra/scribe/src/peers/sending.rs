//! Where commands go: to a scribe of this process, or in a letter to the process that writes their lane.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use commands::kernel::{NotNow, StateRegistry};
use commands::scribe::{Answer, Envelope, LaneId};
use domain::shared::TenantId;
use foldhash::HashMap;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PeerSeal;
use super::letter::{Letter, Told, Written};
use super::unanswered::Unanswered;
use crate::ScribeHandle;
use crate::presence;
use event_log::Routes;
use platform::clock::now;
use platform::connectivity::answered;

pub(super) const PATH: &str = "/peers/commands";
pub(super) const SEAL: &str = "x-cartulary-seal";

/// How long an address that was looked up is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// How long to go on trying while a lane changes hands. Callers then try again with the same id.
const TRY_FOR: Duration = Duration::from_secs(8);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one letter may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// The role of processes that write lanes.
const SCRIBE: &str = "scribe";
const ANSWER_BYTES_MOST: usize = 16 * 1024 * 1024;

/// Where each lane was found to be written, and when somebody looked; nowhere where nobody was there.
type Addresses = HashMap<LaneId, (Option<String>, Instant)>;

/// Sends commands to whoever writes their lane.
#[derive(Clone)]
pub struct Dispatch {
    here: Option<ScribeHandle>,
    routes: Routes,
    pool: PgPool,
    seal: PeerSeal,
    kinds: Arc<StateRegistry>,
    http: Client<HttpConnector, Full<Bytes>>,
    known: Arc<RwLock<Addresses>>,
    unanswered: Arc<Unanswered>,
    /// The processes that write lanes, where the store can tell.
    writers: watch::Receiver<Option<Vec<String>>>,
    /// Kept so that who waits for news of this process's scribe waits for ever where there is none.
    silence: Arc<watch::Sender<u64>>,
}

impl Dispatch {
    /// With the scribe of this process, if it has one; without it, the processes that write lanes are watched.
    pub async fn start(
        pool: PgPool,
        here: Option<ScribeHandle>,
        seal: PeerSeal,
        stop: CancellationToken,
    ) -> Result<Self, sqlx::Error> {
        let (watched, writers) = watch::channel(Some(presence::present(&pool, SCRIBE).await?));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let routes = here.as_ref().map_or_else(|| Routes::new(pool.clone()), |here| here.routes().clone());
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let (kinds, silence) = (Arc::new(StateRegistry::all()), Arc::new(watch::Sender::new(0)));
        let (known, unanswered) = (Arc::default(), Arc::default());
        let dispatch = Self { here, routes, pool, seal, kinds, http, known, unanswered, writers, silence };
        let watched = dispatch.here.is_none().then_some(watched);
        // Without the scribe, which ends when nobody holds it any more.
        tokio::spawn(Self { here: None, ..dispatch.clone() }.watch_writers(watched, stop));
        Ok(dispatch)
    }

    /// Why commands of some lanes cannot be acknowledged here right now; empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = match &self.here {
            Some(here) => here.troubles(),
            None => match &*self.writers.borrow() {
                None => vec!["the store cannot be reached".into()],
                Some(names) if names.is_empty() => vec!["no process writes lanes".into()],
                Some(_) => vec![],
            },
        };
        troubles.extend(self.unanswered.told());
        troubles
    }

    /// Changes whenever this process wrote something.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.here.as_ref().map_or_else(|| self.silence.subscribe(), ScribeHandle::written)
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Decides the commands of one request in their order. One answer each, in the same order.
    pub async fn submit(&self, tenant: TenantId, from_engine: bool, commands: Vec<Envelope>) -> Vec<Answer> {
        let count = commands.len();
        let Ok(lane) = self.routes.lane(tenant).await else { return all(count, &NotNow::StoreAway) };
        if let Some(here) = &self.here {
            // A lane that nobody is known to write is ours to take.
            if here.holds(lane) || matches!(self.owner(lane).await, Ok(None)) {
                return here.submit(tenant, from_engine, commands).await;
            }
        }
        let written: Result<Vec<_>, _> = commands.iter().map(Written::of).collect();
        let letter =
            written.and_then(|commands| serde_json::to_vec(&Letter { tenant, from_engine, commands }).map(Bytes::from));
        match letter {
            Ok(letter) => self.send(lane, letter, count).await,
            Err(error) => vec![Answer::Fault(error.to_string()); count],
        }
    }

    /// Sends a letter until somebody who writes the lane has answered it. What came of an earlier try does not
    /// matter: its commands keep their ids.
    async fn send(&self, lane: LaneId, letter: Bytes, count: usize) -> Vec<Answer> {
        let until = Instant::now() + TRY_FOR;
        let mut first: Vec<Option<Answer>> = vec![None; count];
        loop {
            let reason = match self.owner(lane).await {
                Ok(Some(address)) => match self.ask_the_writer(lane, &address, letter.clone()).await {
                    Ok(answers) if answers.len() == count => {
                        let elsewhere = keep(&mut first, answers);
                        if !elsewhere {
                            return first.into_iter().flatten().collect();
                        }
                        NotNow::LaneElsewhere
                    }
                    Ok(_) => NotNow::LaneElsewhere,
                    Err(error) => {
                        tracing::debug!(lane = lane.0, address, %error, "a letter was not answered");
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
            self.forget(lane);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for the answer for as long as the lane is written there: who is frozen keeps a letter, and loses the lane.
    async fn ask_the_writer(&self, lane: LaneId, address: &str, letter: Bytes) -> anyhow::Result<Vec<Answer>> {
        let asked = self.ask(address, letter);
        tokio::pin!(asked);
        loop {
            tokio::select! {
                answers = &mut asked => {
                    self.unanswered.heard(address, answers.as_ref().err());
                    return answers;
                }
                () = tokio::time::sleep(BELIEVED_FOR) => {}
            }
            let writer = self.owner(lane).await;
            anyhow::ensure!(
                writer.is_err() || writer.is_ok_and(|now| now.as_deref() == Some(address)),
                "the lane moved on"
            );
        }
    }

    async fn ask(&self, address: &str, letter: Bytes) -> anyhow::Result<Vec<Answer>> {
        let request = Request::post(format!("http://{address}{PATH}"))
            .header(SEAL, self.seal.of(&letter, now()))
            .body(Full::new(letter))?;
        let answered = async {
            let answer = self.http.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MOST).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            anyhow::ensure!(
                status != StatusCode::UNAUTHORIZED,
                "a letter was refused; do all processes have the same outer key and clock?"
            );
            anyhow::ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
            let told: Vec<Told> = serde_json::from_slice(&body)?;
            Ok(told.into_iter().map(|told| told.read(&self.kinds)).collect())
        };
        tokio::time::timeout(ANSWERED_WITHIN, answered).await?
    }

    /// Where the process listens that writes a lane, if it is another one and was heard of lately.
    async fn owner(&self, lane: LaneId) -> Result<Option<String>, sqlx::Error> {
        let known = self.known.read().ok().and_then(|known| known.get(&lane).cloned());
        if let Some((address, looked)) = known
            && looked.elapsed() < BELIEVED_FOR
        {
            return Ok(address);
        }
        let text = "SELECT address FROM log.lanes WHERE lane = $1 AND lease > clock_timestamp() AND address <> ''";
        let address: Option<String> =
            answered(sqlx::query_scalar(text).bind(lane.0).fetch_optional(&self.pool)).await?;
        if let Ok(mut known) = self.known.write() {
            known.insert(lane, (address.clone(), Instant::now()));
        }
        Ok(address)
    }

    fn forget(&self, lane: LaneId) {
        if let Ok(mut known) = self.known.write() {
            known.remove(&lane);
        }
    }

    /// Looks again and again who writes lanes, and whether those can be asked again who could not be.
    async fn watch_writers(self, watched: Option<watch::Sender<Option<Vec<String>>>>, stop: CancellationToken) {
        while tokio::time::timeout(BELIEVED_FOR, stop.cancelled()).await.is_err() {
            if let Some(watched) = &watched {
                let names = presence::present(&self.pool, SCRIBE).await.ok();
                watched.send_if_modified(|known| std::mem::replace(known, names.clone()) != names);
            }
            let addresses = self.unanswered.addresses();
            if addresses.is_empty() {
                continue;
            }
            let text = "SELECT DISTINCT address FROM log.lanes WHERE lease > clock_timestamp()";
            let Ok(writing) = answered(sqlx::query_scalar(text).fetch_all(&self.pool)).await else { continue };
            self.unanswered.keep(&writing);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ask_again(&addresses) => {}
            }
        }
    }

    /// Asks with an empty letter, so that a process without callers learns it too.
    async fn ask_again(&self, addresses: &[String]) {
        let letter = Letter { tenant: TenantId::PLATFORM, from_engine: true, commands: vec![] };
        let Ok(letter) = serde_json::to_vec(&letter).map(Bytes::from) else { return };
        for address in addresses {
            let answered = tokio::time::timeout(BELIEVED_FOR, self.ask(address, letter.clone())).await;
            let answered = answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {BELIEVED_FOR:?}")));
            self.unanswered.heard(address, answered.err().as_ref());
        }
    }
}

fn all(count: usize, reason: &NotNow) -> Vec<Answer> {
    vec![Answer::NotNow(reason.clone()); count]
}

/// Keeps what was settled first, so that a command does not count as a repeat because its letter was sent twice. Whether
/// somebody else must be asked about the others.
fn keep(first: &mut [Option<Answer>], answers: Vec<Answer>) -> bool {
    let mut elsewhere = false;
    for (first, answer) in first.iter_mut().zip(answers) {
        match is_elsewhere(&answer) {
            true => elsewhere |= first.is_none(),
            false => _ = first.get_or_insert(answer),
        }
    }
    elsewhere
}

/// The lane has changed hands, or its process is about to end: somebody else will answer.
fn is_elsewhere(answer: &Answer) -> bool {
    matches!(answer, Answer::NotNow(NotNow::LaneElsewhere | NotNow::ShuttingDown))
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
    fn what_was_settled_first_is_no_repeat_because_its_letter_was_sent_twice() {
        let mut first = vec![None, None];
        assert!(keep(&mut first, vec![accepted(false), Answer::NotNow(NotNow::LaneElsewhere)]));
        assert!(!keep(&mut first, vec![accepted(true), accepted(false)]));
        assert!(first.iter().all(|answer| matches!(answer, Some(Answer::Settled { replayed: false, .. }))));
    }
}
