//! The relay: copies the lanes on which it holds leases from the log to Kafka.

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

use crate::error::LaneError;
use crate::in_flight::{DeliveryReports, Producer};
use crate::lane::{Heads, Lane, Start};
use crate::leases::Leases;
use crate::outage::Outage;
use crate::settings::Settings;
use crate::topic::{self, TopicError};

/// Interval at which the heads of the log are polled. Adds half of it to the mean latency of an event.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Interval at which leases are renewed and requested.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of queries to the log. Long enough for the connectivity monitor to detect dead connections first.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a failed operation is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Time for batches in flight after the relay is cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Relay: copies the log to Kafka in order, without gaps, at least once.
///
/// Several relays may run: one at a time holds the lease on a lane. If two believe that they hold it, records repeat,
/// with no further effect.
pub struct Relay<H> {
    settings: Settings,
    history: Arc<H>,
    leases: Leases,
    kafka: Outage,
    log: Outage,
}

/// State of a lane that this relay holds.
enum LaneState {
    Running { stop: CancellationToken, progress: Arc<AtomicI64> },
    Paused { until: Instant, start: Start },
}

/// A producer and the lanes that use it.
struct Session<'r, H> {
    relay: &'r Relay<H>,
    producer: Producer,
    heads: watch::Sender<Heads>,
    lanes: BTreeMap<i16, LaneState>,
    tasks: JoinSet<(i16, Result<(), LaneError>)>,
    held_until: Instant,
    /// Pending metadata request, which shows whether Kafka is back after an outage.
    reconnect: Option<JoinHandle<KafkaResult<()>>>,
}

impl<H: History + 'static> Relay<H> {
    pub fn new(settings: Settings, history: H, leases: Leases) -> Self {
        let (kafka, log) = (Outage::of("Kafka"), Outage::of("the log"));
        Self { settings, history: Arc::new(history), leases, kafka, log }
    }

    /// Availability of Kafka and of the log.
    pub fn outages(&self) -> [Outage; 2] {
        [self.kafka.clone(), self.log.clone()]
    }

    /// Runs until it is cancelled. While Kafka is unavailable or the topic is unsuitable, events wait in the log.
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
                () = sleep(RETRY_PAUSE) => {}
            }
        }
        if let Err(error) = self.leases.release().await {
            tracing::warn!(%error, "the lanes cannot be released; other relays take them over when the leases expire");
        }
    }

    /// Runs with one producer until it is cancelled or the producer fails fatally.
    async fn session(&self, stop: &CancellationToken) -> Result<(), TopicError> {
        let producer: Producer = self.settings.producer().create_with_context(DeliveryReports(self.kafka.clone()))?;
        let heads = watch::Sender::new(Arc::from([]));
        let lanes = BTreeMap::new();
        let (tasks, held_until) = (JoinSet::new(), Instant::now());
        let mut session = Session { relay: self, producer, heads, lanes, tasks, held_until, reconnect: None };
        let ended = session.run(stop).await;
        session.lanes.values().for_each(LaneState::stop);
        let finish = async { while session.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_TIMEOUT, finish).await.is_err() {
            session.tasks.shutdown().await;
        }
        // Dropping the producer discards unacknowledged records and may block on its thread.
        let producer = session.producer;
        tokio::task::spawn_blocking(move || drop(producer)).await.ok();
        ended
    }
}

