//! Operations on relays, feeds and topics that the tests share.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Availability, Batch, Feed, Leases, Relay};
use projections::ports::RawEvent;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::servers::TestEnvironment;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A relay in a task, with the availability of Kafka that it reports.
pub(crate) struct RunningRelay {
    stop: CancellationToken,
    pub(crate) kafka: Availability,
    task: JoinHandle<()>,
}

/// Starts a relay.
pub(crate) fn relay(environment: &TestEnvironment, log: &Log) -> RunningRelay {
    let stop = CancellationToken::new();
    let relay = Relay::new(environment.settings.clone(), log.clone(), Leases::new(environment.pool.clone(), "test"));
    let [kafka, _] = relay.availability();
    RunningRelay { kafka, task: tokio::spawn(relay.run(stop.clone())), stop }
}

impl RunningRelay {
    pub(crate) async fn stop(self) -> Result<(), JoinError> {
        self.stop.cancel();
        self.task.await
    }

    /// Aborts the relay; its leases stay until they expire.
    pub(crate) async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

/// Opens a feed.
pub(crate) async fn feed(environment: &TestEnvironment, log: &Log, group: &str) -> Feed<Log> {
    Feed::open(&environment.settings, group, log.clone(), Availability::new("Kafka")).await.expect("Kafka answers")
}

/// Events that a consumer received, by lane, processed as a projector does: repeats are skipped, gaps are counted.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) events: BTreeMap<i16, Vec<RawEvent>>,
    pub(crate) repeats: usize,
    pub(crate) gaps: usize,
    pub(crate) foreign: usize,
}

impl Received {
    pub(crate) fn add(&mut self, batch: Batch) {
        self.foreign += batch.foreign;
        for event in batch.events {
            let lane = self.events.entry(event.lane).or_default();
            let next = lane.last().map_or(1, |last| last.position + 1);
            match event.position {
                position if position == next => lane.push(event),
                position if position < next => self.repeats += 1,
                _ => self.gaps += 1,
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }

    /// Receives until it has `count` events.
    pub(crate) async fn until(&mut self, feed: &mut Feed<Log>, count: usize) {
        let since = Instant::now();
        while self.count() < count {
            assert!(since.elapsed() < LONG, "only {} of {count} events came, {} gaps", self.count(), self.gaps);
            self.add(feed.next(5_000, Duration::from_millis(200)).await.expect("the log answers"));
            feed.commit();
        }
    }
}

pub(crate) fn admin(environment: &TestEnvironment) -> AdminClient<DefaultClientContext> {
    client(environment).create().expect("a client")
}

pub(crate) fn client(environment: &TestEnvironment) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &environment.settings.brokers);
    config
}

pub(crate) async fn make_topic(environment: &TestEnvironment, partitions: i32) {
    let topic = NewTopic::new(&environment.settings.topic, partitions, TopicReplication::Fixed(1));
    let made = admin(environment).create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
    made.into_iter().for_each(|made| drop(made.expect("made")));
}

pub(crate) async fn delete_topic(environment: &TestEnvironment) {
    let gone = admin(environment).delete_topics(&[&environment.settings.topic], &AdminOptions::new()).await;
    gone.expect("Kafka answers").into_iter().for_each(|gone| drop(gone.expect("deleted")));
}

/// Waits until a condition holds; returns the time it took.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !so().await {
        assert!(since.elapsed() < LONG, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

/// Number of records written to all partitions so far.
pub(crate) async fn records(environment: &TestEnvironment) -> i64 {
    let (config, topic) = (client(environment), environment.settings.topic.clone());
    let count = move || {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let consumer: BaseConsumer = config.create().expect("a client");
        let end = |lane| consumer.fetch_watermarks(&topic, lane, Duration::from_secs(5)).map_or(0, |(_, end)| end);
        (0..16).map(end).sum()
    };
    tokio::task::spawn_blocking(count).await.expect("counted")
}
