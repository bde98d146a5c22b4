//! Webhooks: every event is delivered to every address that is subscribed to it, in order and signed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::port::Webhooks;
use commands::scribe::Answer;
use domain::kernel::private_event_names;
use domain::shared::WebhookSubscriptionId;
use lab::harness::victim::WEBHOOK_LIMITS;
use lab::harness::{
    Backend, Received, Receiver, ReceiverReply, Shop, database, eventually, lane_head, place_orders, restore_lane,
    wait_for_new_looks,
};
use outside::webhooks::WebhookLimits;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use work::{current_pause, resume_work};

/// Waits until each of this number of runners has looked for due cursors several times.
pub(crate) async fn looked_for_work(pool: &PgPool, runners: i64) -> Result<()> {
    wait_for_new_looks(pool, "work.webhook_cursors", runners).await
}

/// Subscribes an address to these types of events; to all types if none is named.
pub(crate) async fn subscribe(
    backend: &Backend,
    shop: &Shop,
    url: &str,
    events: &[&str],
) -> Result<WebhookSubscriptionId> {
    let subscription = WebhookSubscriptionId::new(new_id());
    let body = json!({ "subscription": subscription, "url": url, "events": events, "description": null });
    backend.execute(shop.tenant, "Subscribe", &body).await?;
    Ok(subscription)
}

/// Positions of a tenant's events of one type after a subscription, in order.
async fn subscribed_positions(
    pool: &PgPool,
    shop: &Shop,
    subscription: WebhookSubscriptionId,
    kind: &str,
) -> Result<Vec<i64>> {
    let text = "SELECT e.tenant_position FROM log.events e JOIN log.events s ON s.lane = e.lane AND s.tenant = e.tenant
                WHERE e.tenant = $1 AND e.type = $3 AND s.type = 'webhook.subscribed' AND s.stream_id = $2
                  AND e.tenant_position > s.tenant_position ORDER BY e.tenant_position";
    let positions = sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(subscription.uuid()).bind(kind);
    Ok(positions.fetch_all(pool).await?)
}

/// Reason of the last pause of a subscription.
pub(crate) async fn pause_reason(pool: &PgPool, subscription: WebhookSubscriptionId) -> Result<Option<String>> {
    let text = "SELECT payload->>'reason' FROM log.events WHERE stream_id = $1 AND type = 'webhook.paused'
                ORDER BY sequence DESC LIMIT 1";
    Ok(sqlx::query_scalar(text).bind(subscription.uuid()).fetch_optional(pool).await?)
}

/// Looks for the cursor of a subscription.
pub(crate) async fn has_cursor(pool: &PgPool, subscription: WebhookSubscriptionId) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT FROM work.webhook_cursors WHERE subscription = $1)";
    Ok(sqlx::query_scalar(text).bind(subscription.uuid()).fetch_one(pool).await?)
}

