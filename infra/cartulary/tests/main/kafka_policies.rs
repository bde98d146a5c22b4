//! Policies that follow Kafka: each paid order earns its points once and each placed order gets its timers once, after
//! kills, with records missing in Kafka, and after a restore of the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use event_log::PgHistory;
use kafka::{Leases, Relay};
use lab::demo::client::Client;
use lab::fleet::EngineProcess;
use lab::harness::{Broker, Cluster, Shop, database, eventually, lane_head, restore_lane, send_until_decided};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use projections::ports::{Checkpoint, Epochs, Fault, History, RawEvent};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use work::current_pause;

use crate::outages::{gets_ready, reports};

const FROM_KAFKA: &str = "cartulary_events_from_kafka_total";
/// Tenants, enough for every process to get lanes with events.
const SHOPS: usize = 6;

/// Shops whose customers earn points, and the orders that were paid.
struct Shops {
    pool: PgPool,
    list: Vec<(Shop, Client)>,
    paid: Vec<Uuid>,
}

impl Shops {
    async fn open(cluster: &Cluster, serve: &EngineProcess, pool: &PgPool, count: usize) -> Result<Self> {
        let mut shops = Self { pool: pool.clone(), list: Vec::new(), paid: Vec::new() };
        let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": null });
        for _ in 0..count {
            let (shop, owner) = cluster.shop(serve, pool, 1_000_000).await?;
            owner.execute("SetEarningRules", new_id(), &rules).await?;
            owner.execute("EnableProgram", new_id(), &json!({})).await?;
            shops.list.push((shop, owner));
        }
        Ok(shops)
    }

    /// Places and pays this number of orders in every shop.
    async fn sell(&mut self, orders: usize) -> Result<()> {
        let sold = self.list.iter().map(|(shop, owner)| async move {
            let mut paid = Vec::new();
            for _ in 0..orders {
                let order = new_id();
                for (name, body) in
                    [("PlaceOrder", shop.order(order, new_id())), ("RecordPayment", shop.payment(order))]
                {
                    let answer = send_until_decided(&[owner], name, new_id(), &body).await?;
                    ensure!(answer["outcome"] == "accepted", "{answer}");
                }
                paid.push(order);
            }
            anyhow::Ok(paid)
        });
        self.paid.extend(futures::future::try_join_all(sold).await?.into_iter().flatten());
        Ok(())
    }

    /// Waits until every paid order has earned its points, once, and no timer of it is left.
    async fn has_earned(&self) -> Result<()> {
        let points = "SELECT payload->>'source', count(*) FROM log.events WHERE type = 'points.earned' GROUP BY 1";
        let once: BTreeMap<String, i64> = self.paid.iter().map(|order| (order.to_string(), 1)).collect();
        let mut found = BTreeMap::new();
        eventually("points", async || {
            let rows: Vec<(String, i64)> = sqlx::query_as(points).fetch_all(&self.pool).await?;
            found = rows.into_iter().collect();
            Ok(found.len() >= once.len())
        })
        .await?;
        assert_eq!(found, once, "points that are there twice, or without an order");
        let timers = "SELECT count(*) FROM work.timers WHERE command = 'ExpireOrder' AND body->>'order' = ANY($1)";
        let paid: Vec<&String> = once.keys().collect();
        eventually("no timer of a paid order waits", async || {
            Ok(sqlx::query_scalar::<_, i64>(timers).bind(&paid).fetch_one(&self.pool).await? == 0)
        })
        .await
    }

    /// Sells until events come to this process over Kafka.
    async fn sells_over_kafka(&mut self, policies: &EngineProcess) -> Result<()> {
        let before = policies.metric_sum(FROM_KAFKA).await?;
        eventually("events come over Kafka", async || {
            self.sell(1).await?;
            Ok(policies.metric_sum(FROM_KAFKA).await? > before)
        })
        .await
    }

