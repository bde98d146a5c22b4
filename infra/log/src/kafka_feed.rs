//! Kafka feed: the events of the log for consumers that keep their own checkpoints (read models and policies).
//!
//! Kafka is never the source of truth. A consumer reads from the log the events that Kafka lacks; while Kafka or the
//! consumer group does not answer, it reads everything from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use kafka::{Batch, Feed, Outage, TopicError};
use platform::health::Health;
use projections::ports::{Fault, History, RawEvent};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::StoreFeed;

/// Maximum number of events of one batch, all lanes together.
pub const BATCH_EVENTS_MOST: usize = 2_000;
/// Time to wait for records before the feed returns an empty batch.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Interval between two comparisons with the log. Kafka may be down, and it may have refused an event.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Name of Kafka in health reports.
const KAFKA: &str = "Kafka";
/// Time without assigned lanes after which the group is joined again, and age of an unread event from which the log is
/// read instead of Kafka.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Consumer group of one kind of consumer.
pub struct ConsumerGroup {
    /// Kafka's id of the group.
    pub name: &'static str,
    /// Name of the group in health reports.
    pub part: &'static str,
    /// Role of the processes, as a label of metrics.
    pub role: &'static str,
    /// SQL query for (`lane`, `position`): the highest position that a consumer of this kind has processed.
    pub progress_sql: &'static str,
}

/// Membership in a consumer group. Joins in the background, and again after failures.
pub struct KafkaFeed {
    group: ConsumerGroup,
    settings: kafka::Settings,
    pool: PgPool,
    log: StoreFeed,
    /// Lanes of this process while no group assigns lanes.
    share: watch::Receiver<BTreeSet<LaneId>>,
    health: Health,
    connection: GroupConnection,
    outage: Outage,
    /// Kafka answers, but the group assigns no lanes.
    group_outage: Outage,
    /// Time at which this process last had assigned lanes, or joined the group again to get some.
    assigned_at: Instant,
    compared_at: Instant,
    /// Heads of the lanes at `compared_at`.
    heads: BTreeMap<i16, i64>,
    /// Kafka or the group does not answer: the log is read, and lanes are shared by presence, as without Kafka.
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
    /// The lanes of this process have changed. Another process may have moved their checkpoints, so they are read
    /// again.
    pub reassigned: bool,
}

/// Heads of the log compared with the positions that a consumer has processed.
pub struct LogComparison {
    /// Lanes whose consumer has not reached the head found by the previous comparison; all lanes of this process while
    /// Kafka is down.
    pub lagging: BTreeSet<LaneId>,
    /// Number of events that are in the log and not processed, all lanes of this process together.
    pub lag: i64,
}

impl KafkaFeed {
    /// Starts joining the group. Only for processes that do not run the scribe: those read their own tail.
    pub fn open(
        group: ConsumerGroup,
        settings: kafka::Settings,
        pool: PgPool,
        share: watch::Receiver<BTreeSet<LaneId>>,
        health: Health,
    ) -> Self {
        let log = StoreFeed::new(pool.clone(), None);
        let (outage, group_outage, now) = (Outage::of(KAFKA), Outage::of(group.part), Instant::now());
        let connection = join_group(settings.clone(), group.name, log.clone(), outage.clone(), Duration::ZERO);
        Self {
            group,
            settings,
            pool,
            log,
            share,
            health,
            connection,
            outage,
            group_outage,
            assigned_at: now,
            compared_at: now,
            heads: BTreeMap::new(),
            fallback: true,
        }
    }

