//! Kafka feed: the events of the log for consumers that keep their own checkpoints (read models and policies).
//!
//! Kafka is never the source of truth. A consumer reads from the log the events that Kafka lacks; while Kafka or the
//! consumer group does not answer, it reads everything from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
pub use kafka::BATCH_EVENTS_MOST;
use kafka::{Availability, Batch, Feed, TopicError};
use platform::health::Health;
use projections::ports::{Fault, History, RawEvent};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::StoreFeed;

/// Time to wait for records before the feed returns an empty batch.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Interval between two comparisons with the log, which find events that Kafka does not hold.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a failed attempt to join the group is repeated.
const JOIN_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Name of Kafka in health reports.
const KAFKA: &str = "Kafka";
/// Time without lanes assigned by the group after which this process looks for overdue events and for a new topic.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Age from which an event that no process has handled is overdue.
const OVERDUE_AGE: Duration = Duration::from_secs(10);

/// Consumer group of one kind of consumer.
pub struct ConsumerGroup {
    /// Kafka's id of the group.
    pub name: &'static str,
    /// Name of the group in health reports.
    pub component: &'static str,
    /// Role of the processes, as a label of metrics.
    pub role: &'static str,
    /// SQL query for (`lane`, `position`): the highest position that any consumer of this kind has processed.
    pub progress_sql: &'static str,
}

/// Feed of one consumer. Reads from Kafka as a member of a consumer group, which it joins in the background and joins
/// again after failures.
pub struct KafkaFeed {
    group: ConsumerGroup,
    settings: kafka::Settings,
    pool: PgPool,
    log: StoreFeed,
    /// Lanes assigned by the presence table; used while the group assigns none.
    assigned_lanes: watch::Receiver<BTreeSet<LaneId>>,
    health: Health,
    connection: GroupConnection,
    kafka_availability: Availability,
    /// Availability of the group: an outage while it assigns no lanes to any process that handles their events.
    group_availability: Availability,
    /// Time at which the group last assigned lanes to this process, or at which this process joined it again for lack
    /// of lanes.
    assigned_at: Instant,
    compared_at: Instant,
    /// Heads of the lanes at `compared_at`.
    heads: BTreeMap<i16, i64>,
    /// Events are read from the log and lanes are those of the presence table, because Kafka or the group does not
    /// deliver.
    fallback: bool,
}

enum GroupConnection {
    Open(Box<Feed<StoreFeed>>),
    Opening(JoinHandle<Result<Feed<StoreFeed>, TopicError>>),
}

/// Events of one poll.
pub struct FeedBatch {
    /// Events in order within each lane. Positions may repeat and may have gaps.
    pub events: Vec<RawEvent>,
    /// The lanes of this process may have changed. Read their checkpoints again: another process may have moved them.
    pub reassigned: bool,
}

/// Heads of the log compared with the positions that a consumer has processed.
pub struct LogComparison {
    /// Lanes whose consumer has not reached the head that the previous comparison found; all lanes of this process
    /// during the fallback to the log.
    pub lagging: BTreeSet<LaneId>,
    /// Number of events that are in the log and not processed, all lanes of this process together.
    pub lag: i64,
}

impl KafkaFeed {
    /// Starts to join the group. Only for processes that do not run the scribe: the others read their own tail.
    pub fn open(
        group: ConsumerGroup,
        settings: kafka::Settings,
        pool: PgPool,
        assigned_lanes: watch::Receiver<BTreeSet<LaneId>>,
        health: Health,
    ) -> Self {
        let log = StoreFeed::new(pool.clone(), None);
        let (kafka_availability, group_availability, now) =
            (Availability::new(KAFKA), Availability::new(group.component), Instant::now());
        let connection =
            join_group(settings.clone(), group.name, log.clone(), kafka_availability.clone(), Duration::ZERO);
        Self {
            group,
            settings,
            pool,
            log,
            assigned_lanes,
            health,
            connection,
            kafka_availability,
            group_availability,
            assigned_at: now,
            compared_at: now,
            heads: BTreeMap::new(),
            fallback: true,
        }
    }

    /// Receives the next events: none until the group is joined, or if none arrive within 100 ms.
    pub async fn next(&mut self) -> anyhow::Result<FeedBatch> {
        let Batch { events, assigned, .. } = self.poll().await?;
        let fallback = self.needs_fallback().await?;
        let reassigned = !assigned.is_empty() || fallback != self.fallback;
        self.fallback = fallback;
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        metrics::counter!("cartulary_events_from_kafka_total", "role" => self.group.role).increment(count);
        Ok(FeedBatch { events, reassigned })
    }

    /// True if the next comparison with the log is due.
    pub fn is_comparison_due(&self) -> bool {
        self.compared_at.elapsed() > COMPARISON_INTERVAL
    }

    /// Compares the head of each lane with its processed position, if the comparison is due. A lane lags only if it has
    /// not reached its head of the previous comparison: newer events are probably on their way through Kafka, and would
    /// be read twice.
    pub async fn compare_with_log(
        &mut self,
        processed: impl Fn(i16) -> Option<i64>,
    ) -> Result<Option<LogComparison>, Fault> {
        if !self.is_comparison_due() {
            return Ok(None);
        }
        let (lanes, heads) = (self.lanes(), self.log.heads().await?);
        let heads = heads.iter().map(|head| (head.lane, head.position)).collect();
        let previous = std::mem::replace(&mut self.heads, heads);
        self.compared_at = Instant::now();
        let is_lagging = |lane: &LaneId| {
            let (head, processed) = (previous.get(&lane.0), processed(lane.0));
            self.fallback || head.zip(processed).is_some_and(|(head, processed)| processed < *head)
        };
        let missing = |lane: &LaneId| Some(self.heads.get(&lane.0)? - processed(lane.0)?);
        let lag = lanes.iter().filter_map(missing).sum();
        Ok(Some(LogComparison { lagging: lanes.into_iter().filter(is_lagging).collect(), lag }))
    }

