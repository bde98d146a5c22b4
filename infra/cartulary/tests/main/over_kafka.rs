//! Policies that follow Kafka: every paid order earns its points once and every placed one gets its timers once, whoever is
//! killed, whatever Kafka has lost, and though the log itself be restored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use cartulary::running;
use event_log::PgHistory;
use kafka::{Leases, Relay};
use lab::demo::client::Client;
use lab::fleet::Member;
use platform::clock::new_id;
use projections::ports::{Checkpoint, Epochs, Fault, History, RawEvent};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use work::held_back;

use crate::away::{gets_ready, says};
use crate::broker::Broker;
use crate::laws::keeps_the_laws;
use crate::process::{Desk, persist};
use crate::restored::{head, restore};
use crate::server::database;
use crate::shop::{Shop, eventually};

const FROM_KAFKA: &str = "cartulary_events_from_kafka_total";
/// Tenants, so that every process gets lanes with something to do.
const SHOPS: usize = 6;

/// Shops whose customers earn points, and who pays there.
struct Street {
    pool: PgPool,
    shops: Vec<(Shop, Client)>,
    paid: Vec<Uuid>,
}

impl Street {
    async fn open(desk: &Desk, serve: &Member, pool: &PgPool, shops: usize) -> Result<Self> {
        let mut street = Self { pool: pool.clone(), shops: Vec::new(), paid: Vec::new() };
        let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": null });
        for _ in 0..shops {
            let (shop, owner) = desk.shop(serve, pool, 1_000_000).await?;
            owner.do_it("SetEarningRules", new_id(), &rules).await?;
            owner.do_it("EnableProgram", new_id(), &json!({})).await?;
            street.shops.push((shop, owner));
        }
        Ok(street)
    }

    /// Places and pays so many orders in every shop.
    async fn sell(&mut self, orders: usize) -> Result<()> {
        let sold = self.shops.iter().map(|(shop, owner)| async move {
            let mut paid = Vec::new();
            for _ in 0..orders {
                let order = new_id();
                for (name, body) in
                    [("PlaceOrder", shop.order(order, new_id())), ("RecordPayment", shop.payment(order))]
                {
                    let answer = persist(&[owner], name, new_id(), &body).await?;
                    ensure!(answer["outcome"] == "accepted", "{answer}");
                }
                paid.push(order);
            }
            anyhow::Ok(paid)
        });
        self.paid.extend(futures::future::try_join_all(sold).await?.into_iter().flatten());
        Ok(())
    }

    /// Waits until every paid order has earned points and is looked after when its time has passed; each of it once.
    async fn has_earned(&self) -> Result<()> {
        let points = "SELECT payload->>'source', count(*) FROM log.events WHERE type = 'points.earned' GROUP BY 1";
        let timers = "SELECT body->>'order', count(*) FROM work.timers WHERE command = 'ExpireOrder' GROUP BY 1";
        let once: BTreeMap<String, i64> = self.paid.iter().map(|order| (order.to_string(), 1)).collect();
        for (what, text) in [("points", points), ("timers", timers)] {
            let mut found = BTreeMap::new();
            eventually(what, async || {
                let rows: Vec<(String, i64)> = sqlx::query_as(text).fetch_all(&self.pool).await?;
                found = rows.into_iter().collect();
                Ok(found.len() >= once.len())
            })
            .await?;
            assert_eq!(found, once, "{what} that are there twice, or for nothing");
        }
        Ok(())
    }

    /// Sells until events come to this process over Kafka.
    async fn sells_over_kafka(&mut self, policies: &Member) -> Result<()> {
        let before = policies.counted(FROM_KAFKA).await?;
        eventually("events come over Kafka", async || {
            self.sell(1).await?;
            Ok(policies.counted(FROM_KAFKA).await? > before)
        })
        .await
    }

