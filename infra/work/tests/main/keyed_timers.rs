//! Timers with a key: they are moved, cancelled, and carried over from earlier versions.

use std::collections::BTreeMap;

use anyhow::Result;
use domain::shared::{CommandId, FlashSaleId};
use domain::tenancy::Tenant;
use lab::harness::{Backend, Shop, database, eventually, pending_timers};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paid_and_cancelled_orders_leave_no_timer_and_no_receipt() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(3).await?;
    let (paid, cancelled, paid_at_once) = (new_id(), new_id(), new_id());
    for order in [paid, cancelled] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    }
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 4)).await?;

    backend.execute(shop.tenant, "RecordPayment", &shop.payment(paid)).await?;
    backend.execute(shop.tenant, "RejectOrder", &json!({ "order": cancelled, "reason": "broken" })).await?;
    // The policies may read the placement and the payment of this one together.
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(paid_at_once, new_id())).await?;
    backend.execute(shop.tenant, "RecordPayment", &shop.payment(paid_at_once)).await?;
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position <
                  (SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("no timer waits and no policy is behind", async || {
        let behind: i64 = sqlx::query_scalar(behind).fetch_one(&backend.pool).await?;
        Ok(behind == 0 && pending_timers(&backend.pool).await? == 0)
    })
    .await?;
    let receipts = "SELECT count(*) FROM log.receipts WHERE command IN ('ExpireOrder', 'ExpireReservation')";
    assert_eq!(sqlx::query_scalar::<_, i64>(receipts).fetch_one(&backend.pool).await?, 0);
    let pool = backend.pool.clone();
    check_log_invariants(&pool).await?;
    backend.close().await;
    Ok(())
}

/// Keys and times of the timers of a stream.
async fn timers(pool: &PgPool, stream: Uuid) -> Result<BTreeMap<String, String>> {
    let text = "SELECT key, to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM work.timers
                WHERE stream = $1";
    Ok(sqlx::query_as::<_, (String, String)>(text).bind(stream).fetch_all(pool).await?.into_iter().collect())
}

/// Terms of a flash sale in this window.
fn terms(starts_at: &str, ends_at: &str) -> Value {
    json!({
        "starts_at": starts_at, "ends_at": ends_at, "allotment": 5, "price": { "minor": 700, "currency": "USD" },
        "limit": null,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_sale_moves_its_timers_and_a_cancelled_sale_removes_them() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let shop: Shop = backend.shop(10).await?;
    let (sale, store) = (FlashSaleId::new(new_id()), Tenant::first_store(shop.tenant));
    let (first, end) = ("2090-01-01T10:00:00Z", "2090-01-01T12:00:00Z");
    let schedule = json!({ "sale": sale, "product": shop.product, "store": store, "terms": terms(first, end) });
    backend.execute(shop.tenant, "ScheduleFlashSale", &schedule).await?;
    let expected = |start: &str| BTreeMap::from([("start".into(), start.into()), ("end".into(), end.into())]);
    let are = async |start: &str| Ok(timers(&backend.pool, sale.uuid()).await? == expected(start));
    eventually("the timers are set", async || are(first).await).await?;

    let later = "2090-01-01T11:00:00Z";
    let change = json!({ "sale": sale, "terms": terms(later, end) });
    backend.execute(shop.tenant, "ChangeFlashSale", &change).await?;
    eventually("the timer of the start is moved", async || are(later).await).await?;
    backend.execute(shop.tenant, "CancelFlashSale", &json!({ "sale": sale })).await?;
    eventually("no timer waits", async || Ok(pending_timers(&backend.pool).await? == 0)).await?;
    backend.close().await;
    Ok(())
}

/// The table of timers before they had keys.
const OLD_TABLE: &str = "
    DROP TABLE work.timers;
    CREATE TABLE work.timers (
        due_at timestamptz NOT NULL, id uuid NOT NULL, tenant uuid NOT NULL, causation uuid NOT NULL,
        policy text NOT NULL COLLATE \"C\", command text NOT NULL COLLATE \"C\", body json NOT NULL, correlation uuid,
        PRIMARY KEY (due_at, id))";
const MIGRATION: &str = include_str!("../../../log/migrations/0125_keyed_timers.sql");

#[tokio::test]
async fn timers_of_earlier_versions_get_the_keys_that_policies_cancel_them_by() -> Result<()> {
    let pool = platform::database::connect(&database().await).await?;
    pool.execute(OLD_TABLE).await?;
    let (stream, reservation, cause) = (new_id(), new_id(), new_id());
    let old = [
        (1, "ExpireOrder", json!({ "order": stream })),
        (1, "ExpireReservation", json!({ "item": stream, "reservation": reservation })),
        (1, "StartFlashSale", json!({ "sale": stream })),
        (2, "StartFlashSale", json!({ "sale": stream })),
        (1, "EndFlashSale", json!({ "sale": stream })),
        (1, "OpenTenant", json!({ "name": "Corner shop" })),
    ];
    let mut ids = Vec::new();
    for (due, command, body) in &old {
        let id = CommandId::new(new_id()).uuid();
        let text = "INSERT INTO work.timers (due_at, id, tenant, causation, policy, command, body)
                    VALUES (to_timestamp($1), $2, $3, $4, 'policy', $5, $6)";
        let insert = sqlx::query(text).bind(f64::from(*due)).bind(id).bind(Uuid::nil()).bind(cause);
        insert.bind(*command).bind(body).execute(&pool).await?;
        ids.push(id);
    }
    pool.execute(MIGRATION).await?;
    let named: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as("SELECT id, stream, key FROM work.timers").fetch_all(&pool).await?;
    let named: BTreeMap<Uuid, (Uuid, String)> =
        named.into_iter().map(|(id, stream, key)| (id, (stream, key))).collect();
    let keys = [
        "unpaid".to_owned(),
        reservation.to_string(),
        format!("start:{}", ids[2]),
        "start".to_owned(),
        "end".to_owned(),
        ids[5].to_string(),
    ];
    for ((id, key), (_, command, _)) in ids.iter().zip(keys).zip(&old) {
        let expected_stream = if *command == "OpenTenant" { cause } else { stream };
        assert_eq!(named.get(id), Some(&(expected_stream, key)), "{command}");
    }
    Ok(())
}
