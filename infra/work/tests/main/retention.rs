//! Retention: old details are dropped, and nothing else.

use anyhow::Result;
use commands::scribe::{Answer, Settled};
use lab::harness::{Backend, database};
use platform::clock::{new_id, now};
use sqlx::PgPool;
use work::{Dropped, Retention, RetentionPeriods};

/// Inserts `rows` attempts and dead letters each, of this age in days.
async fn insert(pool: &PgPool, rows: i32, days: i32) -> Result<()> {
    let subscription = new_id();
    for text in [
        "INSERT INTO work.webhooks (subscription, tenant)
         SELECT $1, gen_random_uuid() WHERE $2::integer > 0 AND $3::integer > 0",
        "INSERT INTO work.webhook_attempts
             (subscription, number, tenant, event, type, position, replay, attempt, begun_at, took_ms)
         SELECT $1, n, gen_random_uuid(), gen_random_uuid(), 'order.placed', n, false, 1, now() - $3 * interval '1 day', 5
         FROM generate_series(1, $2) AS n",
        "INSERT INTO work.dead_letters (id, tenant, policy, causation, name, body, reason, failed_at)
         SELECT gen_random_uuid(), $1, 'policy', $1, 'Command', '{}', 'reason', now() - $3 * interval '1 day'
         FROM generate_series(1, $2)",
    ] {
        sqlx::query(text).bind(subscription).bind(rows).bind(days).execute(pool).await?;
    }
    Ok(())
}

async fn count(pool: &PgPool, text: &str) -> Result<i64> {
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_details_attempts_and_dead_letters_are_dropped_in_batches_and_younger_ones_stay() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    let (old, young, customer) = (new_id(), new_id(), new_id());
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), customer)).await?;
    let body = shop.order(new_id(), customer);
    for id in [old, young] {
        backend.send(shop.tenant, "PlaceOrder", id, &body).await?;
    }
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    let age = "UPDATE log.receipts SET recorded_at = recorded_at - interval '91 days' WHERE command_id = $1";
    sqlx::query(age).bind(old).execute(&pool).await?;
    // More rows than one statement drops.
    insert(&pool, 1_100, 91).await?;
    insert(&pool, 7, 31).await?;
    insert(&pool, 5, 1).await?;

    let retention = Retention { pool: pool.clone(), periods: RetentionPeriods::default() };
    let expected = Dropped { rejection_details: 1, delivery_attempts: 1_107, dead_letters: 1_100 };
    assert_eq!(retention.sweep(now()).await?, expected);
    assert_eq!(retention.sweep(now()).await?, Dropped::default());
    assert_eq!(count(&pool, "SELECT count(*) FROM work.webhook_attempts").await?, 5);
    assert_eq!(count(&pool, "SELECT count(*) FROM work.dead_letters").await?, 12);

    // The receipts are still there: a repeat of the commands gets the same code, but not the same details.
    let backend = Backend::start(&url).await?;
    let mut answers = Vec::new();
    for id in [old, young] {
        match backend.send(shop.tenant, "PlaceOrder", id, &body).await? {
            Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: true } => {
                answers.push((rejected.code.to_string(), rejected.details.is_null()));
            }
            other => anyhow::bail!("answered {other:?}"),
        }
    }
    assert_eq!(answers, [("OUT_OF_STOCK".to_owned(), true), ("OUT_OF_STOCK".to_owned(), false)]);
    backend.close().await;
    Ok(())
}
