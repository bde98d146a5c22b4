//! Webhooks whose addresses fail or are slow: how long they wait, who waits for them, and what ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use api::port::Webhooks;
use async_trait::async_trait;
use domain::shared::WebhookSubscriptionId;
use outside::webhooks::{Line, Names, WebhookLimits};
use serde_json::json;
use tokio::time::sleep;

use crate::receiver::{Receiver, Taken};
use crate::restored::sell;
use crate::server::database;
use crate::shop::{House, Shop, eventually, to_this_machine};
use crate::webhooks::{LIMITS, is_kept, paused_because, resume, subscribe};

const HOURS: [Duration; 9] = [Duration::from_secs(3_600); 9];

async fn change(
    house: &House,
    shop: &Shop,
    subscription: WebhookSubscriptionId,
    to: &Receiver,
    words: &str,
) -> Result<()> {
    let body =
        json!({ "subscription": subscription, "url": to.url(), "events": ["order.placed"], "description": words });
    house.done(shop.tenant, "ChangeSubscription", &body).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_or_does_not_speak_tls_is_tried_again_at_the_address_that_is_mended() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    // Nobody waits for what would take hours here.
    let patient = WebhookLimits { pauses: &HOURS, ..LIMITS };
    let desk = house.tell(patient)?;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for (odd, trouble) in [
        (format!("http://{closed}/"), "nobody can be connected to there"),
        (
            format!("https://{}/", receiver.address),
            "no TLS connection with a certificate for this name that is trusted",
        ),
        ("https://10.255.255.1/".to_owned(), "this leads to no address that may be called"),
        ("http://nowhere.invalid/".to_owned(), "this leads to no address that may be called"),
    ] {
        let subscription = subscribe(&house, &shop, &odd, &["order.placed"]).await?;
        sell(&house, &shop, 1).await?;
        eventually("it fails", async || Ok(!desk.deliveries(shop.tenant, subscription, None, 1).await?.is_empty()))
            .await?;
        let made = desk.deliveries(shop.tenant, subscription, None, 1).await?;
        assert_eq!((made[0].trouble.as_deref(), made[0].status), (Some(trouble), None), "{odd}");
        let before = receiver.positions().len();
        change(&house, &shop, subscription, &receiver, "mended").await?;
        eventually("it arrives", async || Ok(receiver.positions().len() > before)).await?;
        house.done(shop.tenant, "Unsubscribe", &json!({ "subscription": subscription })).await?;
        eventually("nothing is kept", async || Ok(!is_kept(&house.pool, subscription).await?)).await?;
    }
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_address_keeps_nobody_else_waiting_and_no_tenant_takes_all_places() -> Result<()> {
    let (url, dead, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let (greedy, other) = (house.shop(100).await?, house.shop(100).await?);
    // As slow to fail as in earnest.
    let slow = WebhookLimits { attempt_time_most: Duration::from_secs(15), ..LIMITS };
    house.tell(slow)?;
    dead.is(&[], Taken::Silent);
    for _ in 0..12 {
        subscribe(&house, &greedy, &dead.url(), &["order.placed"]).await?;
    }
    let healthy = subscribe(&house, &other, &well.url(), &["order.placed"]).await?;
    eventually("all cursors are there", async || Ok(is_kept(&house.pool, healthy).await?)).await?;
    sell(&house, &greedy, 1).await?;
    eventually("the dead are called", async || Ok(dead.got().len() == slow.tenant_places)).await?;
    for sold in 1..=10 {
        sell(&house, &other, 1).await?;
        let begun = tokio::time::Instant::now();
        eventually("it arrives", async || Ok(well.positions().len() == sold)).await?;
        ensure!(begun.elapsed() < Duration::from_secs(1), "{sold}: {:?}", begun.elapsed());
    }
    assert_eq!(dead.got().len(), slow.tenant_places, "one tenant has only its own places");
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_leaves_room_for_those_who_are_well() -> Result<()> {
    let (url, slow, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let (busy, other) = (house.shop(100).await?, house.shop(100).await?);
    // The slow could take all places.
    let patient = Duration::from_secs(15);
    house.tell(WebhookLimits { attempt_time_most: patient, places: 4, troubled_places: 3, ..LIMITS })?;
    slow.is(&[], Taken::Late);
    for _ in 0..4 {
        subscribe(&house, &busy, &slow.url(), &["order.placed"]).await?;
    }
    let healthy = subscribe(&house, &other, &well.url(), &["order.placed"]).await?;
    eventually("all cursors are there", async || Ok(is_kept(&house.pool, healthy).await?)).await?;
    sell(&house, &busy, 12).await?;
    // Their first turns are over after five seconds, and from then on they are known to be slow.
    eventually("the slow have had a turn", async || Ok(slow.got().len() > 4 * 5)).await?;
    for sold in 1..=3 {
        sell(&house, &other, 1).await?;
        let begun = tokio::time::Instant::now();
        eventually("it arrives", async || Ok(well.positions().len() == sold)).await?;
        ensure!(begun.elapsed() < Duration::from_secs(1), "{sold}: {:?}", begun.elapsed());
    }
    ensure!(slow.got().len() < 4 * 12, "the slow were done already");
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_mended_while_the_last_attempt_is_under_way_is_not_paused() -> Result<()> {
    let (url, dead, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    house.tell(WebhookLimits { attempt_time_most: Duration::from_secs(2), pauses: &[], ..LIMITS })?;
    dead.is(&[], Taken::Silent);
    let subscription = subscribe(&house, &shop, &dead.url(), &["order.placed"]).await?;
    sell(&house, &shop, 1).await?;
    eventually("the dead one is called", async || Ok(dead.got().len() == 1)).await?;
    change(&house, &shop, subscription, &well, "mended").await?;
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(paused_because(&house.pool, subscription).await?, None);
    sell(&house, &shop, 1).await?;
    eventually("both arrive", async || Ok(well.positions().len() == 2)).await?;
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_being_resumed_and_another_address_end_the_waiting() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    let desk = house.tell(WebhookLimits { pauses: &HOURS, ..LIMITS })?;
    receiver.is(&[], Taken::Status(500));
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    sell(&house, &shop, 1).await?;
    let made = async |replay: bool| {
        let made = desk.deliveries(shop.tenant, subscription, None, 200).await?;
        Ok::<_, anyhow::Error>(made.iter().filter(|made| made.replay == replay).count())
    };
    eventually("it fails", async || Ok(made(false).await? == 1)).await?;
    change(&house, &shop, subscription, &receiver, "other words").await?;
    let range = json!({ "subscription": subscription, "from": 1, "to": 1_000_000 });
    house.done(shop.tenant, "ReplayEvents", &range).await?;
    eventually("the range is tried", async || Ok(made(true).await? == 1)).await?;
    house.done(shop.tenant, "ReplayEvents", &range).await?;
    sleep(Duration::from_millis(700)).await;
    assert_eq!((made(false).await?, made(true).await?), (1, 1), "it still waits");
    house.done(shop.tenant, "PauseSubscription", &json!({ "subscription": subscription, "reason": "by hand" })).await?;
    resume(&house, &shop, subscription).await?;
    eventually("it is tried at once", async || Ok((made(false).await?, made(true).await?) == (2, 2))).await?;
    house.close().await;
    Ok(())
}

/// A resolver that nobody answers.
#[derive(Clone, Default)]
struct Unanswered(Arc<AtomicUsize>);

#[async_trait]
impl Names for Unanswered {
    async fn addresses(&self, _: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_names_cannot_be_looked_up_is_no_failure_of_an_address() -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    let names = Unanswered::default();
    let line = Line::new(to_this_machine()?.asking(names.clone()).into())?;
    // The first failure would be the last.
    let desk = house.tell_over(WebhookLimits { pauses: &[], ..LIMITS }, Some(line))?;
    let subscription = subscribe(&house, &shop, "https://hooks.example.org/", &["order.placed"]).await?;
    sell(&house, &shop, 1).await?;
    let later = "SELECT attempts = 0 AND due_at BETWEEN now() + interval '5 s' AND now() + interval '20 s'
                 FROM work.webhook_cursors WHERE subscription = $1";
    eventually("it waits a little", async || {
        let later = sqlx::query_scalar(later).bind(subscription.uuid()).fetch_optional(&house.pool).await?;
        Ok(names.0.load(Ordering::Relaxed) == 1 && later == Some(true))
    })
    .await?;
    assert_eq!(desk.deliveries(shop.tenant, subscription, None, 1).await?, []);
    assert_eq!(paused_because(&house.pool, subscription).await?, None);
    house.close().await;
    Ok(())
}
