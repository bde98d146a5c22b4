//! Webhooks: every event is told to every address that wants it, in order and signed, whatever becomes of the address, of
//! the way to it, or of the engine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::port::Webhooks;
use cartulary::running;
use commands::scribe::Answer;
use domain::shared::WebhookSubscriptionId;
use outside::webhooks::WebhookLimits;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use tokio::time::sleep;
use uuid::Uuid;
use work::{held_back, release};

use crate::receiver::{Receiver, Taken};
use crate::restored::{head, restore, sell};
use crate::server::database;
use crate::shop::{House, Shop, eventually};

/// Where the process that is to be killed finds its database.
const VICTIM: &str = "WEBHOOKS_VICTIM";

pub(crate) const LIMITS: WebhookLimits = WebhookLimits {
    attempt_time_most: Duration::from_millis(400),
    pauses: &[Duration::from_millis(20); 9],
    places: 16,
    tenant_places: 4,
    troubled_places: 8,
};

pub(crate) async fn subscribe(house: &House, shop: &Shop, url: &str, events: &[&str]) -> Result<WebhookSubscriptionId> {
    let subscription = WebhookSubscriptionId::new(new_id());
    let body = json!({ "subscription": subscription, "url": url, "events": events, "description": null });
    house.done(shop.tenant, "Subscribe", &body).await?;
    Ok(subscription)
}

/// The positions of a tenant's events of one kind after a subscription was made, in order.
async fn told(pool: &PgPool, shop: &Shop, subscription: WebhookSubscriptionId, kind: &str) -> Result<Vec<i64>> {
    let text = "SELECT e.tenant_position FROM log.events e JOIN log.events s ON s.lane = e.lane AND s.tenant = e.tenant
                WHERE e.tenant = $1 AND e.type = $3 AND s.type = 'webhook.subscribed' AND s.stream_id = $2
                  AND e.tenant_position > s.tenant_position ORDER BY e.tenant_position";
    let positions = sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(subscription.uuid()).bind(kind);
    Ok(positions.fetch_all(pool).await?)
}

pub(crate) async fn paused_because(pool: &PgPool, subscription: WebhookSubscriptionId) -> Result<Option<String>> {
    let text = "SELECT payload->>'reason' FROM log.events WHERE stream_id = $1 AND type = 'webhook.paused'
                ORDER BY sequence DESC LIMIT 1";
    Ok(sqlx::query_scalar(text).bind(subscription.uuid()).fetch_optional(pool).await?)
}

pub(crate) async fn is_kept(pool: &PgPool, subscription: WebhookSubscriptionId) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT FROM work.webhook_cursors WHERE subscription = $1)";
    Ok(sqlx::query_scalar(text).bind(subscription.uuid()).fetch_one(pool).await?)
}

pub(crate) async fn resume(house: &House, shop: &Shop, subscription: WebhookSubscriptionId) -> Result<()> {
    house.done(shop.tenant, "ResumeSubscription", &json!({ "subscription": subscription })).await?;
    Ok(())
}

