//! Rebuilds of read models from the log equal the live ones byte by byte, in steps of any size.

use anyhow::Result;
use domain::shared::TenantId;
use domain::tenancy::Tenant;
use lab::harness::{Backend, Shop, caught_up, database, digests, eventually, rebuild_all};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// Executes commands that change every read model.
pub(crate) async fn use_every_model(backend: &Backend, shop: &Shop) -> Result<()> {
    let tenant = shop.tenant;
    let done = async |name: &str, body: Value| backend.execute(tenant, name, &body).await;
    done("SetEarningRules", json!({ "purchase": { "points": 3, "per_minor": 100 }, "signup": 50 })).await?;
    done("EnableProgram", json!({})).await?;
    let reward = new_id();
    let value = json!({ "minor": 500, "currency": "USD" });
    done("AddReward", json!({ "reward": reward, "name": "Five off", "cost": 20, "value": value })).await?;
    let retired = new_id();
    let value = json!({ "minor": 100, "currency": "USD" });
    done("AddReward", json!({ "reward": retired, "name": "One off", "cost": 5, "value": value })).await?;
    done("RetireReward", json!({ "reward": retired })).await?;
    done("NameCurrency", json!({ "singular": "Star", "plural": "Stars" })).await?;
    done("TrackActivity", json!({ "kind": "product_viewed", "subject": shop.product, "customer": null })).await?;
    done("SetLowStockThreshold", json!({ "item": shop.item, "low_at": 35 })).await?;
    for number in 0..6 {
        let customer = new_id();
        let person = json!({ "customer": customer, "name": format!("Ada {number}"),
                             "email": format!("ada{number}@example.org"), "phone": null });
        done("RegisterCustomer", person).await?;
        let orders: Vec<Uuid> = (0..3).map(|_| new_id()).collect();
        for order in &orders {
            done("PlaceOrder", shop.order(*order, customer)).await?;
        }
        for order in &orders[..2] {
            done("RecordPayment", shop.payment(*order)).await?;
        }
        let refund = json!({ "order": orders[0], "amount": { "minor": 300, "currency": "USD" }, "reference": "back" });
        done("RecordRefund", refund).await?;
        done("RejectOrder", json!({ "order": orders[2], "reason": "sold at the till" })).await?;
        for step in ["AcceptOrder", "MarkReady", "MarkInTransit", "MarkDelivered"] {
            done(step, json!({ "order": orders[1] })).await?;
        }
        let earned = format!(
            "SELECT count(*) FROM log.events WHERE type = 'points.earned' AND tenant = $1 AND payload::text LIKE '%{customer}%'"
        );
        let pool = &backend.pool;
        eventually("the points are earned", async || Ok(count(pool, &earned, tenant).await? >= 2)).await?;
        let redemption = json!({ "customer": customer, "redemption": new_id() });
        let mut redeem = redemption.clone();
        redeem["reward"] = json!(reward);
        done("RedeemReward", redeem).await?;
        if number % 2 == 0 {
            done("CancelRedemption", redemption).await?;
        }
        done("AdjustPoints", json!({ "customer": customer, "change": 7, "reason": "sorry" })).await?;
        done("AdjustStock", json!({ "item": shop.item, "change": -1, "reason": "broken" })).await?;
    }
    // A shortage, until the units are found again.
    done("CountStock", json!({ "item": shop.item, "on_hand": 3, "reason": "water damage" })).await?;
    done("CountStock", json!({ "item": shop.item, "on_hand": 30 })).await?;
    let terms = json!({ "starts_at": "2100-01-01T00:00:00Z", "ends_at": "2100-01-02T00:00:00Z", "allotment": 1,
                        "price": { "minor": 400, "currency": "USD" }, "limit": null });
    let store = Tenant::first_store(tenant);
    done("ScheduleFlashSale", json!({ "sale": new_id(), "product": shop.product, "store": store, "terms": terms }))
        .await?;
    for (url, events) in [("https://one.example/", json!([])), ("https://two.example/", json!(["order.placed"]))] {
        let subscription = new_id();
        done("Subscribe", json!({ "subscription": subscription, "url": url, "events": events, "description": null }))
            .await?;
        done("PauseSubscription", json!({ "subscription": subscription, "reason": "a holiday" })).await?;
    }
    done("ReviseProduct", json!({ "product": shop.product, "name": "Müg \t\"№ 1\" \\", "description": "a\nb" }))
        .await?;
    Ok(())
}

async fn count(pool: &PgPool, text: &str, tenant: TenantId) -> Result<i64> {
    Ok(sqlx::query_scalar(text).bind(tenant.uuid()).fetch_one(pool).await?)
}

/// Waits until policies and read models are at the end of the log.
async fn settled(pool: &PgPool) -> Result<()> {
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position < (
                      SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("every policy is at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(behind).fetch_one(pool).await? == 0)
    })
    .await?;
    caught_up(pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuild_equals_the_live_read_model_in_steps_of_one_and_of_a_thousand() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    backend.run_policies();
    for _ in 0..2 {
        let shop = backend.shop(60).await?;
        use_every_model(&backend, &shop).await?;
    }
    settled(&backend.pool).await?;
    let parked = "SELECT count(*) FROM reads.parked";
    assert_eq!(sqlx::query_scalar::<_, i64>(parked).fetch_one(&backend.pool).await?, 0);
    let failures = "SELECT count(*) FROM work.failures";
    assert_eq!(sqlx::query_scalar::<_, i64>(failures).fetch_one(&backend.pool).await?, 0);
    let live = digests(&backend.pool).await?;
    let empty: Vec<_> = live.iter().filter(|(_, _, rows)| *rows == 0).map(|(model, ..)| model).collect();
    assert!(empty.is_empty(), "models without rows: {empty:?}; `use_every_model` above should make some");
    // The follower runs during the rebuilds.
    for at_a_time in [1, 1_000] {
        rebuild_all(&backend.pool, at_a_time).await?;
        assert_eq!(digests(&backend.pool).await?, live, "{at_a_time} at a time");
    }
    check_log_invariants(&backend.pool).await?;

    // Events after a rebuild reach the new tables.
    let shop = backend.shop(10).await?;
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    settled(&backend.pool).await?;
    let pool = backend.pool.clone();
    let later = digests(&pool).await?;
    assert_ne!(later, live);
    rebuild_all(&pool, 7).await?;
    assert_eq!(digests(&pool).await?, later);
    backend.close().await;
    Ok(())
}
