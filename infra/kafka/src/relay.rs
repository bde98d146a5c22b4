//! Relay: copies the lanes on which it has leases from the log to Kafka: each event as it is stored to one topic, and as
//! it is published to another.

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

use crate::availability::Availability;
use crate::error::LaneError;
use crate::in_flight::{DeliveryReports, Producer};
use crate::lane_relay::{Heads, LaneRelay, Start};
use crate::leases::Leases;
use crate::settings::Settings;
use crate::topic::{self, TopicError};

/// Interval at which the heads of the log are polled. On average an event waits for half of it.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Interval at which leases are renewed and free lanes are acquired.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of queries to the log. A silent database is noticed within 1.3 s, so when a query times out the database already
/// counts as silent, and the pool tests the query's connection before it is used again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a failed operation is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Time in which the batches in flight can be acknowledged when a session ends. After it they are dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Relay: copies the log to Kafka in order, without gaps, at least once.
///
/// Several relays may run: one at a time has the lease on a lane. If two believe that they have it, records repeat,
/// with no further effect.
pub struct Relay<H> {
    settings: Settings,
    history: Arc<H>,
    leases: Leases,
    /// Availability of Kafka.
    kafka: Availability,
    /// Availability of PostgreSQL.
    log: Availability,
}

/// State of a lane on which this relay has the lease.
enum LaneState {
    Running { stop: CancellationToken, progress: Arc<AtomicI64> },
    Failed { restart_at: Instant, start: Start },
}

/// Relaying with one producer, until the producer or a lane's task fails or Kafka is back after an outage.
struct Session<'r, H> {
    relay: &'r Relay<H>,
    /// Number of lanes of the log.
    lane_count: usize,
    producer: Producer,
    heads: watch::Sender<Heads>,
    lanes: BTreeMap<i16, LaneState>,
    tasks: JoinSet<(i16, Result<(), LaneError>)>,
    /// Time at which the leases expire unless they are renewed.
    leased_until: Instant,
    /// Metadata request whose success shows that Kafka is back after an outage.
    metadata_request: Option<JoinHandle<KafkaResult<()>>>,
}

