//! Events from the log to a consumer, without faults.

use std::time::Duration;

use kafka::TopicError;
use tokio::time::Instant;

use crate::feed::{Received, delete_topic, eventually, feed, make_topic, records, relay};
use crate::log::Log;
use crate::servers::TestEnvironment;

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_gets_every_event_once_and_in_order() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(3_000);
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 48_000).await;
    assert_eq!((received.repeats, received.gaps, received.foreign), (0, 0, 0));
    assert_eq!(feed.lanes().len(), 16);

    // New events arrive without delay.
    let mut slowest = Duration::ZERO;
    for round in 1..=20 {
        let since = Instant::now();
        log.append(round % 16, 1);
        received.until(&mut feed, 48_000 + usize::try_from(round).expect("small")).await;
        slowest = slowest.max(since.elapsed());
    }
    println!("slowest of 20 events from the log to a consumer: {slowest:?}");
    for events in received.events.values() {
        assert!(events.windows(2).all(|pair| pair[0].position + 1 == pair[1].position));
    }
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_relay_repeats_no_record() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(500);
    let mut received = Received::default();
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    received.until(&mut feed, 8_000).await;
    running.stop().await.expect("a clean stop");
    log.append(3, 10);
    let running = relay(&environment, &log);
    received.until(&mut feed, 8_010).await;
    running.stop().await.expect("a clean stop");
    assert_eq!((records(&environment).await, received.repeats, received.gaps), (8_010, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_another_number_of_partitions_is_rejected_until_it_is_deleted() {
    let environment = TestEnvironment::shared().await;
    make_topic(&environment, 3).await;
    let log = Log::with(1);
    let running = relay(&environment, &log);
    let reason = || running.kafka.outage_reason();
    // A new topic is not known to all brokers at once, so other reasons may come first.
    let refuses = || reason().is_some_and(|why| why.contains("has 3 partitions and must have 16, one per lane"));
    eventually("the relay rejects the topic", async || refuses()).await;
    let refused = kafka::Feed::open(&environment.settings, "consumer", log.clone(), kafka::Availability::new("Kafka"))
        .await
        .err()
        .expect("rejected");
    assert!(matches!(refused, TopicError::Partitions { partitions: 3, .. }), "{refused}");
    assert_eq!(records(&environment).await, 0);

    // The relay needs no restart after the topic was deleted.
    delete_topic(&environment).await;
    eventually("the relay creates the topic and fills it", async || records(&environment).await == 16).await;
    assert_eq!(reason(), None);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_three_lanes_has_a_topic_with_three_partitions() {
    let environment = TestEnvironment::shared().await;
    sqlx::query("DELETE FROM work.relays WHERE lane >= 3").execute(&environment.pool).await.expect("three lanes");
    let log = Log::with_lanes(3, 100);
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 300).await;
    assert_eq!((received.repeats, received.gaps, received.foreign), (0, 0, 0));
    assert_eq!(feed.lanes().iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let status = kafka::probe(&environment.settings, Some(3)).await.expect("three partitions");
    assert_eq!(status, "reachable");
    let refused = kafka::probe(&environment.settings, Some(16)).await.expect_err("rejected");
    assert!(matches!(refused, TopicError::Partitions { partitions: 3, lanes: 16, .. }), "{refused}");
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_a_record_is_left_out_and_later_events_are_relayed() {
    let mut environment = TestEnvironment::shared().await;
    environment.settings.record_bytes_most = 100_000;
    let log = Log::with(20);
    log.set_payload(5, 7, format!("\"{}\"", "x".repeat(200_000)));
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 15 * 20 + 6).await;
    while received.gaps < 13 {
        received.add(feed.next(100, Duration::from_secs(1)).await.expect("the log answers"));
    }
    assert_eq!((received.gaps, received.events[&5].len()), (13, 6));
    running.stop().await.expect("a clean stop");
}
