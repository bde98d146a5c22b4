//! Follows what Kafka carries of the log. What is missing there is read from the log itself, and so is everything while
//! Kafka does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use kafka::{Batch, Feed, Outage, TopicError};
use projections::kernel::Model;
use projections::ports::{Fault, History};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{BATCH, PgProjector, ReadSide};
use crate::feed::StoreFeed;

/// The consumer group of all processes that keep read models.
const GROUP: &str = "cartulary.project";
/// How long to wait for events before the rest is looked after.
const WITHIN: Duration = Duration::from_millis(100);
/// How often the log is asked whether Kafka has kept something back: it may be away, and it may refuse an event.
const ASK_THE_LOG: Duration = Duration::from_secs(1);
/// What is said to be away.
const KAFKA: &str = "Kafka";
const GROUP_PART: &str = "the consumer group";
/// How long the group may take to deal out lanes, and others to take what falls to us, before the log is followed instead.
const DEALT_WITHIN: Duration = Duration::from_secs(10);

/// A place in the consumer group, or the wish for one.
pub(super) struct Wire {
    link: Link,
    outage: Outage,
    /// The group deals out no lanes, though Kafka answers.
    undealt: Outage,
    /// When there were lanes of ours last.
    dealt: Instant,
    asked: Instant,
    /// Where the lanes of the log ended then.
    ends: BTreeMap<i16, i64>,
    /// Kafka or the group does not answer, so the lanes are dealt out by who is there, as without Kafka.
    alone: bool,
}

enum Link {
    Open(Box<Feed<StoreFeed>>),
    Opening(JoinHandle<Result<Feed<StoreFeed>, TopicError>>),
}

impl ReadSide {
    /// Joins the group as soon as Kafka answers, if events are to come from there.
    pub(super) fn open_wire(&self) -> Option<Wire> {
        let settings = self.kafka.clone()?;
        let (outage, undealt, now) = (Outage::of(KAFKA), Outage::of(GROUP_PART), Instant::now());
        let link = open(settings, self.feed.clone(), outage.clone(), Duration::ZERO);
        Some(Wire { link, outage, undealt, dealt: now, asked: now, ends: BTreeMap::new(), alone: true })
    }

    /// Takes what comes next. Names the models that have followed a history that was lost.
    pub(super) async fn take_from(
        &mut self,
        wire: &mut Wire,
        projector: &mut PgProjector,
    ) -> anyhow::Result<Vec<Model>> {
        let batch = self.next_batch(wire).await?;
        let alone = self.look_at_wire(wire).await?;
        if !batch.assigned.is_empty() || alone != wire.alone {
            // Somebody else has moved the checkpoints of these lanes.
            *projector = self.open().await?;
            wire.alone = alone;
        }
        let mut behind = BTreeSet::new();
        let mut lost = Vec::new();
        if !batch.events.is_empty() {
            let count = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            metrics::counter!("cartulary_events_from_kafka_total").increment(count);
            let took = self.take(projector, &batch.events).await?;
            lost = took.lost;
            behind.extend(took.holes);
        }
        if wire.asked.elapsed() > ASK_THE_LOG {
            behind.extend(self.late(wire, projector).await?);
            wire.asked = Instant::now();
        }
        if !behind.is_empty() && lost.is_empty() {
            lost = self.catch_up(projector, &behind).await?;
        }
        if let Link::Open(feed) = &wire.link {
            feed.commit();
        }
        Ok(lost)
    }

    /// The lanes of which less has come than the log had when it was last asked, a second ago; all of them while Kafka is
    /// away. What is merely on its way is left to Kafka: read from both, it would be decoded twice.
    async fn late(&self, wire: &mut Wire, projector: &PgProjector) -> Result<BTreeSet<LaneId>, Fault> {
        let (ours, heads) = (self.lanes_of(wire), self.feed.heads().await?);
        self.tell_lag(projector, heads.iter().filter(|head| ours.contains(&LaneId(head.lane))));
        let ends = heads.iter().map(|head| (head.lane, head.position)).collect();
        let before = std::mem::replace(&mut wire.ends, ends);
        let late = |lane: &LaneId| {
            let (end, after) = (before.get(&lane.0), projector.after(lane.0));
            wire.alone || end.zip(after).is_some_and(|(end, after)| after < *end)
        };
        Ok(ours.into_iter().filter(late).collect())
    }

