//! Follows what Kafka carries of the log, for workers that keep positions of their own: read models and policies. What is
//! missing there they read from the log itself, and so they do with everything while Kafka does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use kafka::{Batch, Feed, Outage, TopicError};
use projections::ports::{Fault, History, RawEvent};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::StoreFeed;
use platform::health::Health;

/// Events taken from all lanes at a time.
pub const BATCH: usize = 2_000;
/// How long to wait for events before the rest is looked after.
const WITHIN: Duration = Duration::from_millis(100);
/// How often the log is asked whether Kafka has kept something back: it may be away, and it may refuse an event.
const ASK_THE_LOG: Duration = Duration::from_secs(1);
/// What is said to be away.
const KAFKA: &str = "Kafka";
/// How long the group may take to deal out lanes before it is joined anew, and others to take what falls to us before the
/// log is followed instead.
const DEALT_WITHIN: Duration = Duration::from_secs(10);

/// What is different for each kind of worker.
pub struct Group {
    /// The consumer group of all processes of this kind.
    pub name: &'static str,
    /// What is said to deal out no lanes.
    pub part: &'static str,
    /// The role of these processes, for figures.
    pub role: &'static str,
    /// The statement that tells (`lane`, `position`): up to where anybody of this kind has taken the events.
    pub taken: &'static str,
}

/// A place in a consumer group, or the wish for one.
pub struct Wire {
    group: Group,
    settings: kafka::Settings,
    pool: PgPool,
    log: StoreFeed,
    /// The lanes that fall to this process where no group deals them out.
    share: watch::Receiver<BTreeSet<LaneId>>,
    health: Health,
    link: Link,
    outage: Outage,
    /// The group deals out no lanes, though Kafka answers.
    undealt: Outage,
    /// When there were lanes of ours last, or when the group was joined anew to be dealt some.
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

/// What came in one go.
pub struct Carried {
    /// In order within each lane. Positions may repeat and may be missing.
    pub events: Vec<RawEvent>,
    /// There are lanes of ours that were somebody else's, who has moved their positions.
    pub handed_over: bool,
}

/// How the log looked beside what had come of it.
pub struct Look {
    /// The lanes of which less has come than the log had a look earlier; all of ours while Kafka is away.
    pub late: BTreeSet<LaneId>,
    /// How many events have not come yet.
    pub lag: i64,
}

impl Wire {
    /// Joins the group as soon as Kafka answers. Whoever follows Kafka writes no lanes.
    pub fn open(
        group: Group,
        settings: kafka::Settings,
        pool: PgPool,
        share: watch::Receiver<BTreeSet<LaneId>>,
        health: Health,
    ) -> Self {
        let log = StoreFeed::new(pool.clone(), None);
        let (outage, undealt, now) = (Outage::of(KAFKA), Outage::of(group.part), Instant::now());
        let link = open(settings.clone(), group.name, log.clone(), outage.clone(), Duration::ZERO);
        let (ends, alone) = (BTreeMap::new(), true);
        Self { group, settings, pool, log, share, health, link, outage, undealt, dealt: now, asked: now, ends, alone }
    }

    /// What comes next; nothing while Kafka was never reached. Positions decide what of it is new.
    pub async fn next(&mut self) -> anyhow::Result<Carried> {
        let Batch { events, assigned, .. } = self.next_batch().await?;
        let alone = self.is_alone().await?;
        let handed_over = !assigned.is_empty() || alone != self.alone;
        self.alone = alone;
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        metrics::counter!("cartulary_events_from_kafka_total", "role" => self.group.role).increment(count);
        Ok(Carried { events, handed_over })
    }

    /// Whether it is time to look at the log.
    pub fn asks_the_log(&self) -> bool {
        self.asked.elapsed() > ASK_THE_LOG
    }

    /// Looks at the log if it is time to, and compares it with the last position taken of each lane. What is merely on its
    /// way is left to Kafka: read from both, it would be taken twice.
    pub async fn look_at_log(&mut self, taken: impl Fn(i16) -> Option<i64>) -> Result<Option<Look>, Fault> {
        if !self.asks_the_log() {
            return Ok(None);
        }
        let (ours, heads) = (self.lanes(), self.log.heads().await?);
        let ends = heads.iter().map(|head| (head.lane, head.position)).collect();
        let before = std::mem::replace(&mut self.ends, ends);
        self.asked = Instant::now();
        let is_late = |lane: &LaneId| {
            let (end, taken) = (before.get(&lane.0), taken(lane.0));
            self.alone || end.zip(taken).is_some_and(|(end, taken)| taken < *end)
        };
        let missing = |lane: &LaneId| Some(self.ends.get(&lane.0)? - taken(lane.0)?);
        let lag = ours.iter().filter_map(missing).sum();
        Ok(Some(Look { late: ours.into_iter().filter(is_late).collect(), lag }))
    }

