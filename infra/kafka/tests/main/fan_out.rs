//! The way from the log to a worker when nothing goes wrong.

use std::time::Duration;

use kafka::TopicError;
use tokio::time::Instant;

use crate::log::Log;
use crate::servers::Place;
use crate::wire::{Taken, delete_topic, eventually, feed, make_topic, records, relay};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_every_event_once_and_in_order() {
    let place = Place::shared().await;
    let log = Log::with(3_000);
    let running = relay(&place, &log);
    let mut feed = feed(&place, &log, "worker").await;
    let mut taken = Taken::default();
    taken.until(&mut feed, 48_000).await;
    assert_eq!((taken.repeats, taken.holes, taken.foreign), (0, 0, 0));
    assert_eq!(feed.lanes().len(), 16);

    // What comes now goes through at once.
    let mut slowest = Duration::ZERO;
    for round in 1..=20 {
        let since = Instant::now();
        log.append(round % 16, 1);
        taken.until(&mut feed, 48_000 + usize::try_from(round).expect("small")).await;
        slowest = slowest.max(since.elapsed());
    }
    println!("slowest of 20 events from the log to a worker: {slowest:?}");
    for events in taken.events.values() {
        assert!(events.windows(2).all(|pair| pair[0].position + 1 == pair[1].position));
    }
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_repeats_nothing() {
    let place = Place::shared().await;
    let log = Log::with(500);
    let mut taken = Taken::default();
    let running = relay(&place, &log);
    let mut feed = feed(&place, &log, "worker").await;
    taken.until(&mut feed, 8_000).await;
    running.stop().await.expect("a clean stop");
    log.append(3, 10);
    let running = relay(&place, &log);
    taken.until(&mut feed, 8_010).await;
    running.stop().await.expect("a clean stop");
    assert_eq!((records(&place).await, taken.repeats, taken.holes), (8_010, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_another_number_of_partitions_is_refused_until_it_is_gone() {
    let place = Place::shared().await;
    make_topic(&place, 3).await;
    let log = Log::with(1);
    let running = relay(&place, &log);
    let reason = || running.outages[0].reason();
    // A topic that was just made is not known everywhere at once; that is another reason, and it passes.
    let refuses = || reason().is_some_and(|why| why.contains("has 3 partitions and must have 16, one per lane"));
    eventually("the relay refuses the topic", async || refuses()).await;
    let refused = kafka::Feed::open(&place.settings, "worker", log.clone(), kafka::Outage::of("Kafka"))
        .await
        .err()
        .expect("refused");
    assert!(matches!(refused, TopicError::Partitions { partitions: 3, .. }), "{refused}");
    assert_eq!(records(&place).await, 0);

    // Nobody has to start it again once the topic is gone.
    delete_topic(&place).await;
    eventually("the relay makes the topic and fills it", async || records(&place).await == 16).await;
    assert_eq!(reason(), None);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_a_record_is_left_out_and_stops_nobody() {
    let mut place = Place::shared().await;
    place.settings.record_bytes_most = 100_000;
    let log = Log::with(20);
    log.set_payload(5, 7, format!("\"{}\"", "x".repeat(200_000)));
    let running = relay(&place, &log);
    let mut feed = feed(&place, &log, "worker").await;
    let mut taken = Taken::default();
    taken.until(&mut feed, 15 * 20 + 6).await;
    while taken.holes < 13 {
        taken.take(feed.next(100, Duration::from_secs(1)).await.expect("the log answers"));
    }
    assert_eq!((taken.holes, taken.events[&5].len()), (13, 6));
    running.stop().await.expect("a clean stop");
}