fn once(mut positions: Vec<i64>) -> Vec<i64> {
    positions.dedup();
    positions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_on_the_way_every_event_arrives_in_order_and_under_one_id() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    let desk = house.tell(LIMITS)?;
    let failures = [
        Taken::Status(500),
        Taken::Moved,
        Taken::Busy(429, 1),
        Taken::Busy(503, 0),
        Taken::Silent,
        Taken::Cut,
        Taken::Endless,
        Taken::Status(404),
    ];
    receiver.is(&failures, Taken::Wordy);
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    sell(&house, &shop, 20).await?;
    let wanted = told(&house.pool, &shop, subscription, "order.placed").await?;
    eventually("everything arrives", async || Ok(receiver.positions().len() >= 20)).await?;
    assert_eq!(receiver.positions(), wanted);

    let got = receiver.got();
    let first: Vec<_> = got.iter().take(9).collect();
    assert!(first.iter().all(|message| message.id == first[0].id), "every attempt has the same id");
    assert!(got.iter().all(|message| message.path == "/hook?shop=7" && message.kind() == "order.placed"));
    let ids: std::collections::BTreeSet<_> = got.iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 20);
    // Who asked to be left alone for a second was.
    assert!(got[3].at - got[2].at >= Duration::from_secs(1), "{:?}", got[3].at - got[2].at);

    eventually("all attempts are written down", async || {
        Ok(desk.deliveries(shop.tenant, subscription, None, 200).await?.len() == 28)
    })
    .await?;
    let seen = desk.deliveries(shop.tenant, subscription, None, 200).await?;
    let mut failed: Vec<_> = seen.iter().filter_map(|made| Some((made.status, made.trouble.as_deref()?))).collect();
    failed.reverse();
    let (late, cut) = ("there was no answer in time", "the connection broke before there was an answer");
    let answers = [500, 301, 429, 503].map(Some);
    assert_eq!(failed.iter().map(|(status, _)| *status).take(4).collect::<Vec<_>>(), answers);
    assert_eq!(failed[4..7], [(None, late), (None, cut), (None, late)]);
    assert_eq!(failed[7], (Some(404), "the answer was 404"));
    assert_eq!(seen.iter().map(|made| made.number).collect::<Vec<_>>(), (1..=28).rev().collect::<Vec<_>>());
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_fails_to_the_last_is_paused_and_goes_on_where_it_stood() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    house.tell(LIMITS)?;
    receiver.is(&[Taken::Fine], Taken::Status(500));
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    sell(&house, &shop, 3).await?;
    eventually("it is paused", async || Ok(paused_because(&house.pool, subscription).await?.is_some())).await?;
    let why = paused_because(&house.pool, subscription).await?;
    assert_eq!(why.as_deref(), Some("tried 10 times; at last: the answer was 500"));
    assert_eq!(receiver.got().len(), 11);
    sell(&house, &shop, 2).await?;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(receiver.got().len(), 11, "what is paused is sent nothing");

    receiver.is(&[Taken::Status(410)], Taken::Fine);
    resume(&house, &shop, subscription).await?;
    let gone = "tried 1 times; at last: the answer was 410";
    eventually("it is gone", async || Ok(paused_because(&house.pool, subscription).await?.as_deref() == Some(gone)))
        .await?;
    assert_eq!(receiver.got().len(), 12, "who is gone is not asked again");
    resume(&house, &shop, subscription).await?;
    eventually("everything arrives", async || Ok(receiver.positions().len() >= 5)).await?;
    assert_eq!(receiver.positions(), told(&house.pool, &shop, subscription, "order.placed").await?);

    house.done(shop.tenant, "Unsubscribe", &json!({ "subscription": subscription })).await?;
    eventually("nothing is kept", async || Ok(!is_kept(&house.pool, subscription).await?)).await?;
    sell(&house, &shop, 1).await?;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.positions().len(), 5);
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_deliver_for_the_same_lanes_tell_everything_once() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    house.tell(LIMITS)?;
    house.tell(LIMITS)?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    let settled = "SELECT count(*) = 0 FROM work.effects";
    eventually("the cursor stands", async || {
        let settled: bool = sqlx::query_scalar(settled).fetch_one(&house.pool).await?;
        Ok(settled && is_kept(&house.pool, subscription).await?)
    })
    .await?;
    sell(&house, &shop, 60).await?;
    eventually("everything arrives", async || Ok(receiver.positions().len() >= 60)).await?;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.positions(), told(&house.pool, &shop, subscription, "order.placed").await?);
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_sent_again_under_the_ids_it_had_while_what_is_new_goes_on() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    let desk = house.tell(LIMITS)?;
    sell(&house, &shop, 5).await?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    sell(&house, &shop, 5).await?;
    eventually("what is new arrives", async || Ok(receiver.positions().len() >= 5)).await?;
    let ids: Vec<Uuid> = receiver.got().iter().map(|message| message.id).collect();

    // From before there was a subscription to far beyond what there is.
    let range = json!({ "subscription": subscription, "from": 1, "to": 1_000_000 });
    house.done(shop.tenant, "ReplayEvents", &range).await?;
    eventually("the range arrives", async || Ok(receiver.positions().len() >= 15)).await?;
    sell(&house, &shop, 2).await?;
    eventually("what is new goes on", async || Ok(receiver.positions().len() >= 17)).await?;
    sleep(Duration::from_millis(400)).await;
    let all = receiver.positions();
    assert_eq!(all.len(), 17, "nothing beyond the order is sent twice");
    assert!(all[5..15].is_sorted() && all[10..15] == all[..5], "{all:?}");
    let again: Vec<Uuid> = receiver.got()[10..15].iter().map(|message| message.id).collect();
    assert_eq!(again, ids);
    let made = desk.deliveries(shop.tenant, subscription, None, 200).await?;
    assert_eq!(made.iter().filter(|made| made.replay).count(), 10);
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_told_where_nothing_is_named_and_nothing_personal() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    house.tell(LIMITS)?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &[]).await?;
    // Many an address is a secret; other receivers are not told it.
    subscribe(&house, &shop, "https://127.0.0.1/secret-path", &["points.earned"]).await?;
    let person = json!({ "customer": new_id(), "name": "Zyxanthia", "email": "z@example.org", "phone": null });
    house.done(shop.tenant, "RegisterCustomer", &person).await?;
    sell(&house, &shop, 2).await?;
    let text = "SELECT e.tenant_position FROM log.events e WHERE e.tenant = $1 AND e.tenant_position >
                    (SELECT tenant_position FROM log.events WHERE stream_id = $2 AND type = 'webhook.subscribed')
                  AND e.type NOT LIKE 'webhook%' ORDER BY 1";
    let all: Vec<i64> =
        sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(subscription.uuid()).fetch_all(&house.pool).await?;
    eventually("everything arrives", async || Ok(receiver.positions().len() >= all.len())).await?;
    assert_eq!(receiver.positions(), all);
    let registered = receiver.got().into_iter().find(|message| message.kind() == "customer.registered");
    let registered = registered.context("the customer is told")?;
    let data = registered.json()["data"].clone();
    ensure!(data["name"].is_null() && data["email"].is_null(), "{data}");
    ensure!(!receiver.got().iter().any(|message| message.body.contains("sealed.v1.")), "something sealed is told");
    assert_eq!(registered.json()["stream"], person["customer"]);
    ensure!(!receiver.got().iter().any(|message| message.body.contains("secret-path")), "an address is told");
    let odd =
        json!({ "subscription": new_id(), "url": receiver.url(), "events": ["webhook.paused"], "description": null });
    let answer = house.send(shop.tenant, "Subscribe", new_id(), &odd).await?;
    assert!(matches!(answer, Answer::Misuse(_)), "{answer:?}");
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_killed_in_the_middle_is_followed_by_one_that_tells_it_under_the_same_id() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    house.tell(LIMITS)?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    sell(&house, &shop, 1).await?;
    eventually("it arrives", async || Ok(receiver.positions().len() == 1)).await?;
    house.close().await;
    receiver.is(&[Taken::Fine, Taken::Silent], Taken::Fine);
    let house = House::with_defaults(&url).await?;
    sell(&house, &shop, 5).await?;
    house.close().await;

    let mut victim = Command::new(std::env::current_exe()?);
    victim.args(["--exact", "webhooks::the_process_that_is_killed"]).env(VICTIM, &url);
    let mut victim = victim.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    eventually("the receiver has it and does not answer", async || Ok(receiver.got().len() == 3)).await?;
    victim.kill().await?;

    let mut house = House::with_defaults(&url).await?;
    house.tell(LIMITS)?;
    eventually("everything arrives", async || Ok(receiver.positions().len() >= 6)).await?;
    assert_eq!(once(receiver.positions()), told(&house.pool, &shop, subscription, "order.placed").await?);
    let got = receiver.got();
    assert_eq!(got[2].id, got[3].id, "the message in the middle came twice, as the same");
    house.close().await;
    Ok(())
}

