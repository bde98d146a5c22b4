//! The relay: puts the lanes that it holds on Kafka, for as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use projections::ports::{Cause, Fault, History};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::flight::{Arrivals, Producer};
use crate::lane::{Begin, Heads, Lane, Trouble};
use crate::leases::Leases;
use crate::outage::Outage;
use crate::settings::Settings;
use crate::topic::{self, TopicError};

/// How often the log is asked how far it reaches. Half of this is the wait that an event has before it leaves.
const LOOK: Duration = Duration::from_millis(10);
/// How often leases are renewed, or asked for.
const RENEW: Duration = Duration::from_millis(500);
/// How long to wait before what could not be done is tried again.
const REST: Duration = Duration::from_secs(1);
/// How long what is under way may take once the relay is asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Puts the log on Kafka, in order and without gaps, at least once.
///
/// Several may run: a lane belongs to one of them at a time, and if two ever believe they hold it, records repeat and
/// nothing else happens.
pub struct Relay<H> {
    settings: Settings,
    history: Arc<H>,
    leases: Leases,
    kafka: Outage,
    log: Outage,
}

/// A lane of this relay.
enum Keeping {
    Follows { stop: CancellationToken, progress: Arc<AtomicI64> },
    Rests { until: Instant, begin: Begin },
}

/// One producer with the lanes that use it.
struct Session<'r, H> {
    relay: &'r Relay<H>,
    producer: Producer,
    heads: watch::Sender<Heads>,
    lanes: BTreeMap<i16, Keeping>,
    tasks: JoinSet<(i16, Result<(), Trouble>)>,
    held_until: Instant,
    /// Somebody asks Kafka whether it is back.
    looking: Option<JoinHandle<KafkaResult<()>>>,
}

impl<H: History + 'static> Relay<H> {
    pub fn new(settings: Settings, history: H, leases: Leases) -> Self {
        let (kafka, log) = (Outage::of("Kafka"), Outage::of("the log"));
        Self { settings, history: Arc::new(history), leases, kafka, log }
    }

    /// Tells whether Kafka and the log answer.
    pub fn outages(&self) -> [Outage; 2] {
        [self.kafka.clone(), self.log.clone()]
    }

    /// Runs until it is cancelled. While Kafka is away or the topic is not one that lanes fit into, events wait in the
    /// log.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = match topic::ensure(&self.settings, &self.kafka).await {
                Ok(()) => {
                    self.kafka.back();
                    self.session(&stop).await
                }
                refused => refused,
            };
            if let Err(error) = ended {
                self.kafka.away(&error.to_string());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(REST) => {}
            }
        }
        if let Err(error) = self.leases.release().await {
            tracing::warn!(%error, "the lanes cannot be released; others take them over when the leases end");
        }
    }

    /// Works with one producer, until it is time to stop or the producer is beyond repair.
    async fn session(&self, stop: &CancellationToken) -> Result<(), TopicError> {
        let producer: Producer = self.settings.producer().create_with_context(Arrivals(self.kafka.clone()))?;
        let heads = watch::Sender::new(Arc::from([]));
        let lanes = BTreeMap::new();
        let (tasks, held_until) = (JoinSet::new(), Instant::now());
        let mut session = Session { relay: self, producer, heads, lanes, tasks, held_until, looking: None };
        let ended = session.run(stop).await;
        session.lanes.values().for_each(Keeping::stop);
        let finish = async { while session.tasks.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, finish).await.is_err() {
            session.tasks.shutdown().await;
        }
        // Throws away what Kafka did not take, and may wait for a thread.
        let producer = session.producer;
        tokio::task::spawn_blocking(move || drop(producer)).await.ok();
        ended
    }
}