    async fn close(self, processes: Vec<EngineProcess>) -> Result<()> {
        for process in processes {
            process.stop().await?;
        }
        let failures: i64 = sqlx::query_scalar("SELECT count(*) FROM work.dead_letters").fetch_one(&self.pool).await?;
        assert_eq!(failures, 0);
        check_log_invariants(&self.pool).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_are_earned_once_while_lanes_move_between_processes() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = cluster.start_role("relay", "relay-1", &kafka).await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let one = cluster.start_role("policies", "policies-1", &kafka).await?;
    let mut shops = Shops::open(&cluster, &serve, &pool, SHOPS).await?;
    shops.sells_over_kafka(&one).await?;

    // A second process joins while orders are paid, and gets lanes.
    let other = cluster.start_unready("policies", "policies-2", &kafka).await?;
    shops.sell(5).await?;
    gets_ready(&other).await?;
    shops.sells_over_kafka(&other).await?;
    shops.has_earned().await?;

    // The first process is killed under load; after its session has timed out, the group assigns its lanes to the
    // second.
    futures::try_join!(shops.sell(5), one.kill())?;
    shops.has_earned().await?;

    // The first process starts again and the second stops.
    let one = cluster.start_unready("policies", "policies-1", &kafka).await?;
    gets_ready(&one).await?;
    futures::try_join!(shops.sell(5), other.stop())?;
    shops.sells_over_kafka(&one).await?;
    shops.has_earned().await?;
    shops.close(vec![serve, one, relay, scribe]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_follow_the_log_while_kafka_is_away_and_return_to_it() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = cluster.start_role("relay", "relay-1", &kafka).await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let policies = cluster.start_role("policies", "policies-1", &kafka).await?;
    let mut shops = Shops::open(&cluster, &serve, &pool, 2).await?;
    shops.sells_over_kafka(&policies).await?;

    broker.kill()?;
    reports(&policies, "Kafka").await?;
    shops.sell(5).await?;
    shops.has_earned().await?;

    // The broker has lost its records; the relay writes them again, and repeated events are skipped.
    broker.wipe()?;
    broker.restart().await?;
    gets_ready(&policies).await?;
    gets_ready(&relay).await?;
    shops.sells_over_kafka(&policies).await?;
    shops.has_earned().await?;
    shops.close(vec![serve, policies, relay, scribe]).await
}

/// A log without its payments, for a relay, and the number of events that it left out.
struct WithoutPayments(PgHistory, Arc<AtomicUsize>);

impl History for WithoutPayments {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        let mut events = self.0.events(lane, after, most).await?;
        let whole = events.len();
        // A payment is never the last event of a page, after which the relay continues: its command also confirms
        // stock, and that event follows the payment.
        events.retain(|event| &*event.kind != "order.paid");
        self.1.fetch_add(whole - events.len(), Ordering::Relaxed);
        Ok(events)
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        self.0.heads().await
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        self.0.epochs(lane).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_missing_in_the_topic_are_read_from_the_log() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let settings = kafka::Settings { brokers: broker.address.clone(), ..kafka::Settings::default() };
    let (stop, leases) = (CancellationToken::new(), Leases::new(pool.clone(), "test"));
    let lost = Arc::new(AtomicUsize::new(0));
    let relay = Relay::new(settings, WithoutPayments(PgHistory::new(pool.clone()), lost.clone()), leases);
    let relay = tokio::spawn(relay.run(stop.clone()));
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let policies = cluster.start_unready("policies", "policies-1", &kafka).await?;
    gets_ready(&policies).await?;
    let mut shops = Shops::open(&cluster, &serve, &pool, 2).await?;
    shops.sell(10).await?;
    shops.has_earned().await?;
    shops.sells_over_kafka(&policies).await?;
    shops.has_earned().await?;
    stop.cancel();
    relay.await?;
    let (lost, paid) = (lost.load(Ordering::Relaxed), shops.paid.len());
    ensure!(lost >= paid, "of {paid} payments only {lost} were missing in the topic");
    shops.close(vec![serve, policies, scribe]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_follow_kafka_go_back_when_the_log_was_restored() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = cluster.start_role("relay", "relay-1", &kafka).await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let policies = cluster.start_role("policies", "policies-1", &kafka).await?;
    let mut shops = Shops::open(&cluster, &serve, &pool, 1).await?;
    shops.sells_over_kafka(&policies).await?;
    shops.has_earned().await?;
    let (lane, kept) = (shops.list[0].0.lane(&pool).await?, shops.paid.clone());
    let common = lane_head(&pool, lane).await?;
    shops.sell(4).await?;
    shops.has_earned().await?;

    // Policies and relay run all the time, and the topic still holds what the log has lost.
    scribe.stop().await?;
    restore_lane(&pool, lane, common).await?;
    sqlx::query(
        "DELETE FROM work.timers WHERE NOT EXISTS (
                     SELECT FROM log.events e WHERE e.stream_id::text = body->>'order' AND e.type = 'order.placed')",
    )
    .execute(&pool)
    .await?;
    shops.paid = kept;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    shops.sell(8).await?;
    shops.has_earned().await?;
    ensure!(current_pause(&pool).await?.is_some(), "timers and effects are not paused after the restore");
    shops.sells_over_kafka(&policies).await?;
    shops.has_earned().await?;
    shops.close(vec![serve, policies, relay, scribe]).await
}