    async fn close(self, processes: Vec<Member>) -> Result<()> {
        for process in processes {
            process.stop().await?;
        }
        let failures: i64 = sqlx::query_scalar("SELECT count(*) FROM work.failures").fetch_one(&self.pool).await?;
        assert_eq!(failures, 0);
        keeps_the_laws(&self.pool).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_are_earned_once_while_lanes_go_from_one_process_to_another() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = desk.start_role("relay", "relay-1", &kafka).await?;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let one = desk.start_role("policies", "policies-1", &kafka).await?;
    let mut street = Street::open(&desk, &serve, &pool, SHOPS).await?;
    street.sells_over_kafka(&one).await?;

    // One more joins while orders are paid, and is given lanes.
    let other = desk.start_unready("policies", "policies-2", &kafka).await?;
    street.sell(5).await?;
    gets_ready(&other).await?;
    street.sells_over_kafka(&other).await?;
    street.has_earned().await?;

    // The first is killed under load; the group gives its lanes to the second once it is missed.
    futures::try_join!(street.sell(5), one.kill())?;
    street.has_earned().await?;

    // It comes back and the second leaves in good order.
    let one = desk.start_unready("policies", "policies-1", &kafka).await?;
    gets_ready(&one).await?;
    futures::try_join!(street.sell(5), other.stop())?;
    street.sells_over_kafka(&one).await?;
    street.has_earned().await?;
    street.close(vec![serve, one, relay, scribe]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_go_on_without_kafka_and_come_back_to_it() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = desk.start_role("relay", "relay-1", &kafka).await?;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let policies = desk.start_role("policies", "policies-1", &kafka).await?;
    let mut street = Street::open(&desk, &serve, &pool, 2).await?;
    street.sells_over_kafka(&policies).await?;

    broker.kill()?;
    says(&policies, "Kafka").await?;
    street.sell(5).await?;
    street.has_earned().await?;

    // What it knew is gone; the relay fills it again, and what comes twice is skipped.
    broker.wipe()?;
    broker.start_again().await?;
    gets_ready(&policies).await?;
    gets_ready(&relay).await?;
    street.sells_over_kafka(&policies).await?;
    street.has_earned().await?;
    street.close(vec![serve, policies, relay, scribe]).await
}

/// The log as a relay would see it that loses every payment on its way, and how many it lost.
struct WithoutPayments(PgHistory, Arc<AtomicUsize>);

impl History for WithoutPayments {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        let mut events = self.0.events(lane, after, most).await?;
        let whole = events.len();
        // Never the last one of a page, after which a relay goes on: in its command, the confirmed stock comes after it.
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
async fn what_is_missing_in_the_topic_is_read_from_the_log() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let settings = kafka::Settings { brokers: broker.address.clone(), ..kafka::Settings::default() };
    let (stop, leases) = (CancellationToken::new(), Leases::new(pool.clone(), "test"));
    let lost = Arc::new(AtomicUsize::new(0));
    let relay = Relay::new(settings, WithoutPayments(PgHistory::new(pool.clone()), lost.clone()), leases);
    let relay = tokio::spawn(relay.run(stop.clone()));
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let policies = desk.start_unready("policies", "policies-1", &kafka).await?;
    gets_ready(&policies).await?;
    let mut street = Street::open(&desk, &serve, &pool, 2).await?;
    street.sell(10).await?;
    street.has_earned().await?;
    street.sells_over_kafka(&policies).await?;
    street.has_earned().await?;
    stop.cancel();
    relay.await?;
    let (lost, paid) = (lost.load(Ordering::Relaxed), street.paid.len());
    ensure!(lost >= paid, "of {paid} payments only {lost} were missing in the topic");
    street.close(vec![serve, policies, scribe]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_follow_kafka_go_back_when_the_log_was_restored() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let relay = desk.start_role("relay", "relay-1", &kafka).await?;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let policies = desk.start_role("policies", "policies-1", &kafka).await?;
    let mut street = Street::open(&desk, &serve, &pool, 1).await?;
    street.sells_over_kafka(&policies).await?;
    street.has_earned().await?;
    let (lane, kept) = (street.shops[0].0.lane(&pool).await?, street.paid.clone());
    let common = head(&pool, lane).await?;
    street.sell(4).await?;
    street.has_earned().await?;

    // Policies and relay are awake all the while, and the topic still holds what the log has lost.
    scribe.stop().await?;
    restore(&pool, lane, common).await?;
    sqlx::query(
        "DELETE FROM work.timers WHERE NOT EXISTS (
                     SELECT FROM log.events e WHERE e.stream_id::text = body->>'order' AND e.type = 'order.placed')",
    )
    .execute(&pool)
    .await?;
    street.paid = kept;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    street.sell(8).await?;
    street.has_earned().await?;
    ensure!(held_back(&pool).await?.is_some(), "policies have gone back without a word");
    street.sells_over_kafka(&policies).await?;
    street.has_earned().await?;
    street.close(vec![serve, policies, relay, scribe]).await
}