impl<H: History + 'static> Session<'_, H> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), TopicError> {
        let (mut poll, mut renew) = (interval(POLL_INTERVAL), interval(RENEW_INTERVAL));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                // Bounded, so that a log that hangs does not block cancellation.
                _ = poll.tick() => match timeout(QUERY_TIMEOUT, self.relay.history.heads()).await {
                    Ok(Ok(heads)) => _ = self.heads.send_replace(heads.into()),
                    Ok(Err(fault)) => self.relay.log.away(&fault.to_string()),
                    Err(_) => self.relay.log.away("its heads cannot be read"),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((lane, Err(error))) if self.producer.client().fatal_error().is_none() => {
                        self.pause(lane, error)?;
                    }
                    Ok((_, Err(error))) => {
                        tracing::warn!(%error, "the producer has failed; continuing with a new one");
                        return Ok(());
                    }
                    Err(panic) => {
                        tracing::error!(%panic, "a lane has panicked; all lanes are restarted");
                        return Ok(());
                    }
                },
            }
        }
    }

    /// Renews the leases, starts the lanes that were gained and stops those that were lost.
    async fn renew(&mut self) {
        let (now, lease_ms) = (Instant::now(), self.relay.settings.lease_ms);
        let held = timeout(QUERY_TIMEOUT, self.relay.leases.hold(lease_ms)).await;
        let held = held.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                self.relay.log.away(&error.to_string());
                if self.held_until < now {
                    self.lanes.values().for_each(LaneState::stop);
                    self.lanes.clear();
                }
                return;
            }
        };
        self.relay.log.back();
        self.held_until = now + Duration::from_millis(lease_ms.unsigned_abs());
        self.lanes.retain(|lane, state| {
            let ours = held.contains(lane);
            if !ours {
                state.stop();
            }
            ours
        });
        for lane in held {
            match self.lanes.get(&lane) {
                None => self.start(lane, Start::First),
                Some(LaneState::Paused { until, start }) if *until <= now => self.start(lane, *start),
                Some(_) => {}
            }
        }
    }

    fn start(&mut self, lane: i16, start: Start) {
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
        self.lanes.insert(lane, LaneState::Running { stop: stop.clone(), progress });
        self.tasks.spawn(async move {
            let ended = task.run(start).await;
            // The error of a cancelled lane is ignored: another relay, or this one again, may hold the lane by now.
            (lane, if stop.is_cancelled() { Ok(()) } else { ended })
        });
    }

    /// Pauses one lane after an error; the others continue.
    fn pause(&mut self, lane: i16, error: LaneError) -> Result<(), TopicError> {
        metrics::counter!("cartulary_relay_troubles_total").increment(1);
        let (mut pause, mut start) = (RETRY_PAUSE, Start::AfterError);
        match error {
            LaneError::Topic(error) if !error.is_transient() => return Err(error),
            LaneError::Topic(TopicError::Away(error)) | LaneError::Kafka(error) => {
                self.relay.kafka.away(&self.relay.kafka.why(&error));
            }
            LaneError::Topic(_) => self.relay.kafka.away(&error.to_string()),
            LaneError::Log(Fault { cause: Cause::Unavailable, .. }) => self.relay.log.away(&error.to_string()),
            LaneError::Log(_) => tracing::error!(lane, %error, "a lane cannot be relayed"),
            LaneError::PartitionRecreated => {
                tracing::warn!(lane, %error, "a lane is relayed from its first event again");
                (pause, start) = (Duration::ZERO, Start::FromFirstEvent);
            }
        }
        self.lanes.insert(lane, LaneState::Paused { until: Instant::now() + pause, start });
        Ok(())
    }

    /// Kafka is back after an outage. Checked here, because without events to send nothing else would notice. Kafka may
    /// have lost records, so the caller ends the session, and the next one reads the end of each partition.
    async fn kafka_is_back(&mut self) -> bool {
        if self.relay.kafka.reason().is_none() {
            return false;
        }
        if let Some(request) = self.reconnect.take_if(|request| request.is_finished()) {
            let answer = request.await.unwrap_or(Err(KafkaError::Canceled));
            if let Err(error) = &answer {
                // The reason may have changed.
                self.relay.kafka.away(&self.relay.kafka.why(error));
            }
            return answer.is_ok();
        }
        let producer = self.producer.clone();
        let request = move || producer.client().fetch_metadata(None, RENEW_INTERVAL).map(drop);
        self.reconnect.get_or_insert_with(|| tokio::task::spawn_blocking(request));
        false
    }

    fn show_lag(&self) {
        let heads = self.heads.borrow().clone();
        for head in heads.iter() {
            let Some(LaneState::Running { progress, .. }) = self.lanes.get(&head.lane) else { continue };
            let lag = head.position.saturating_sub(progress.load(Ordering::Relaxed));
            let lag = u32::try_from(lag.max(0)).unwrap_or(u32::MAX);
            metrics::gauge!("cartulary_relay_lag_events", "lane" => head.lane.to_string()).set(f64::from(lag));
        }
    }
}

impl LaneState {
    fn stop(&self) {
        if let Self::Running { stop, .. } = self {
            stop.cancel();
        }
    }
}