    /// The next events; none until the group is joined. The consumer drops repeated events by their positions.
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
        self.compared_at.elapsed() > LOG_CHECK_INTERVAL
    }

    /// Compares the heads of the log with the processed position of each lane, if the comparison is due. A lane lags
    /// only behind the heads of the previous comparison: newer events are probably on their way through Kafka, and
    /// would be read twice.
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

    /// Lanes of this process: those assigned by the group, or its share by presence while Kafka is down.
    pub fn lanes(&self) -> BTreeSet<LaneId> {
        match &self.connection {
            GroupConnection::Open(feed) if !self.fallback => feed.lanes().iter().copied().map(LaneId).collect(),
            _ => self.share.borrow().clone(),
        }
    }

    /// Commits the group's offsets: all events returned so far are processed. The next member begins near them, but
    /// trusts only its checkpoints.
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
                self.outage.back();
                self.connection = GroupConnection::Open(Box::new(feed));
            }
            Ok(failed) => {
                let reason = match failed {
                    Ok(opened) => opened.err().map_or_else(String::new, |error| error.to_string()),
                    Err(panic) => panic.to_string(),
                };
                self.outage.away(&reason);
                let (settings, outage) = (self.settings.clone(), self.outage.clone());
                self.connection = join_group(settings, self.group.name, self.log.clone(), outage, LOG_CHECK_INTERVAL);
            }
        }
        Ok(Batch::default())
    }

    /// True if events must be read from the log now, because Kafka or the group does not deliver them. Reports the
    /// state of both to the health of the process.
    async fn needs_fallback(&mut self) -> sqlx::Result<bool> {
        let check = self.is_comparison_due();
        let GroupConnection::Open(feed) = &mut self.connection else {
            self.health.set_outage(KAFKA, self.outage.reason());
            return Ok(true);
        };
        let in_doubt = self.outage.reason().is_some() || feed.lanes().is_empty();
        let topic_is_new = check && in_doubt && feed.check_topic().await;
        let outage = self.outage.reason();
        let kafka_is_down = outage.is_some();
        self.health.set_outage(KAFKA, outage);
        if !feed.lanes().is_empty() {
            self.assigned_at = Instant::now();
            self.group_outage.back();
            self.health.set_outage(self.group.part, None);
            return Ok(kafka_is_down);
        }
        if check && self.assigned_at.elapsed() > ASSIGNMENT_TIMEOUT {
            if self.group_outage.reason().is_none() && self.has_overdue_events().await? {
                self.group_outage.away(
                    "it has assigned no lanes to this process, and no other process handles their events; reading the \
                     log instead",
                );
            }
            if topic_is_new {
                self.rejoin();
            }
        }
        let group_outage = self.group_outage.reason();
        let fallback = kafka_is_down || group_outage.is_some();
        let reason = group_outage.unwrap_or_else(|| "it has not yet assigned lanes to this process".to_owned());
        self.health.set_outage(self.group.part, Some(reason));
        Ok(fallback)
    }

    /// Leaves the group and joins it again: librdkafka may never notice a topic that was created while it joined.
    fn rejoin(&mut self) {
        let (settings, log, outage) = (self.settings.clone(), self.log.clone(), self.outage.clone());
        let connection = join_group(settings, self.group.name, log, outage, Duration::ZERO);
        if let GroupConnection::Open(feed) = std::mem::replace(&mut self.connection, connection) {
            tokio::spawn(feed.close());
        }
        self.assigned_at = Instant::now();
    }

    /// True if an event in this process's share of the lanes has waited longer than [`ASSIGNMENT_TIMEOUT`]. A standby
    /// has no assigned lanes either, but then another member of the group processes the events.
    async fn has_overdue_events(&self) -> sqlx::Result<bool> {
        let text = format!(
            "SELECT EXISTS (
                SELECT FROM unnest($1::smallint[]) AS ours(lane) LEFT JOIN ({progress}) AS taken USING (lane)
                CROSS JOIN LATERAL (SELECT e.recorded_at FROM log.events e
                                    WHERE e.lane = ours.lane AND e.position > coalesce(taken.position, 0)
                                    ORDER BY e.position LIMIT 1) AS next
                WHERE next.recorded_at < clock_timestamp() - $2 * interval '1 second')",
            progress = self.group.progress_sql
        );
        let lanes: Vec<i16> = self.share.borrow().iter().map(|lane| lane.0).collect();
        sqlx::query_scalar(&text).bind(lanes).bind(ASSIGNMENT_TIMEOUT.as_secs_f64()).fetch_one(&self.pool).await
    }
}

/// Joins the group in a task of its own, after a pause: Kafka may take seconds to answer.
fn join_group(
    settings: kafka::Settings,
    group: &'static str,
    log: StoreFeed,
    outage: Outage,
    pause: Duration,
) -> GroupConnection {
    GroupConnection::Opening(tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        Feed::open(&settings, group, log, outage).await
    }))
}
