//! Faults between the log and a consumer: killed relays, lost brokers, changed topics, a rewritten log.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::feed::{LONG, Received, admin, delete_topic, eventually, feed, make_topic, records, relay};
use crate::log::Log;
use crate::servers::{TestEnvironment, kill_broker, start_broker};

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_takes_over_after_the_lease_of_a_killed_one() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(5_000);
    let first = relay(&environment, &log);
    eventually("the first relay is under way", async || records(&environment).await > 8_000).await;
    let owner = owner(&environment).await;
    let (second, since) = (relay(&environment, &log), Instant::now());
    first.kill().await;
    eventually("the second relay takes over", async || self::owner(&environment).await != owner).await;
    let before = records(&environment).await;
    eventually("the second relay goes on", async || records(&environment).await > before).await;
    println!("taken over {:?} after a kill", since.elapsed());
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 80_000).await;
    assert_eq!(received.gaps, 0);
    second.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_takes_over_from_a_stopped_one_without_waiting_for_its_lease() {
    let mut environment = TestEnvironment::shared().await;
    // Longer than any test waits, so that only a released lane can be taken over.
    environment.settings.lease_ms = 10 * i64::try_from(LONG.as_millis()).expect("small");
    let log = Log::with(100);
    let first = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 1_600).await;
    let second = relay(&environment, &log);
    first.stop().await.expect("a clean stop");
    (0..16).for_each(|lane| log.append(lane, 1));
    received.until(&mut feed, 1_616).await;
    assert_eq!(received.gaps, 0);
    second.stop().await.expect("a clean stop");
}

/// Makes the topic, unless the relay was faster. A topic that is being deleted cannot be made yet.
async fn topic_is_made(environment: &TestEnvironment) -> bool {
    let topic = NewTopic::new(&environment.settings.topic, 16, TopicReplication::Fixed(1));
    let made = admin(environment).create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
    made.into_iter().all(|made| made.is_ok()) || records(environment).await > 0
}