impl<H: History + 'static> Relay<H> {
    pub fn new(settings: Settings, history: H, leases: Leases) -> Self {
        let (kafka, log) = (Availability::new("Kafka"), Availability::new("the log"));
        Self { settings, history: Arc::new(history), leases, kafka, log }
    }

    /// Availability of Kafka and of the log.
    pub fn availability(&self) -> [Availability; 2] {
        [self.kafka.clone(), self.log.clone()]
    }

    /// Runs until `stop`. While Kafka cannot be used or the topic has a wrong number of partitions, events wait in the
    /// log.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match timeout(QUERY_TIMEOUT, self.history.heads()).await {
                Ok(Ok(heads)) => {
                    if let Err(error) = self.relay(heads.len(), &stop).await {
                        self.kafka.report_outage(&error.to_string());
                    }
                }
                Ok(Err(fault)) => self.log.report_outage(&fault.to_string()),
                Err(_) => self.log.report_outage("its heads cannot be read"),
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

    /// Relays a log with this number of lanes, until `stop` or until a new producer is needed. An error if the topic
    /// cannot be used.
    async fn relay(&self, lane_count: usize, stop: &CancellationToken) -> Result<(), TopicError> {
        topic::ensure_both(&self.settings, lane_count, &self.kafka).await?;
        self.kafka.report_recovery();
        self.session(lane_count, stop).await
    }

    async fn session(&self, lane_count: usize, stop: &CancellationToken) -> Result<(), TopicError> {
        let producer: Producer = self.settings.producer().create_with_context(DeliveryReports(self.kafka.clone()))?;
        let heads = watch::Sender::new(Arc::from([]));
        let lanes = BTreeMap::new();
        let (tasks, leased_until) = (JoinSet::new(), Instant::now());
        let metadata_request = None;
        let mut session =
            Session { relay: self, lane_count, producer, heads, lanes, tasks, leased_until, metadata_request };
        let result = session.run(stop).await;
        session.lanes.values().for_each(LaneState::stop);
        let finish = async { while session.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_TIMEOUT, finish).await.is_err() {
            session.tasks.shutdown().await;
        }
        // Dropping the producer discards unacknowledged records and may block on its thread.
        let producer = session.producer;
        tokio::task::spawn_blocking(move || drop(producer)).await.ok();
        result
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
                    self.record_lag();
                    if self.kafka_is_back().await {
                        return Ok(());
                    }
                }
                // With a time limit, so that a log that does not answer does not delay `stop`.
                _ = poll.tick() => match timeout(QUERY_TIMEOUT, self.relay.history.heads()).await {
                    Ok(Ok(heads)) => _ = self.heads.send_replace(heads.into()),
                    Ok(Err(fault)) => self.relay.log.report_outage(&fault.to_string()),
                    Err(_) => self.relay.log.report_outage("its heads cannot be read"),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((lane, Err(error))) if self.producer.client().fatal_error().is_none() => {
                        self.restart_later(lane, error)?;
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

    /// Renews the leases, starts the lanes that were acquired and stops those that were lost. If PostgreSQL
    /// does not answer, the lanes go on until the leases have expired, and at most the time limit of this query longer.
    async fn renew(&mut self) {
        let (now, lease_ms) = (Instant::now(), self.relay.settings.lease_ms);
        let owned = timeout(QUERY_TIMEOUT, self.relay.leases.acquire_or_renew(lease_ms)).await;
        let owned =
            owned.unwrap_or_else(|_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer").into()));
        let owned = match owned {
            Ok(owned) => owned,
            Err(error) => {
                self.relay.log.report_outage(&error.to_string());
                if self.leased_until < now {
                    self.lanes.values().for_each(LaneState::stop);
                    self.lanes.clear();
                }
                return;
            }
        };
        self.relay.log.report_recovery();
        self.leased_until = now + Duration::from_millis(lease_ms.unsigned_abs());
        self.lanes.retain(|lane, state| {
            let ours = owned.contains(lane);
            if !ours {
                state.stop();
            }
            ours
        });
        for lane in owned {
            match self.lanes.get(&lane) {
                None => self.start(lane, Start::LeaseAcquired),
                Some(LaneState::Failed { restart_at, start }) if *restart_at <= now => self.start(lane, *start),
                Some(_) => {}
            }
        }
    }

    fn start(&mut self, lane: i16, start: Start) {
        let (stop, progress) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
        let task = LaneRelay {
            lane,
            lane_count: self.lane_count,
            settings: self.relay.settings.clone(),
            history: self.relay.history.clone(),
            producer: self.producer.clone(),
            kafka: self.relay.kafka.clone(),
            heads: self.heads.subscribe(),
            progress: progress.clone(),
            stop: stop.clone(),
        };
        self.lanes.insert(lane, LaneState::Running { stop: stop.clone(), progress });
        self.tasks.spawn(async move {
            let ended = task.run(start).await;
            // The error of a stopped lane is ignored: another relay, or this one again, may relay the lane by now.
            (lane, if stop.is_cancelled() { Ok(()) } else { ended })
        });
    }

    /// Schedules the restart of one lane after an error; the others continue. An error if the topic cannot be used.
    fn restart_later(&mut self, lane: i16, error: LaneError) -> Result<(), TopicError> {
        metrics::counter!("cartulary_relay_troubles_total").increment(1);
        let (mut pause, mut start) = (RETRY_PAUSE, Start::AfterError);
        match error {
            LaneError::Topic(error) if !error.is_transient() => return Err(error),
            LaneError::Topic(TopicError::Kafka(error)) | LaneError::Kafka(error) => {
                self.relay.kafka.report_outage(&self.relay.kafka.cause_of(&error));
            }
            LaneError::Topic(_) => self.relay.kafka.report_outage(&error.to_string()),
            LaneError::Log(Fault { cause: Cause::Unavailable, .. }) => self.relay.log.report_outage(&error.to_string()),
            LaneError::Log(_) => tracing::error!(lane, %error, "a lane cannot be relayed"),
            LaneError::PartitionRecreated => {
                tracing::warn!(lane, %error, "a lane is relayed from its first event again");
                (pause, start) = (Duration::ZERO, Start::FromFirstEvent);
            }
        }
        self.lanes.insert(lane, LaneState::Failed { restart_at: Instant::now() + pause, start });
        Ok(())
    }

    /// True if Kafka answers again after an outage. Sends metadata requests to find out: while there are no events to send,
    /// nothing else contacts Kafka. Kafka may have lost records, so the caller ends the session, and the next one
    /// reads the end of each partition.
    async fn kafka_is_back(&mut self) -> bool {
        if self.relay.kafka.outage_reason().is_none() {
            return false;
        }
        if let Some(request) = self.metadata_request.take_if(|request| request.is_finished()) {
            let answer = request.await.unwrap_or(Err(KafkaError::Canceled));
            if let Err(error) = &answer {
                // The reason may be another one than before.
                self.relay.kafka.report_outage(&self.relay.kafka.cause_of(error));
            }
            return answer.is_ok();
        }
        let producer = self.producer.clone();
        let request = move || producer.client().fetch_metadata(None, RENEW_INTERVAL).map(drop);
        self.metadata_request.get_or_insert_with(|| tokio::task::spawn_blocking(request));
        false
    }

    fn record_lag(&self) {
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
    /// Stops the task of the lane after the batch in flight.
    fn stop(&self) {
        if let Self::Running { stop, .. } = self {
            stop.cancel();
        }
    }
}
