//! Effects: a partner performs each effect once, and its outcome is recorded once. A partner that fails is not called for
//! a while.

use anyhow::{Context, Result};
use api::port::{Breaker, Work};
use lab::harness::victim::{EFFECT_LIMITS, run_samples};
use lab::harness::{
    Backend, Partner, PartnerReply, Shop, commands_with_samples, database, eventually, wait_for_new_looks,
};
use lab::log_invariants::check_log_invariants;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use sqlx::PgPool;
use work::{EffectLimits, Operations, current_pause, pause_work, resume_work};

/// Counts the effects that are not completed.
async fn open_effects(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM work.effects").fetch_one(pool).await?)
}

/// Counts the samples that are recorded in the shop's log as sent, and as refused.
async fn noted(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    let text = "SELECT count(*) FILTER (WHERE payload->>'reason' = 'sample sent'),
                       count(*) FILTER (WHERE payload->>'reason' = 'sample refused')
                FROM log.events WHERE tenant = $1 AND type = 'stock.adjusted'";
    Ok(sqlx::query_as(text).bind(shop.tenant.uuid()).fetch_one(pool).await?)
}

/// Receives stock the given number of times; the policy of the test asks for one sample each time.
async fn receive_stock(backend: &Backend, shop: &Shop, times: usize) -> Result<()> {
    for _ in 0..times {
        backend.execute(shop.tenant, "ReceiveStock", &json!({ "item": shop.item, "units": 10 })).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_is_performed_once_and_noted_once_when_attempts_fail() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(10).await?;
    partner.replies(
        shop.tenant,
        &[PartnerReply::DoneThenCut, PartnerReply::Failed, PartnerReply::DoneWithoutAnswer, PartnerReply::DoneThenCut],
        PartnerReply::Done,
    );
    run_samples(&mut backend, &partner.address.to_string(), EFFECT_LIMITS)?;
    eventually("the outcome is noted", async || Ok(noted(&shop, &backend.pool).await?.0 == 1)).await?;
    eventually("no effect is open", async || Ok(open_effects(&backend.pool).await? == 0)).await?;

    let (asked, done) = partner.seen(shop.tenant);
    assert_eq!((asked.len(), done), (5, 1));
    assert!(asked.iter().all(|key| *key == asked[0]), "every attempt has the same key");
    // The policy reacts to every event again; the idempotency key and the command id are the same, so nothing happens
    // twice.
    backend.close().await;
    let mut backend = Backend::start(&url).await?;
    sqlx::query("UPDATE work.policies SET position = 0").execute(&backend.pool).await?;
    run_samples(&mut backend, &partner.address.to_string(), EFFECT_LIMITS)?;
    eventually("the partner is asked again", async || Ok(partner.seen(shop.tenant).0.len() == 6)).await?;
    eventually("no effect is open", async || Ok(open_effects(&backend.pool).await? == 0)).await?;
    assert_eq!((partner.seen(shop.tenant).1, noted(&shop, &backend.pool).await?), (1, (1, 0)));
    let pool = backend.pool.clone();
    check_log_invariants(&pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_breaker_stops_requests_of_one_tenant_and_one_probe_closes_it() -> Result<()> {
    // The metrics of all tests in this process. No other test opens a breaker.
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let (url, partner) = (database().await, Partner::open().await?);
    let mut backend = Backend::start(&url).await?;
    let (failing, served) = (backend.shop(10).await?, backend.shop(10).await?);
    receive_stock(&backend, &failing, 19).await?;
    receive_stock(&backend, &served, 19).await?;
    partner.replies(failing.tenant, &[], PartnerReply::Failed);
    let limits = EffectLimits { attempts_most: 1_000, ..EFFECT_LIMITS };
    run_samples(&mut backend, &partner.address.to_string(), limits)?;
    eventually("the other tenant is served", async || Ok(noted(&served, &backend.pool).await?.0 == 20)).await?;
    let failures = "SELECT failures FROM work.queues WHERE tenant = $1 AND kind = 'effects'";
    let failures = async || -> Result<i32> {
        Ok(sqlx::query_scalar(failures).bind(failing.tenant.uuid()).fetch_one(&backend.pool).await?)
    };
    eventually("the breaker is open", async || Ok(failures().await? >= EFFECT_LIMITS.failures_most)).await?;
    let operations = Operations::new(backend.pool.clone(), commands_with_samples().into());
    let state = async || -> Result<Breaker> {
        let breakers = operations.breakers(Some(failing.tenant)).await?;
        Ok(breakers.first().context("the breaker of the partner")?.state)
    };
    assert_eq!(state().await?, Breaker::Open);
    let open = "cartulary_breakers_open{kind=\"effects\"} 1";
    eventually("the metric shows the open breaker", async || Ok(metrics.render().lines().any(|line| line == open)))
        .await?;
    proofs::proven("OPS-13 the number of open breakers is a metric");
    // Marker: when a later effect of the other tenant is recorded, effects of both tenants were claimed meanwhile.
    let mut expected = 20;
    let mut marker = async || -> Result<()> {
        receive_stock(&backend, &served, 1).await?;
        expected += 1;
        eventually("the marker is noted", async || Ok(noted(&served, &backend.pool).await?.0 == expected)).await
    };
    marker().await?;
    let asked = partner.seen(failing.tenant).0.len();
    assert!(asked < 12, "{asked} requests before the breaker was open");
    marker().await?;
    assert_eq!(partner.seen(failing.tenant).0.len(), asked, "a request while the breaker is open");

    let end_rest = async || -> Result<()> {
        let text = "UPDATE work.queues SET closed_until = now() - interval '1 second', due_at = '-infinity'
                    WHERE tenant = $1 AND kind = 'effects'";
        sqlx::query(text).bind(failing.tenant.uuid()).execute(&backend.pool).await?;
        Ok(())
    };
    let before = failures().await?;
    end_rest().await?;
    eventually("the probe has failed", async || Ok(failures().await? > before)).await?;
    marker().await?;
    assert_eq!(partner.seen(failing.tenant).0.len(), asked + 1, "one effect probes the partner");

    partner.replies(failing.tenant, &[], PartnerReply::Done);
    pause_work(&mut *backend.pool.acquire().await?, "the state is read before the next call").await?;
    end_rest().await?;
    assert_eq!(state().await?, Breaker::HalfOpen);
    resume_work(&backend.pool).await?;
    eventually("all effects are noted", async || Ok(noted(&failing, &backend.pool).await? == (20, 0))).await?;
    eventually("no effect is open", async || Ok(open_effects(&backend.pool).await? == 0)).await?;
    let done = (partner.seen(failing.tenant).1, partner.seen(served.tenant).1);
    assert_eq!((done, failures().await?, state().await?), ((20, 23), 0, Breaker::Closed));
    proofs::proven("ES-19 the breaker of a failing partner opens, half-opens for one call, and closes");
    proofs::proven("OPS-13 the state of a circuit breaker is shown");
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_is_noted_and_an_effect_that_is_given_up_is_kept_as_a_failure() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut backend = Backend::start(&url).await?;
    let (refused, failing) = (backend.shop(10).await?, backend.shop(10).await?);
    partner.replies(refused.tenant, &[], PartnerReply::Refused);
    partner.replies(failing.tenant, &[], PartnerReply::Failed);
    run_samples(&mut backend, &partner.address.to_string(), EffectLimits { attempts_most: 3, ..EFFECT_LIMITS })?;
    eventually("no effect is open", async || {
        Ok(noted(&refused, &backend.pool).await? == (0, 1) && open_effects(&backend.pool).await? == 0)
    })
    .await?;
    assert_eq!((partner.seen(refused.tenant).0.len(), partner.seen(failing.tenant).0.len()), (1, 3));
    let kept: Vec<(uuid::Uuid, String, String)> =
        sqlx::query_as("SELECT tenant, name, reason FROM work.dead_letters").fetch_all(&backend.pool).await?;
    assert_eq!(kept, [(failing.tenant.uuid(), "send_sample".into(), "tried 3 times; last error: 500".into())]);
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_effects_wait_for_their_release_and_do_not_age_meanwhile() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut backend = Backend::start(&url).await?;
    pause_work(&mut *backend.pool.acquire().await?, "restored from yesterday's backup").await?;
    let shop = backend.shop(10).await?;
    run_samples(&mut backend, &partner.address.to_string(), EFFECT_LIMITS)?;
    eventually("the effect is there", async || Ok(open_effects(&backend.pool).await? == 1)).await?;
    // Each claim of timers and of effects reads `work.hold`.
    wait_for_new_looks(&backend.pool, "work.hold", 2).await?;
    assert!(partner.seen(shop.tenant).0.is_empty());
    // The pause has lasted for longer than an effect may wait.
    let age = EFFECT_LIMITS.age_most.as_secs_f64() * 2.0;
    for text in [
        "UPDATE work.effects SET asked_at = asked_at - $1 * interval '1 second'",
        "UPDATE work.hold SET since = since - $1 * interval '1 second'",
    ] {
        sqlx::query(text).bind(age).execute(&backend.pool).await?;
    }
    let hold = current_pause(&backend.pool).await?.context("effects are paused")?;
    assert_eq!(hold.reason, "restored from yesterday's backup");
    resume_work(&backend.pool).await?;
    eventually("the effect is noted", async || Ok(noted(&shop, &backend.pool).await?.0 == 1)).await?;
    assert_eq!(current_pause(&backend.pool).await?, None);
    backend.close().await;
    Ok(())
}
