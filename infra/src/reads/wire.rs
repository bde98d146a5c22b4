//! Follows what Kafka carries of the log. What is missing there is read from the log itself, and so is everything while
//! Kafka does not answer.

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use kafka::{Batch, Feed, Outage, TopicError};
use projections::kernel::Model;
use projections::projector::What;
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

/// A place in the consumer group, or the wish for one.
pub(super) struct Wire {
    link: Link,
    outage: Outage,
    asked: Instant,
    /// Kafka does not answer, so the lanes are dealt out by who is there, as without Kafka.
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
        let outage = Outage::of(KAFKA);
        let link = open(settings, self.feed.clone(), outage.clone(), Duration::ZERO);
        Some(Wire { link, outage, asked: Instant::now(), alone: true })
    }

    /// Takes what comes next. Names the models that have followed a history that was lost.
    pub(super) async fn take_from(
        &mut self,
        wire: &mut Wire,
        projector: &mut PgProjector,
    ) -> anyhow::Result<Vec<Model>> {
        let batch = self.next_batch(wire).await?;
        let alone = self.look_at_wire(wire).await;
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
            let taken = projector.take(&batch.events).await?;
            self.progress.send_modify(|count| *count = count.wrapping_add(1));
            lost = self.look_at(&taken);
            behind.extend(taken.troubles.iter().filter_map(|trouble| match trouble.what {
                What::Hole { lane, .. } => Some(LaneId(lane)),
                _ => None,
            }));
            self.changes.tell(&batch.events, taken.changed);
        }
        if wire.asked.elapsed() > ASK_THE_LOG {
            behind.extend(self.lanes_of(wire));
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
    async fn look_at_wire(&self, wire: &Wire) -> bool {
        let Link::Open(feed) = &wire.link else {
            self.health.show(KAFKA, wire.outage.reason());
            return true;
        };
        if wire.outage.reason().is_some() && wire.asked.elapsed() > ASK_THE_LOG {
            feed.look().await;
        }
        let away = wire.outage.reason();
        let alone = away.is_some();
        self.health.show(KAFKA, away);
        let waits = feed.lanes().is_empty().then(|| "it has dealt out no lanes to this process yet".to_owned());
        self.health.show(GROUP_PART, waits);
        alone
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
