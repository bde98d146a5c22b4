//! Several consumers in one consumer group.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::feed::{Received, eventually, feed, records, relay};
use crate::log::Log;
use crate::servers::TestEnvironment;

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_belongs_to_one_consumer_at_a_time() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(100);
    let running = relay(&environment, &log);
    eventually("everything is relayed", async || records(&environment).await == 1_600).await;

    let mut first = feed(&environment, &log, "consumers").await;
    let mut received = Received::default();
    received.until(&mut first, 1_600).await;
    first.commit();
    let mut second = feed(&environment, &log, "consumers").await;
    let (mut of_first, mut of_second) = (received, Received::default());
    while second.lanes().len() < 8 || first.lanes().len() > 8 {
        let batch = first.next(1_000, Duration::from_millis(50)).await.expect("the log answers");
        assert!(batch.events.iter().all(|event| first.lanes().contains(&event.lane)));
        of_first.add(batch);
        let batch = second.next(1_000, Duration::from_millis(50)).await.expect("the log answers");
        assert!(batch.events.iter().all(|event| second.lanes().contains(&event.lane)));
        of_second.add(batch);
    }
    assert!(first.lanes().is_disjoint(second.lanes()));

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

    // The lanes of a consumer that leaves are reassigned at once.
    second.close().await;
    let mut assigned = 0;
    eventually("the first consumer has all lanes", async || {
        assigned += first.next(100, Duration::from_millis(100)).await.expect("the log answers").assigned.len();
        first.lanes().len() == 16
    })
    .await;
    assert_eq!(assigned, 8);
    first.close().await;
    running.stop().await.expect("a clean stop");
}