/// Resumes a subscription.
pub(crate) async fn resume(backend: &Backend, shop: &Shop, subscription: WebhookSubscriptionId) -> Result<()> {
    backend.execute(shop.tenant, "ResumeSubscription", &json!({ "subscription": subscription })).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_in_order_and_under_one_id_after_failed_attempts() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WEBHOOK_LIMITS)?;
    let failures = [
        ReceiverReply::Status(500),
        ReceiverReply::Redirect,
        ReceiverReply::RetryAfter(429, 1),
        ReceiverReply::RetryAfter(503, 0),
        ReceiverReply::NoAnswer,
        ReceiverReply::Cut,
        ReceiverReply::EndlessBody,
        ReceiverReply::Status(404),
    ];
    receiver.replies(&failures, ReceiverReply::LargeBody);
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 20).await?;
    let wanted = subscribed_positions(&backend.pool, &shop, subscription, "order.placed").await?;
    eventually("everything arrives", async || Ok(receiver.accepted_positions().len() >= 20)).await?;
    assert_eq!(receiver.accepted_positions(), wanted);

    let got = receiver.received();
    let first: Vec<_> = got.iter().take(9).collect();
    assert!(first.iter().all(|message| message.id == first[0].id), "every attempt has the same id");
    assert!(got.iter().all(|message| message.path == "/hook?shop=7" && message.kind() == "order.placed"));
    let ids: std::collections::BTreeSet<_> = got.iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 20);
    // The answer with a `Retry-After` of one second delayed the next attempt.
    assert!(got[3].at - got[2].at >= Duration::from_secs(1), "{:?}", got[3].at - got[2].at);

    eventually("all attempts are recorded", async || {
        Ok(webhooks.deliveries(shop.tenant, subscription, None, 200).await?.len() == 28)
    })
    .await?;
    let seen = webhooks.deliveries(shop.tenant, subscription, None, 200).await?;
    let mut failed: Vec<_> = seen.iter().filter_map(|made| Some((made.status, made.trouble.as_deref()?))).collect();
    failed.reverse();
    let (late, cut) = ("there was no answer in time", "the connection broke before there was an answer");
    let answers = [500, 301, 429, 503].map(Some);
    assert_eq!(failed.iter().map(|(status, _)| *status).take(4).collect::<Vec<_>>(), answers);
    assert_eq!(failed[4..7], [(None, late), (None, cut), (None, late)]);
    assert_eq!(failed[7], (Some(404), "the answer was 404"));
    assert_eq!(seen.iter().map(|made| made.number).collect::<Vec<_>>(), (1..=28).rev().collect::<Vec<_>>());
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_is_paused_after_the_last_attempt_and_resumes_at_the_same_event() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    receiver.replies(&[ReceiverReply::Accepted], ReceiverReply::Status(500));
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 3).await?;
    eventually("it is paused", async || Ok(pause_reason(&backend.pool, subscription).await?.is_some())).await?;
    let why = pause_reason(&backend.pool, subscription).await?;
    assert_eq!(why.as_deref(), Some("tried 10 times; last error: the answer was 500"));
    assert_eq!(receiver.received().len(), 11);
    place_orders(&backend, &shop, 2).await?;
    looked_for_work(&backend.pool, 1).await?;
    assert_eq!(receiver.received().len(), 11, "a paused subscription is sent nothing");

    receiver.replies(&[ReceiverReply::Status(410)], ReceiverReply::Accepted);
    resume(&backend, &shop, subscription).await?;
    let gone = "tried 1 times; last error: the answer was 410";
    eventually("the subscription is paused after a 410", async || {
        Ok(pause_reason(&backend.pool, subscription).await?.as_deref() == Some(gone))
    })
    .await?;
    assert_eq!(receiver.received().len(), 12, "there is one attempt after a 410");
    resume(&backend, &shop, subscription).await?;
    eventually("everything arrives", async || Ok(receiver.accepted_positions().len() >= 5)).await?;
    assert_eq!(
        receiver.accepted_positions(),
        subscribed_positions(&backend.pool, &shop, subscription, "order.placed").await?
    );

    backend.execute(shop.tenant, "Unsubscribe", &json!({ "subscription": subscription })).await?;
    eventually("the cursor is deleted", async || Ok(!has_cursor(&backend.pool, subscription).await?)).await?;
    place_orders(&backend, &shop, 1).await?;
    looked_for_work(&backend.pool, 1).await?;
    assert_eq!(receiver.accepted_positions().len(), 5);
    backend.close().await;
    Ok(())
}