impl<H: History + 'static> Session<'_, H> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), TopicError> {
        let (mut look, mut renew) = (interval(LOOK), interval(RENEW));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = renew.tick() => {
                    self.renew().await;
                    self.show_lag();
                    if self.kafka_is_back().await {
                        return Ok(());
                    }
                }
                // Bounded, so that a log that hangs keeps nobody from stopping.
                _ = look.tick() => match timeout(RENEW, self.relay.history.heads()).await {
                    Ok(Ok(heads)) => _ = self.heads.send_replace(heads.into()),
                    Ok(Err(fault)) => self.relay.log.away(&fault.to_string()),
                    Err(_) => self.relay.log.away("it does not tell how far it reaches"),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((lane, Err(trouble))) if self.producer.client().fatal_error().is_none() => {
                        self.rest(lane, trouble)?;
                    }
                    Ok((_, Err(trouble))) => {
                        tracing::warn!(%trouble, "the producer is beyond repair; going on with a new one");
                        return Ok(());
                    }
                    Err(panic) => {
                        tracing::error!(%panic, "a lane has panicked; all lanes begin anew");
                        return Ok(());
                    }
                },
            }
        }
    }

    /// Renews the leases, begins with lanes that were won and lets go of those that were lost.
    async fn renew(&mut self) {
        let (asked, lease_ms) = (Instant::now(), self.relay.settings.lease_ms);
        let held = timeout(RENEW, self.relay.leases.hold(lease_ms)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                self.relay.log.away(&error.to_string());
                if self.held_until < asked {
                    self.lanes.values().for_each(Keeping::stop);
                    self.lanes.clear();
                }
                return;
            }
        };
        self.relay.log.back();
        self.held_until = asked + Duration::from_millis(lease_ms.unsigned_abs());
        self.lanes.retain(|lane, keeping| {
            let ours = held.contains(lane);
            if !ours {
                keeping.stop();
            }
            ours
        });
        for lane in held {
            match self.lanes.get(&lane) {
                None => self.begin(lane, Begin::First),
                Some(Keeping::Rests { until, begin }) if *until <= asked => self.begin(lane, *begin),
                Some(_) => {}
            }
        }
    }

    fn begin(&mut self, lane: i16, begin: Begin) {
        let (stop, progress) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
        let task = Lane {
            lane,
            settings: self.relay.settings.clone(),
            history: self.relay.history.clone(),
            producer: self.producer.clone(),
            outage: self.relay.kafka.clone(),
            heads: self.heads.subscribe(),
            progress: progress.clone(),
            stop: stop.clone(),
        };
        self.lanes.insert(lane, Keeping::Follows { stop: stop.clone(), progress });
        self.tasks.spawn(async move {
            let ended = task.follow(begin).await;
            // One that was told to stop has no say any more: its lane may be in other hands, even in ours again.
            (lane, if stop.is_cancelled() { Ok(()) } else { ended })
        });
    }

    /// A lane in trouble goes alone, so that it does not stop its neighbours.
    fn rest(&mut self, lane: i16, trouble: Trouble) -> Result<(), TopicError> {
        metrics::counter!("cartulary_relay_troubles_total").increment(1);
        let (mut pause, mut begin) = (REST, Begin::AfterTrouble);
        match trouble {
            Trouble::Topic(error) if !error.passes() => return Err(error),
            Trouble::Topic(TopicError::Away(error)) | Trouble::Kafka(error) => {
                self.relay.kafka.away(&self.relay.kafka.why(&error));
            }
            Trouble::Topic(_) => self.relay.kafka.away(&trouble.to_string()),
            Trouble::Log(Fault { cause: Cause::Unavailable, .. }) => self.relay.log.away(&trouble.to_string()),
            Trouble::Log(_) => tracing::error!(lane, %trouble, "a lane does not go on"),
            Trouble::MadeAnew => {
                tracing::warn!(lane, %trouble, "a lane begins anew");
                (pause, begin) = (Duration::ZERO, Begin::FromStart);
            }
        }
        self.lanes.insert(lane, Keeping::Rests { until: Instant::now() + pause, begin });
        Ok(())
    }

    /// Whether Kafka answers again that was away: without events to send, nothing else would tell. It may not hold what it
    /// held, so everything begins anew then.
    async fn kafka_is_back(&mut self) -> bool {
        if self.relay.kafka.reason().is_none() {
            return false;
        }
        if let Some(looked) = self.looking.take_if(|looking| looking.is_finished()) {
            let looked = looked.await.unwrap_or(Err(KafkaError::Canceled));
            if let Err(error) = &looked {
                // The reason may be another one by now.
                self.relay.kafka.away(&self.relay.kafka.why(error));
            }
            return looked.is_ok();
        }
        let producer = self.producer.clone();
        let look = move || producer.client().fetch_metadata(None, RENEW).map(drop);
        self.looking.get_or_insert_with(|| tokio::task::spawn_blocking(look));
        false
    }

    fn show_lag(&self) {
        let heads = self.heads.borrow().clone();
        for head in heads.iter() {
            let Some(Keeping::Follows { progress, .. }) = self.lanes.get(&head.lane) else { continue };
            let lag = head.position.saturating_sub(progress.load(Ordering::Relaxed));
            let lag = u32::try_from(lag.max(0)).unwrap_or(u32::MAX);
            metrics::gauge!("cartulary_relay_lag_events", "lane" => head.lane.to_string()).set(f64::from(lag));
        }
    }
}

impl Keeping {
    fn stop(&self) {
        if let Self::Follows { stop, .. } = self {
            stop.cancel();
        }
    }
}
