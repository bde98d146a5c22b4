//! Several workers in one consumer group.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::feed::{Taken, eventually, feed, records, relay};
use crate::log::Log;
use crate::servers::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_belongs_to_one_worker_at_a_time() {
    let place = Place::shared().await;
    let log = Log::with(100);
    let running = relay(&place, &log);
    eventually("everything is relayed", async || records(&place).await == 1_600).await;

    let mut first = feed(&place, &log, "workers").await;
    let mut taken = Taken::default();
    taken.until(&mut first, 1_600).await;
    first.commit();
    let mut second = feed(&place, &log, "workers").await;
    let (mut of_first, mut of_second) = (taken, Taken::default());
    let mut revoked = BTreeSet::new();
    while second.lanes().len() < 8 || first.lanes().len() > 8 {
        let batch = first.next(1_000, Duration::from_millis(50)).await.expect("the log answers");
        assert!(batch.events.iter().all(|event| first.lanes().contains(&event.lane)));
        revoked.extend(batch.revoked.iter().copied());
        of_first.take(batch);
        let batch = second.next(1_000, Duration::from_millis(50)).await.expect("the log answers");
        assert!(batch.events.iter().all(|event| second.lanes().contains(&event.lane)));
        of_second.take(batch);
    }
    assert!(first.lanes().is_disjoint(second.lanes()));
    assert_eq!(&revoked, second.lanes());

    (0..16).for_each(|lane| log.append(lane, 1));
    let (mut from_first, mut from_second) = (BTreeSet::new(), BTreeSet::new());
    while from_first.len() + from_second.len() < 16 {
        let new = |events: Vec<projections::ports::RawEvent>| {
            events.into_iter().filter(|event| event.position == 101).map(|event| event.lane)
        };
        from_first.extend(new(first.next(100, Duration::from_millis(50)).await.expect("the log").events));
        from_second.extend(new(second.next(100, Duration::from_millis(50)).await.expect("the log").events));
    }
    assert_eq!((&from_first, &from_second), (first.lanes(), second.lanes()));

    // The lanes of a worker that leaves are reassigned at once.
    second.close().await;
    let mut assigned = 0;
    eventually("the first worker has all lanes", async || {
        assigned += first.next(100, Duration::from_millis(100)).await.expect("the log answers").assigned.len();
        first.lanes().len() == 16
    })
    .await;
    assert_eq!(assigned, 8);
    first.close().await;
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_seek_back_in_one_lane() {
    let place = Place::shared().await;
    let log = Log::with(100);
    let running = relay(&place, &log);
    let mut feed = feed(&place, &log, "worker").await;
    Taken::default().until(&mut feed, 1_600).await;
    feed.seek(6, 40).await.expect("Kafka answers");
    let mut again = Vec::new();
    while again.len() < 60 {
        again.extend(feed.next(1_000, Duration::from_millis(200)).await.expect("the log answers").events);
    }
    let places: Vec<_> = again.iter().map(|event| (event.lane, event.position)).collect();
    assert_eq!(places, (41..=100).map(|position| (6, position)).collect::<Vec<_>>());
    running.stop().await.expect("a clean stop");
}