/// An address that keeps failing gets the same signed message after growing pauses, and is then switched off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_between_attempts_grow_until_the_subscription_is_paused() -> Result<()> {
    const SCHEDULE: [Duration; 3] =
        [Duration::from_millis(300), Duration::from_millis(900), Duration::from_millis(2_700)];
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WebhookLimits { retry_schedule: &SCHEDULE, ..WEBHOOK_LIMITS })?;
    receiver.replies(&[], ReceiverReply::Status(500));
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    let secrets = webhooks.secrets(shop.tenant, subscription).await?;
    let secret = serde_json::to_value(&secrets[0])?;
    place_orders(&backend, &shop, 1).await?;
    eventually("it is paused", async || Ok(pause_reason(&backend.pool, subscription).await?.is_some())).await?;

    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|message| verified(message, &secret) == [true, true]), "every attempt is signed");
    let mut attempts = webhooks.deliveries(shop.tenant, subscription, None, 10).await?;
    attempts.sort_by_key(|attempt| attempt.attempt);
    let numbers: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.status)).collect();
    assert_eq!(numbers, [(1, Some(500)), (2, Some(500)), (3, Some(500)), (4, Some(500))]);
    assert!(attempts.iter().all(|attempt| attempt.event == attempts[0].event));
    let begun = attempts.iter().map(|attempt| attempt.begun_at.micros());
    let pauses: Vec<_> = begun.clone().zip(begun.skip(1)).map(|(one, next)| next - one).collect();
    for (pause, scheduled) in pauses.iter().zip(SCHEDULE) {
        assert!(*pause >= i64::try_from(scheduled.as_micros())?, "{pauses:?}");
    }
    proofs::proven("INT-10 a signed message is sent again after growing pauses, then the subscription is switched off");
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_on_the_same_lanes_deliver_every_event_once() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    let settled = "SELECT count(*) = 0 FROM work.effects";
    eventually("the cursor is there", async || {
        let settled: bool = sqlx::query_scalar(settled).fetch_one(&backend.pool).await?;
        Ok(settled && has_cursor(&backend.pool, subscription).await?)
    })
    .await?;
    place_orders(&backend, &shop, 60).await?;
    eventually("everything arrives", async || Ok(receiver.accepted_positions().len() >= 60)).await?;
    looked_for_work(&backend.pool, 2).await?;
    assert_eq!(
        receiver.accepted_positions(),
        subscribed_positions(&backend.pool, &shop, subscription, "order.placed").await?
    );
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_range_has_the_same_ids_while_new_events_are_delivered() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WEBHOOK_LIMITS)?;
    place_orders(&backend, &shop, 5).await?;
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 5).await?;
    eventually("the new events arrive", async || Ok(receiver.accepted_positions().len() >= 5)).await?;
    let ids: Vec<Uuid> = receiver.received().iter().map(|message| message.id).collect();

    // From before the subscription to far beyond the end.
    let range = json!({ "subscription": subscription, "from": 1, "to": 1_000_000 });
    backend.execute(shop.tenant, "ReplayEvents", &range).await?;
    eventually("the range arrives", async || Ok(receiver.accepted_positions().len() >= 15)).await?;
    place_orders(&backend, &shop, 2).await?;
    eventually("new events go on", async || Ok(receiver.accepted_positions().len() >= 17)).await?;
    looked_for_work(&backend.pool, 1).await?;
    let all = receiver.accepted_positions();
    assert_eq!(all.len(), 17, "no event beyond the range is sent twice");
    assert!(all[5..15].is_sorted() && all[10..15] == all[..5], "{all:?}");
    let again: Vec<Uuid> = receiver.received()[10..15].iter().map(|message| message.id).collect();
    assert_eq!(again, ids);
    let made = webhooks.deliveries(shop.tenant, subscription, None, 200).await?;
    assert_eq!(made.iter().filter(|made| made.replay).count(), 10);
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_without_types_gets_every_published_event_without_personal_fields() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    let subscription = subscribe(&backend, &shop, &receiver.url(), &[]).await?;
    // The address of one subscription may contain a secret and is not sent to another.
    subscribe(&backend, &shop, "https://127.0.0.1/secret-path", &["points.earned"]).await?;
    let person = json!({ "customer": new_id(), "name": "Zyxanthia", "email": "z@example.org", "phone": null });
    backend.execute(shop.tenant, "RegisterCustomer", &person).await?;
    place_orders(&backend, &shop, 2).await?;
    let text = "SELECT e.tenant_position FROM log.events e WHERE e.tenant = $1 AND e.tenant_position >
                    (SELECT tenant_position FROM log.events WHERE stream_id = $2 AND type = 'webhook.subscribed')
                  AND e.type <> ALL($3) ORDER BY 1";
    let all = sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(subscription.uuid()).bind(private_event_names());
    let all: Vec<i64> = all.fetch_all(&backend.pool).await?;
    eventually("everything arrives", async || Ok(receiver.accepted_positions().len() >= all.len())).await?;
    assert_eq!(receiver.accepted_positions(), all);
    let registered = receiver.received().into_iter().find(|message| message.kind() == "customer.registered");
    let registered = registered.context("the registration is delivered")?;
    let data = registered.json()["data"].clone();
    ensure!(data["name"].is_null() && data["email"].is_null(), "{data}");
    ensure!(!receiver.received().iter().any(|message| message.body.contains("sealed.v1.")), "a sealed field is sent");
    assert_eq!(registered.json()["stream"], person["customer"]);
    ensure!(!receiver.received().iter().any(|message| message.body.contains("secret-path")), "an address is sent");
    let odd =
        json!({ "subscription": new_id(), "url": receiver.url(), "events": ["webhook.paused"], "description": null });
    let answer = backend.send(shop.tenant, "Subscribe", new_id(), &odd).await?;
    assert!(matches!(answer, Answer::Misuse(_)), "{answer:?}");
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_log_pauses_webhooks_until_the_release_and_then_delivers_the_new_events() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(1_000).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    let (quiet, gone) = (Receiver::open().await?, Receiver::open().await?);
    let paused = subscribe(&backend, &shop, &quiet.url(), &["order.placed"]).await?;
    let ended = subscribe(&backend, &shop, &gone.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 3).await?;
    eventually("three are delivered", async || {
        Ok([&quiet, &gone].iter().all(|one| one.accepted_positions().len() == 3))
    })
    .await?;
    let lane = shop.lane(&backend.pool).await?;
    let kept = lane_head(&backend.pool, lane).await?;
    // The lost events pause one subscription and end another.
    backend.execute(shop.tenant, "PauseSubscription", &json!({ "subscription": paused, "reason": "later" })).await?;
    backend.execute(shop.tenant, "Unsubscribe", &json!({ "subscription": ended })).await?;
    let waits = "SELECT NOT isfinite(due_at) FROM work.queues WHERE kind = 'webhooks' AND name = $1::text";
    eventually("the cursors follow", async || {
        let waits: bool = sqlx::query_scalar(waits).bind(paused.uuid()).fetch_one(&backend.pool).await?;
        Ok(waits && !has_cursor(&backend.pool, ended).await?)
    })
    .await?;
    place_orders(&backend, &shop, 3).await?;
    eventually("all are delivered", async || Ok(receiver.accepted_positions().len() == 6)).await?;
    assert_eq!([quiet.accepted_positions().len(), gone.accepted_positions().len()], [3, 3]);
    backend.close().await;

    let pool = platform::database::connect(&url).await?;
    restore_lane(&pool, lane, kept).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    place_orders(&backend, &shop, 2).await?;
    eventually("the restore is noticed", async || Ok(current_pause(&pool).await?.is_some())).await?;
    looked_for_work(&pool, 1).await?;
    assert_eq!(receiver.accepted_positions().len(), 6, "a delivery before the release");
    resume_work(&pool).await?;
    eventually("the new events are delivered", async || Ok(receiver.accepted_positions().len() == 8)).await?;
    let wanted = subscribed_positions(&pool, &shop, subscription, "order.placed").await?;
    assert_eq!(receiver.accepted_positions()[6..], wanted[3..]);
    eventually("the paused subscription goes on", async || Ok(quiet.accepted_positions().len() == 5)).await?;
    assert_eq!(quiet.accepted_positions(), wanted);
    // The cursor of the ended subscription was deleted, so its receiver gets everything again.
    eventually("the ended subscription is there again", async || Ok(gone.accepted_positions().len() == 8)).await?;
    assert_eq!(gone.accepted_positions()[3..], wanted);
    backend.close().await;
    Ok(())
}