async fn owner(environment: &TestEnvironment) -> String {
    let owner = sqlx::query_scalar("SELECT max(owner) FROM work.relays").fetch_one(&environment.pool);
    owner.await.expect("PostgreSQL answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_consumer_catch_up_after_a_broker_restart() {
    let environment = TestEnvironment::alone().await;
    let log = Log::with(2_000);
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 5_000).await;
    kill_broker();
    (0..16).for_each(|lane| log.append(lane, 100));
    eventually("the relay reports the error", async || {
        running.kafka.outage_reason().is_some_and(|reason| reason.contains("Connection refused"))
    })
    .await;
    start_broker();
    let since = Instant::now();
    eventually("everything is relayed", async || records(&environment).await >= 33_600).await;
    println!("the relay has caught up {:?} after the broker was back", since.elapsed());
    received.until(&mut feed, 33_600).await;
    println!(
        "the consumer has caught up {:?} after the broker was back, {} repeats",
        since.elapsed(),
        received.repeats
    );
    assert_eq!(received.gaps, 0);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_before_kafka_waits_and_catches_up() {
    let environment = TestEnvironment::alone().await;
    kill_broker();
    let log = Log::with(100);
    let running = relay(&environment, &log);
    eventually("the relay reports the outage", async || running.kafka.outage_reason().is_some()).await;
    start_broker();
    let since = Instant::now();
    eventually("everything is relayed", async || records(&environment).await == 1_600).await;
    assert_eq!(running.kafka.outage_reason(), None);
    println!("caught up {:?} after the broker came", since.elapsed());
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_recreated_while_the_relay_runs_is_filled_again() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(2_000);
    let running = relay(&environment, &log);
    eventually("everything is relayed", async || records(&environment).await == 32_000).await;
    delete_topic(&environment).await;
    eventually("the topic is deleted", async || records(&environment).await < 32_000).await;
    eventually("the topic is there again", async || topic_is_made(&environment).await).await;
    (0..16).for_each(|lane| log.append(lane, 10));
    let since = Instant::now();
    eventually("the topic is filled again", async || records(&environment).await >= 32_160).await;
    println!("filled again {:?} after it was wiped", since.elapsed());
    let mut received = Received::default();
    let mut feed = feed(&environment, &log, "consumer").await;
    received.until(&mut feed, 32_160).await;
    println!("{} records came before a gap was filled", received.gaps);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_on_a_truncated_topic_gets_the_rest_and_detects_the_gap() -> Result<(), KafkaError> {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(200);
    let running = relay(&environment, &log);
    eventually("everything is relayed", async || records(&environment).await == 3_200).await;
    let mut upto = TopicPartitionList::new();
    for lane in 0..16 {
        upto.add_partition_offset(&environment.settings.topic, lane, Offset::Offset(150))?;
    }
    admin(&environment).delete_records(&upto, &AdminOptions::new()).await?;
    (0..16).for_each(|lane| log.append(lane, 10));
    eventually("the relay goes on", async || records(&environment).await == 3_360).await;
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut first = BTreeMap::new();
    let mut count = 0;
    while count < 16 * 60 {
        for event in feed.next(1_000, Duration::from_secs(1)).await.expect("the log answers").events {
            count += 1;
            first.entry(event.lane).or_insert(event.position);
        }
    }
    assert_eq!(first, (0..16).map(|lane| (lane, 151)).collect(), "the gap starts at the first position");
    running.stop().await.expect("a clean stop");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_created_again_by_the_relay() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(200);
    let running = relay(&environment, &log);
    eventually("everything is relayed", async || records(&environment).await == 3_200).await;
    delete_topic(&environment).await;
    eventually("the topic is deleted", async || records(&environment).await < 3_200).await;
    (0..16).for_each(|lane| log.append(lane, 10));
    let since = Instant::now();
    eventually("the topic is filled again", async || records(&environment).await >= 3_360).await;
    println!("created and filled again {:?} after it was deleted", since.elapsed());
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_older_than_the_topic_reports_its_creation_and_a_newer_one_does_not() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(0);
    let mut before = feed(&environment, &log, "consumer").await;
    assert!(!before.check_topic().await, "there is no topic yet");
    make_topic(&environment, 16).await;
    eventually("the topic is seen", async || before.check_topic().await).await;
    let mut after = feed(&environment, &log, "another").await;
    assert!(!after.check_topic().await, "no topic was created since");
    assert_eq!(after.availability().outage_reason(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn relaying_continues_after_the_last_common_position_of_a_rewritten_log() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(100);
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 1_600).await;
    running.stop().await.expect("a clean stop");

    // Lane 2 is rewritten while no relay runs, lane 9 becomes shorter than its partition, lane 4 is rewritten while
    // relayed.
    log.take_over(2, 22, 81);
    log.append(2, 50);
    log.take_over(9, 99, 61);
    log.append(9, 5);
    let running = relay(&environment, &log);
    eventually("both are relayed", async || records(&environment).await == 1_600 + 50 + 5).await;
    log.take_over(4, 44, 91);
    log.append(4, 10);
    eventually("the third is relayed", async || records(&environment).await == 1_600 + 50 + 5 + 10).await;
    log.append(9, 1);
    let mut after = Vec::new();
    while after.len() < 66 {
        after.extend(feed.next(1_000, Duration::from_secs(1)).await.expect("the log answers").events);
    }
    for (lane, epoch, positions) in [(2, 22, 81..=130), (9, 99, 61..=66), (4, 44, 91..=100)] {
        let of_lane = after.iter().filter(|event| event.lane == lane);
        let seen: Vec<_> = of_lane.map(|event| (event.epoch, event.position)).collect();
        assert_eq!(seen, positions.map(|position| (epoch, position)).collect::<Vec<_>>());
    }
    running.stop().await.expect("a clean stop");
}
