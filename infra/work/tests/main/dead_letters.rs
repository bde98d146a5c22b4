//! Dead letters: work that fails for good is kept, listed, requeued and discarded, and holds up nothing else.

use std::sync::Arc;

use anyhow::{Context, Result};
use api::port::{DeadLetterKind, LetterCursor, LetterRemoval};
use commands::kernel::Commands;
use domain::inventory::HOLD_TIME;
use domain::shared::TenantId;
use lab::harness::victim::{EFFECT_LIMITS, run_samples};
use lab::harness::{
    Backend, Partner, PartnerReply, Shop, age_by, commands_with_samples, database, eventually, pending_timers,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::json;
use sqlx::PgPool;
use work::{DeadLetters, EffectLimits};

fn letters(pool: &PgPool, commands: Commands) -> DeadLetters {
    DeadLetters { pool: pool.clone(), commands: Arc::new(commands) }
}

/// Number of samples of a shop whose outcome was recorded.
async fn sent(pool: &PgPool, shop: &Shop) -> Result<i64> {
    shop.count(pool, "stock.adjusted").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_that_always_fails_is_a_dead_letter_after_the_third_retry_and_the_lane_goes_on() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut backend = Backend::start(&url).await?;
    // Two tenants of one lane.
    let failing = backend.shop(10).await?;
    let served = loop {
        let other = backend.shop(10).await?;
        if other.lane(&backend.pool).await? == failing.lane(&backend.pool).await? {
            break other;
        }
    };
    partner.replies(failing.tenant, &[], PartnerReply::Failed);
    // One attempt and three retries, as by default; the breaker stays closed.
    let attempts_most = EffectLimits::default().attempts_most;
    let limits = EffectLimits { attempts_most, failures_most: 100, ..EFFECT_LIMITS };
    run_samples(&mut backend, &partner.address.to_string(), limits)?;
    let letters = letters(&backend.pool, commands_with_samples());
    eventually("the effect is a dead letter", async || {
        Ok(letters.list(Some(failing.tenant), None, 10).await?.len() == 1)
    })
    .await?;
    assert_eq!(partner.seen(failing.tenant).0.len(), 4);
    let letter = letters.list(Some(failing.tenant), None, 10).await?.pop().context("a letter")?;
    assert_eq!((letter.kind, letter.attempts, &*letter.name), (DeadLetterKind::Effect, 4, "send_sample"));
    assert_eq!((&*letter.source, &*letter.reason), ("sample_on_received", "tried 4 times; last error: 500"));
    // The lane and the tenant itself go on.
    eventually("the other tenant is served", async || Ok(sent(&backend.pool, &served).await? == 1)).await?;
    backend.execute(failing.tenant, "PlaceOrder", &failing.order(new_id(), new_id())).await?;
    eventually("its timers are set", async || Ok(pending_timers(&backend.pool).await? == 2)).await?;

    // Only its own scope shows and changes it.
    assert!(letters.list(Some(served.tenant), None, 10).await?.is_empty());
    assert_eq!(letters.requeue(Some(served.tenant), letter.id).await?, LetterRemoval::Unknown);
    // Requeued, it is tried again under the same key, and its outcome is recorded.
    partner.replies(failing.tenant, &[], PartnerReply::Done);
    assert_eq!(letters.requeue(None, letter.id).await?, LetterRemoval::Removed(Box::new(letter.clone())));
    eventually("the outcome is recorded", async || Ok(sent(&backend.pool, &failing).await? == 1)).await?;
    let (keys, done) = partner.seen(failing.tenant);
    assert!(keys.iter().all(|key| *key == keys[0]) && done == 1, "{keys:?}");
    assert!(letters.list(None, None, 10).await?.is_empty());
    assert_eq!(letters.discard(None, letter.id).await?, LetterRemoval::Unknown);
    proofs::proven("ES-12 an effect that always fails is a dead letter after the third retry, and the lane goes on");
    let pool = backend.pool.clone();
    check_log_invariants(&pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_that_failed_is_executed_once_after_its_stream_was_repaired() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(3).await?;
    let (broken, discarded) = (new_id(), new_id());
    for order in [broken, discarded] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    }
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 4)).await?;
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    let break_them = "UPDATE log.events SET payload = json_build_object('broken', payload) WHERE type = 'order.placed'";
    sqlx::query(break_them).execute(&pool).await?;

    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let letters = letters(&pool, Commands::all());
    eventually("both commands have failed", async || {
        Ok(pending_timers(&pool).await? == 0 && letters.list(None, None, 10).await?.len() == 2)
    })
    .await?;
    let listed = letters.list(None, None, 10).await?;
    let page = letters.list(None, None, 1).await?;
    let after = LetterCursor { failed_at: page[0].failed_at, id: page[0].id };
    assert_eq!([page, letters.list(None, Some(after), 10).await?].concat(), listed);
    let of = |order| listed.iter().find(|letter| letter.body["order"] == json!(order)).context("a letter of the order");
    let removed = letters.discard(Some(shop.tenant), of(discarded)?.id).await?;
    assert!(matches!(removed, LetterRemoval::Removed(_)), "{removed:?}");
    backend.close().await;

    let repair = "UPDATE log.events SET payload = payload->'broken' WHERE type = 'order.placed'";
    sqlx::query(repair).execute(&pool).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let removed = letters.requeue(None, of(broken)?.id).await?;
    assert!(matches!(removed, LetterRemoval::Removed(_)), "{removed:?}");
    eventually("the order has expired", async || Ok(shop.count(&pool, "order.cancelled").await? == 1)).await?;
    let cancelled: uuid::Uuid =
        sqlx::query_scalar("SELECT stream_id FROM log.events WHERE type = 'order.cancelled'").fetch_one(&pool).await?;
    assert_eq!(cancelled, broken);
    assert!(letters.list(None, None, 10).await?.is_empty());
    proofs::proven("ES-12 a requeued command is executed once, and a discarded one is not");
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_stream_is_listed_and_a_requeue_tries_it_again() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    let order = new_id();
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    let break_it = "UPDATE log.events SET payload = json_build_object('broken', payload) WHERE type = 'order.placed'";
    sqlx::query(break_it).execute(&backend.pool).await?;
    backend.close().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let letters = letters(&backend.pool, Commands::all());
    eventually("the stream is listed", async || Ok(!letters.list(Some(shop.tenant), None, 10).await?.is_empty()))
        .await?;
    let letter = letters.list(Some(shop.tenant), None, 10).await?.pop().context("a letter")?;
    assert_eq!((letter.kind, &*letter.name), (DeadLetterKind::PolicyStream, "Order"));
    assert_eq!(letter.body["stream"], json!(order));
    let removal = letters.discard(None, letter.id).await?;
    assert!(matches!(removal, LetterRemoval::Refused(_)), "{removal:?}");
    assert_eq!(letters.requeue(Some(TenantId::new(new_id())), letter.id).await?, LetterRemoval::Unknown);
    // The attempt that was asked for is made, and fails: the letter stays.
    assert_eq!(letters.requeue(None, letter.id).await?, LetterRemoval::Removed(Box::new(letter.clone())));
    let asked = "SELECT EXISTS (SELECT FROM work.parked WHERE retry_asked)";
    eventually("the request is taken", async || {
        Ok(!sqlx::query_scalar::<_, bool>(asked).fetch_one(&backend.pool).await?)
    })
    .await?;
    assert!(letters.list(Some(shop.tenant), None, 10).await?.contains(&letter));
    let repair = "UPDATE log.events SET payload = payload->'broken' WHERE type = 'order.placed'";
    sqlx::query(repair).execute(&backend.pool).await?;
    letters.requeue(Some(shop.tenant), letter.id).await?;
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 2)).await?;
    eventually("no letter is left", async || Ok(letters.list(None, None, 10).await?.is_empty())).await?;
    proofs::proven("ES-12 an event that a policy cannot read is listed, and a requeue tries it again");
    backend.close().await;
    Ok(())
}