/// Verifies a message by Standard Webhooks 1.0. Returns whether a symmetric and whether an asymmetric signature is
/// valid.
pub(crate) fn verified(message: &Received, shown: &Value) -> [bool; 2] {
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
            other => panic!("a signature of an unknown version: {other}"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_verify_with_the_secret_and_with_both_secrets_during_a_rotation() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WEBHOOK_LIMITS)?;
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    let shown = async || -> Result<Vec<Value>> {
        let secrets = webhooks.secrets(shop.tenant, subscription).await?;
        Ok(secrets.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    };
    let next = async |count: usize| {
        place_orders(&backend, &shop, 1).await?;
        eventually("it arrives", async || Ok(receiver.accepted_positions().len() == count)).await?;
        Ok::<_, anyhow::Error>(receiver.received().remove(count - 1))
    };
    let old = shown().await?;
    let message = next(1).await?;
    assert_eq!((old.len(), verified(&message, &old[0])), (1, [true, true]));
    let mut forged = message.clone();
    forged.body = forged.body.replace("order.placed", "order.paid  ");
    assert_eq!(verified(&forged, &old[0]), [false, false]);

    backend.execute(shop.tenant, "RotateSecret", &json!({ "subscription": subscription, "at_once": false })).await?;
    let both = shown().await?;
    assert_eq!((both.len(), &both[1]["secret"]), (2, &old[0]["secret"]));
    assert!(both[1]["validUntil"].is_string() && both[0]["secret"] != old[0]["secret"]);
    let message = next(2).await?;
    assert_eq!([verified(&message, &both[0]), verified(&message, &both[1])], [[true, true], [true, true]]);

    backend.execute(shop.tenant, "RotateSecret", &json!({ "subscription": subscription, "at_once": true })).await?;
    let newest = shown().await?;
    let message = next(3).await?;
    assert_eq!(
        (newest.len(), verified(&message, &newest[0]), verified(&message, &both[0])),
        (1, [true; 2], [false; 2])
    );
    backend.close().await;
    Ok(())
}