    /// Lanes of this process: those assigned by the group, or by the presence table during the fallback to the log.
    pub fn lanes(&self) -> BTreeSet<LaneId> {
        match &self.connection {
            GroupConnection::Open(feed) if !self.fallback => feed.lanes().iter().copied().map(LaneId).collect(),
            _ => self.assigned_lanes.borrow().clone(),
        }
    }

    /// Commits the offsets of all events returned so far, when they are processed. The next consumer of a lane begins
    /// there, but trusts only its own checkpoint.
    pub fn commit(&self) {
        if let GroupConnection::Open(feed) = &self.connection {
            feed.commit();
        }
    }

    async fn poll(&mut self) -> Result<Batch, Fault> {
        let opening = match &mut self.connection {
            GroupConnection::Open(feed) => return feed.next(BATCH_EVENTS_MOST, POLL_TIMEOUT).await,
            GroupConnection::Opening(opening) => opening,
        };
        match tokio::time::timeout(POLL_TIMEOUT, opening).await {
            Err(_) => {}
            Ok(Ok(Ok(feed))) => {
                self.kafka_availability.report_recovery();
                self.connection = GroupConnection::Open(Box::new(feed));
            }
            Ok(failed) => {
                let reason = match failed {
                    Ok(opened) => opened.err().map_or_else(String::new, |error| error.to_string()),
                    Err(panic) => panic.to_string(),
                };
                self.kafka_availability.report_outage(&reason);
                let (settings, kafka) = (self.settings.clone(), self.kafka_availability.clone());
                self.connection = join_group(settings, self.group.name, self.log.clone(), kafka, JOIN_RETRY_PAUSE);
            }
        }
        Ok(Batch::default())
    }

    /// True if events must be read from the log now, because Kafka or the group does not deliver them. Updates the
    /// outages of both in the health of the process.
    async fn needs_fallback(&mut self) -> sqlx::Result<bool> {
        let is_due = self.is_comparison_due();
        let GroupConnection::Open(feed) = &mut self.connection else {
            self.health.set_outage(KAFKA, self.kafka_availability.outage_reason());
            return Ok(true);
        };
        let in_doubt = self.kafka_availability.outage_reason().is_some() || feed.lanes().is_empty();
        let topic_is_new = is_due && in_doubt && feed.check_topic().await;
        let outage = self.kafka_availability.outage_reason();
        let kafka_is_down = outage.is_some();
        self.health.set_outage(KAFKA, outage);
        if !feed.lanes().is_empty() {
            self.assigned_at = Instant::now();
            self.group_availability.report_recovery();
            self.health.set_outage(self.group.component, None);
            return Ok(kafka_is_down);
        }
        if is_due && self.assigned_at.elapsed() > ASSIGNMENT_TIMEOUT {
            if self.group_availability.outage_reason().is_none() && self.has_overdue_events().await? {
                self.group_availability.report_outage(
                    "it has assigned no lanes to this process, and no other process handles their events; reading the \
                     log instead",
                );
            }
            if topic_is_new {
                self.rejoin();
            }
        }
        let group_outage = self.group_availability.outage_reason();
        let fallback = kafka_is_down || group_outage.is_some();
        let reason = group_outage.unwrap_or_else(|| "it has not yet assigned lanes to this process".to_owned());
        self.health.set_outage(self.group.component, Some(reason));
        Ok(fallback)
    }

    /// Leaves the group and joins it again: librdkafka may never notice a topic that was created while it joined.
    fn rejoin(&mut self) {
        let (settings, log, kafka) = (self.settings.clone(), self.log.clone(), self.kafka_availability.clone());
        let connection = join_group(settings, self.group.name, log, kafka, Duration::ZERO);
        if let GroupConnection::Open(feed) = std::mem::replace(&mut self.connection, connection) {
            tokio::spawn(feed.close());
        }
        self.assigned_at = Instant::now();
    }

    /// True if an event in the lanes that the presence table assigns to this process has not been handled for longer
    /// than [`OVERDUE_AGE`]. A standby gets no lanes from the group either, but then another member handles their
    /// events.
    async fn has_overdue_events(&self) -> sqlx::Result<bool> {
        let text = format!(
            "SELECT EXISTS (
                SELECT FROM unnest($1::smallint[]) AS ours(lane) LEFT JOIN ({progress}) AS processed USING (lane)
                CROSS JOIN LATERAL (SELECT e.recorded_at FROM log.events e
                                    WHERE e.lane = ours.lane AND e.position > coalesce(processed.position, 0)
                                    ORDER BY e.position LIMIT 1) AS next
                WHERE next.recorded_at < clock_timestamp() - $2 * interval '1 second')",
            progress = self.group.progress_sql
        );
        let lanes: Vec<i16> = self.assigned_lanes.borrow().iter().map(|lane| lane.0).collect();
        sqlx::query_scalar(&text).bind(lanes).bind(OVERDUE_AGE.as_secs_f64()).fetch_one(&self.pool).await
    }
}

/// Joins the group in a task of its own, after a pause: Kafka may take seconds to answer.
fn join_group(
    settings: kafka::Settings,
    group: &'static str,
    log: StoreFeed,
    kafka_availability: Availability,
    pause: Duration,
) -> GroupConnection {
    GroupConnection::Opening(tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        Feed::open(&settings, group, log, kafka_availability).await
    }))
}