    /// The lanes that this process looks after.
    pub fn lanes(&self) -> BTreeSet<LaneId> {
        match &self.link {
            Link::Open(feed) if !self.alone => feed.lanes().iter().copied().map(LaneId).collect(),
            _ => self.share.borrow().clone(),
        }
    }

    /// Leaves a hint for whoever has these lanes next: everything that was handed out is taken.
    pub fn commit(&self) {
        if let Link::Open(feed) = &self.link {
            feed.commit();
        }
    }

    async fn next_batch(&mut self) -> Result<Batch, Fault> {
        let opening = match &mut self.link {
            Link::Open(feed) => return feed.next(BATCH, WITHIN).await,
            Link::Opening(opening) => opening,
        };
        match tokio::time::timeout(WITHIN, opening).await {
            Err(_) => {}
            Ok(Ok(Ok(feed))) => {
                self.outage.back();
                self.link = Link::Open(Box::new(feed));
            }
            Ok(failed) => {
                let reason = match failed {
                    Ok(opened) => opened.err().map_or_else(String::new, |error| error.to_string()),
                    Err(panic) => panic.to_string(),
                };
                self.outage.away(&reason);
                let (settings, outage) = (self.settings.clone(), self.outage.clone());
                self.link = open(settings, self.group.name, self.log.clone(), outage, ASK_THE_LOG);
            }
        }
        Ok(Batch::default())
    }

    /// Whether the log must do without Kafka now; says so.
    async fn is_alone(&mut self) -> sqlx::Result<bool> {
        let look = self.asks_the_log();
        let Link::Open(feed) = &mut self.link else {
            self.health.show(KAFKA, self.outage.reason());
            return Ok(true);
        };
        let in_doubt = self.outage.reason().is_some() || feed.lanes().is_empty();
        let topic_is_new = look && in_doubt && feed.check_topic().await;
        let away = self.outage.reason();
        let alone = away.is_some();
        self.health.show(KAFKA, away);
        if !feed.lanes().is_empty() {
            self.dealt = Instant::now();
            self.undealt.back();
            self.health.show(self.group.part, None);
            return Ok(alone);
        }
        if look && self.dealt.elapsed() > DEALT_WITHIN {
            if self.undealt.reason().is_none() && self.is_left_alone().await? {
                self.undealt
                    .away("it has dealt out no lanes to this process, and nobody takes their events; reading the log");
            }
            if topic_is_new {
                self.join_anew();
            }
        }
        let undealt = self.undealt.reason();
        let alone = alone || undealt.is_some();
        let waits = undealt.unwrap_or_else(|| "it has dealt out no lanes to this process yet".to_owned());
        self.health.show(self.group.part, Some(waits));
        Ok(alone)
    }

    /// Leaves the group and joins it again.
    fn join_anew(&mut self) {
        let (settings, log, outage) = (self.settings.clone(), self.log.clone(), self.outage.clone());
        let link = open(settings, self.group.name, log, outage, Duration::ZERO);
        if let Link::Open(feed) = std::mem::replace(&mut self.link, link) {
            tokio::spawn(feed.close());
        }
        self.dealt = Instant::now();
    }

    /// Whether an event that would fall to this process without Kafka has waited too long for anybody of its kind. Who
    /// stands by for others has no lanes either, but theirs are looked after.
    async fn is_left_alone(&self) -> sqlx::Result<bool> {
        let text = format!(
            "SELECT EXISTS (
                SELECT FROM unnest($1::smallint[]) AS ours(lane) LEFT JOIN ({taken}) AS taken USING (lane)
                CROSS JOIN LATERAL (SELECT e.recorded_at FROM log.events e
                                    WHERE e.lane = ours.lane AND e.position > coalesce(taken.position, 0)
                                    ORDER BY e.position LIMIT 1) AS next
                WHERE next.recorded_at < clock_timestamp() - $2 * interval '1 second')",
            taken = self.group.taken
        );
        let lanes: Vec<i16> = self.share.borrow().iter().map(|lane| lane.0).collect();
        sqlx::query_scalar(&text).bind(lanes).bind(DEALT_WITHIN.as_secs_f64()).fetch_one(&self.pool).await
    }
}

/// Joins the group on a task of its own, because Kafka may take its time.
fn open(settings: kafka::Settings, group: &'static str, log: StoreFeed, outage: Outage, pause: Duration) -> Link {
    Link::Opening(tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        Feed::open(&settings, group, log, outage).await
    }))
}