/// Plays a part in the test above, in a process of its own; on its own it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() -> Result<()> {
    let Ok(url) = std::env::var(VICTIM) else { return Ok(()) };
    let mut house = House::with_defaults(&url).await?;
    // It waits for an answer much longer than it lives.
    house.tell(WebhookLimits { attempt_time_most: Duration::from_secs(3), ..LIMITS })?;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_nothing_is_told_until_it_is_released_and_then_what_was_written_instead() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(1_000).await?;
    house.tell(LIMITS)?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    let (quiet, gone) = (Receiver::open().await?, Receiver::open().await?);
    let paused = subscribe(&house, &shop, &quiet.url(), &["order.placed"]).await?;
    let ended = subscribe(&house, &shop, &gone.url(), &["order.placed"]).await?;
    sell(&house, &shop, 3).await?;
    eventually("three are told", async || Ok([&quiet, &gone].iter().all(|one| one.positions().len() == 3))).await?;
    let lane = shop.lane(&house.pool).await?;
    let kept = head(&house.pool, lane).await?;
    // What is lost has paused one subscription and ended another.
    house.done(shop.tenant, "PauseSubscription", &json!({ "subscription": paused, "reason": "later" })).await?;
    house.done(shop.tenant, "Unsubscribe", &json!({ "subscription": ended })).await?;
    let waits = "SELECT NOT isfinite(due_at) FROM work.webhook_cursors WHERE subscription = $1";
    eventually("the cursors follow", async || {
        let waits: bool = sqlx::query_scalar(waits).bind(paused.uuid()).fetch_one(&house.pool).await?;
        Ok(waits && !is_kept(&house.pool, ended).await?)
    })
    .await?;
    sell(&house, &shop, 3).await?;
    eventually("all are told", async || Ok(receiver.positions().len() == 6)).await?;
    assert_eq!([quiet.positions().len(), gone.positions().len()], [3, 3]);
    house.close().await;

    let pool = running::connect(&url).await?;
    restore(&pool, lane, kept).await?;
    let mut house = House::with_defaults(&url).await?;
    house.tell(LIMITS)?;
    sell(&house, &shop, 2).await?;
    eventually("it is noticed", async || Ok(held_back(&pool).await?.is_some())).await?;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.positions().len(), 6, "what is held back is not told");
    release(&pool).await?;
    eventually("what was written instead is told", async || Ok(receiver.positions().len() == 8)).await?;
    let wanted = told(&pool, &shop, subscription, "order.placed").await?;
    assert_eq!(receiver.positions()[6..], wanted[3..]);
    eventually("who was paused goes on", async || Ok(quiet.positions().len() == 5)).await?;
    assert_eq!(quiet.positions(), wanted);
    // How far it was is not known any more, so it is told everything again.
    eventually("who had left is there again", async || Ok(gone.positions().len() == 8)).await?;
    assert_eq!(gone.positions()[3..], wanted);
    house.close().await;
    Ok(())
}

