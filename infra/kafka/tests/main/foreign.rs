//! Records in the topic that no relay wrote.

use kafka::headers;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use crate::feed::{Received, client, eventually, feed, records, relay};
use crate::log::{Log, event};
use crate::servers::TestEnvironment;

#[tokio::test(flavor = "multi_thread")]
async fn foreign_records_are_counted_and_stop_neither_consumer_nor_relay() {
    let environment = TestEnvironment::shared().await;
    let log = Log::with(50);
    let running = relay(&environment, &log);
    eventually("everything is relayed", async || records(&environment).await == 800).await;
    running.stop().await.expect("a clean stop");

    let producer: FutureProducer = client(&environment).create().expect("a client");
    let topic = &environment.settings.topic;
    let send = async |record: FutureRecord<'_, str, str>| {
        producer.send(record, Timeout::Never).await.expect("Kafka takes everything");
    };
    for lane in 0..16 {
        send(FutureRecord::to(topic).partition(lane).key("unknown").payload("something")).await;
    }
    let (early, other) = (event(7, 1_000_000, 1), event(8, 51, 1));
    let (early_key, other_key) = (early.stream.to_string(), other.stream.to_string());
    let record = FutureRecord::to(topic).partition(7).key(&*early_key).payload(&*early.payload);
    send(record.headers(headers(&early))).await;
    let record = FutureRecord::to(topic).partition(9).key(&*other_key).payload(&*other.payload);
    send(record.headers(headers(&other))).await;
    // All headers are valid; the value is not.
    let broken = event(5, 51, 1);
    let broken_key = broken.stream.to_string();
    let record = FutureRecord::to(topic).partition(5).key(&*broken_key).payload("{\"units\":");
    send(record.headers(headers(&broken))).await;
    for _ in 0..100 {
        send(FutureRecord::to(topic).partition(3).key("").payload("{}")).await;
    }

    (0..16).for_each(|lane| log.append(lane, 5));
    let running = relay(&environment, &log);
    let mut feed = feed(&environment, &log, "consumer").await;
    let mut received = Received::default();
    received.until(&mut feed, 880).await;
    assert_eq!((received.gaps, received.repeats, received.foreign), (0, 0, 119));
    (0..16).for_each(|lane| log.append(lane, 1));
    received.until(&mut feed, 896).await;
    assert_eq!((received.gaps, received.repeats, received.foreign), (0, 0, 119));
    assert_eq!(records(&environment).await, 896 + 119, "the relay continued after its own last record");
    running.stop().await.expect("a clean stop");
}