    /// The next events; none while Kafka was never reached.
    async fn next_batch(&self, wire: &mut Wire) -> anyhow::Result<Batch> {
        match &mut wire.link {
            Link::Open(feed) => Ok(feed.next(BATCH, WITHIN).await?),
            Link::Opening(opening) => {
                match tokio::time::timeout(WITHIN, opening).await {
                    Err(_) => {}
                    Ok(Ok(Ok(feed))) => {
                        wire.outage.back();
                        wire.link = Link::Open(Box::new(feed));
                    }
                    Ok(failed) => {
                        let reason = match failed {
                            Ok(opened) => opened.err().map_or_else(String::new, |error| error.to_string()),
                            Err(panic) => panic.to_string(),
                        };
                        wire.outage.away(&reason);
                        if let Some(settings) = self.kafka.clone() {
                            wire.link = open(settings, self.feed.clone(), wire.outage.clone(), ASK_THE_LOG);
                        }
                    }
                }
                Ok(Batch::default())
            }
        }
    }

    /// Whether the log must do without Kafka now; says so.
    async fn look_at_wire(&self, wire: &mut Wire) -> anyhow::Result<bool> {
        let Link::Open(feed) = &wire.link else {
            self.health.show(KAFKA, wire.outage.reason());
            return Ok(true);
        };
        let look = wire.asked.elapsed() > ASK_THE_LOG;
        if wire.outage.reason().is_some() && look {
            feed.look().await;
        }
        let away = wire.outage.reason();
        let alone = away.is_some();
        self.health.show(KAFKA, away);
        if !feed.lanes().is_empty() {
            wire.dealt = Instant::now();
            wire.undealt.back();
            self.health.show(GROUP_PART, None);
            return Ok(alone);
        }
        if look
            && wire.dealt.elapsed() > DEALT_WITHIN
            && wire.undealt.reason().is_none()
            && self.is_left_alone().await?
        {
            wire.undealt
                .away("it has dealt out no lanes to this process, and nobody takes their events; reading the log");
        }
        let undealt = wire.undealt.reason();
        let alone = alone || undealt.is_some();
        let waits = undealt.unwrap_or_else(|| "it has dealt out no lanes to this process yet".to_owned());
        self.health.show(GROUP_PART, Some(waits));
        Ok(alone)
    }

    /// Whether an event that would fall to this process without Kafka has waited too long for any read model. Who
    /// stands by for others has no lanes either, but theirs are looked after.
    async fn is_left_alone(&self) -> sqlx::Result<bool> {
        let text = "
            SELECT EXISTS (
                SELECT FROM (SELECT c.lane, max(c.position) AS position
                             FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                             WHERE c.lane = ANY($1) GROUP BY c.lane) AS taken
                CROSS JOIN LATERAL (SELECT e.recorded_at FROM log.events e
                                    WHERE e.lane = taken.lane AND e.position > taken.position
                                    ORDER BY e.position LIMIT 1) AS next
                WHERE next.recorded_at < clock_timestamp() - $2 * interval '1 second')";
        let lanes: Vec<i16> = self.share().into_iter().map(|lane| lane.0).collect();
        sqlx::query_scalar(text).bind(lanes).bind(DEALT_WITHIN.as_secs_f64()).fetch_one(&self.pool).await
    }

    /// The lanes that this process looks after.
    fn lanes_of(&self, wire: &Wire) -> BTreeSet<LaneId> {
        match &wire.link {
            Link::Open(feed) if !wire.alone => feed.lanes().iter().copied().map(LaneId).collect(),
            _ => self.share(),
        }
    }
}

/// Joins the group on a task of its own, because Kafka may take its time.
fn open(settings: kafka::Settings, log: StoreFeed, outage: Outage, pause: Duration) -> Link {
    Link::Opening(tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        Feed::open(&settings, GROUP, log, outage).await
    }))
}