/// What a third party does who has read Standard Webhooks 1.0 and nothing of ours; whether any signature holds.
pub(crate) fn holds(message: &crate::receiver::Message, shown: &Value) -> [bool; 2] {
    use aws_lc_rs::{hmac, signature};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let bytes = |text: &Value, prefix: &str| {
        let text = text.as_str().expect("a text").strip_prefix(prefix).expect("its prefix");
        STANDARD.decode(text).expect("base64")
    };
    let signed = format!("{}.{}.{}", message.id, message.timestamp, message.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes(&shown["secret"], "whsec_"));
    let public = bytes(&shown["publicKey"], "whpk_");
    let public = signature::UnparsedPublicKey::new(&signature::ED25519, public);
    let mut found = [false; 2];
    for (version, text) in message.signature.split(' ').filter_map(|part| part.split_once(',')) {
        let made = STANDARD.decode(text).expect("base64");
        match version {
            "v1" => found[0] |= hmac::verify(&key, signed.as_bytes(), &made).is_ok(),
            "v1a" => found[1] |= public.verify(signed.as_bytes(), &made).is_ok(),
            other => panic!("what is {other}?"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_hold_for_a_stranger_who_was_shown_the_secret_and_for_two_while_it_changes() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(100).await?;
    let desk = house.tell(LIMITS)?;
    let subscription = subscribe(&house, &shop, &receiver.url(), &["order.placed"]).await?;
    let shown = async || -> Result<Vec<Value>> {
        let secrets = desk.secrets(shop.tenant, subscription).await?;
        Ok(secrets.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    };
    let next = async |count: usize| {
        sell(&house, &shop, 1).await?;
        eventually("it arrives", async || Ok(receiver.positions().len() == count)).await?;
        Ok::<_, anyhow::Error>(receiver.got().remove(count - 1))
    };
    let old = shown().await?;
    let message = next(1).await?;
    assert_eq!((old.len(), holds(&message, &old[0])), (1, [true, true]));
    let mut forged = message.clone();
    forged.body = forged.body.replace("order.placed", "order.paid  ");
    assert_eq!(holds(&forged, &old[0]), [false, false]);

    house.done(shop.tenant, "RotateSecret", &json!({ "subscription": subscription, "at_once": false })).await?;
    let both = shown().await?;
    assert_eq!((both.len(), &both[1]["secret"]), (2, &old[0]["secret"]));
    assert!(both[1]["validUntil"].is_string() && both[0]["secret"] != old[0]["secret"]);
    let message = next(2).await?;
    assert_eq!([holds(&message, &both[0]), holds(&message, &both[1])], [[true, true], [true, true]]);

    house.done(shop.tenant, "RotateSecret", &json!({ "subscription": subscription, "at_once": true })).await?;
    let newest = shown().await?;
    let message = next(3).await?;
    assert_eq!((newest.len(), holds(&message, &newest[0]), holds(&message, &both[0])), (1, [true; 2], [false; 2]));
    house.close().await;
    Ok(())
}
