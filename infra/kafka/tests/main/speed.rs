//! Required throughput of a relay that catches up: 50,000 events/s, and half that of a bare producer with the same
//! records. Asserted in optimised builds only.

use std::time::Duration;

use kafka::speed::{self, Records};
use kafka::{Leases, Settings};
use projections::ports::History;

use crate::feed::{Taken, feed};
use crate::log::Log;
use crate::servers::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_catches_up_at_half_the_throughput_of_a_bare_producer_or_more() {
    let mut place = Place::alone().await;
    let in_lane: i64 = if cfg!(debug_assertions) { 500 } else { 15_000 };
    let log = Log::with(in_lane);
    let count = 16 * usize::try_from(in_lane).expect("small");
    let mut events = Vec::new();
    for lane in 0..16 {
        events.extend(log.events(lane, 0, count).await.expect("memory"));
    }
    // In the order in which a relay of all lanes sends them.
    events.sort_by_key(|event| (event.position / 2_000, event.lane, event.position));
    let (mut relayed, mut bare) = (vec![], vec![]);
    for round in 0..3 {
        let topic = |name: &str| Settings { topic: format!("{name}_{round}"), ..place.settings.clone() };
        bare.push(speed::bare(&topic("bare"), Records::of(&events)).await.expect("Kafka answers"));
        let leases = Leases::new(place.pool.clone(), "speed");
        let records = 16 * in_lane;
        relayed.push(speed::relayed(&topic("relayed"), log.clone(), leases, records).await.expect("Kafka answers"));
    }
    place.settings.topic = "relayed_0".into();
    let since = tokio::time::Instant::now();
    let mut feed = feed(&place, &log, "speed").await;
    Taken::default().until(&mut feed, count).await;
    let taken = since.elapsed();

    let rate = |time: Duration| (f64::from(u32::try_from(count).expect("small")) / time.as_secs_f64()).round();
    let median = |mut times: Vec<Duration>| {
        times.sort();
        rate(times[1])
    };
    let (relayed, bare) = (median(relayed), median(bare));
    println!("relay {relayed}/s, bare producer {bare}/s, feed {}/s with joining the group", rate(taken));
    if !cfg!(debug_assertions) {
        assert!(relayed >= 50_000.0 && relayed >= 0.5 * bare, "relay {relayed}/s, bare producer {bare}/s");
    }
}
