//! Fairness of queues: the trouble of one tenant delays no other.

use anyhow::Result;
use domain::inventory::HOLD_TIME;
use lab::harness::{Backend, Shop, age_by, database, eventually, pending_timers, place_orders};
use lab::log_invariants::check_log_invariants;
use sqlx::PgPool;

/// Orders of the tenant in trouble; each has two timers.
const ORDERS: i64 = 100;

/// Number of runs of the command queue of a tenant, and of failures in a row.
async fn runs(pool: &PgPool, shop: &Shop) -> Result<(i64, i32)> {
    let text = "SELECT fence, failures FROM work.queues WHERE tenant = $1 AND kind = 'commands'";
    Ok(sqlx::query_as(text).bind(shop.tenant.uuid()).fetch_one(pool).await?)
}

/// Makes the queue of a tenant and its timers due.
async fn make_due(pool: &PgPool, shop: &Shop) -> Result<()> {
    for text in [
        "UPDATE work.timers SET due_at = now() - interval '1 hour' WHERE tenant = $1",
        "UPDATE work.queues SET due_at = now() - interval '1 hour' WHERE tenant = $1 AND kind = 'commands'",
    ] {
        sqlx::query(text).bind(shop.tenant.uuid()).execute(pool).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_due_timers_that_are_answered_not_now_delay_no_other_tenant_of_their_lane() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let blocked = backend.shop(ORDERS).await?;
    let healthy = loop {
        let other = backend.shop(10).await?;
        if other.lane(&backend.pool).await? == blocked.lane(&backend.pool).await? {
            break other;
        }
    };
    place_orders(&backend, &healthy, 3).await?;
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 6)).await?;
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    let hold = "UPDATE work.queues SET due_at = 'infinity' WHERE tenant = $1";
    sqlx::query(hold).bind(healthy.tenant.uuid()).execute(&pool).await?;

    let mut backend = Backend::start(&url).await?;
    place_orders(&backend, &blocked, ORDERS).await?;
    backend.run_policies();
    eventually("all timers are set", async || Ok(pending_timers(&pool).await? == 2 * ORDERS + 6)).await?;
    // The deadlines of these orders have not passed, so that each of their commands is answered with not-now.
    make_due(&pool, &blocked).await?;
    eventually("the delay of the tenant is at its maximum", async || Ok(runs(&pool, &blocked).await?.1 >= 4)).await?;

    // A run of the tenant in trouble follows a second after the one before: the delay of the other is counted in them.
    let before = runs(&pool, &blocked).await?.0;
    make_due(&pool, &healthy).await?;
    let mut after = before;
    eventually("the timers of the other tenant have fired", async || {
        after = runs(&pool, &blocked).await?.0;
        Ok(healthy.count(&pool, "order.cancelled").await? == 3)
    })
    .await?;
    assert!(after - before <= 2, "{} runs of the tenant in trouble came first", after - before);
    assert_eq!(blocked.count(&pool, "order.cancelled").await?, 0);
    assert!(pending_timers(&pool).await? >= 2 * ORDERS);
    backend.close().await;
    check_log_invariants(&pool).await
}
