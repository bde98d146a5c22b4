//! Read models are made of the log alone: made again in any stride, they are the same to the byte.

use anyhow::Result;
use domain::shared::TenantId;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::laws::keeps_the_laws;
use crate::server::database;
use crate::shop::{House, Shop, caught_up, digests, eventually, rebuild_all};

/// A day in the life of a shop that touches every read model.
pub(crate) async fn live_a_day(house: &House, shop: &Shop) -> Result<()> {
    let tenant = shop.tenant;
    let done = async |name: &str, body: Value| house.done(tenant, name, &body).await;
    done("SetEarningRules", json!({ "purchase": { "points": 3, "per_minor": 100 }, "signup": 50 })).await?;
    done("EnableProgram", json!({})).await?;
    let reward = new_id();
    let value = json!({ "minor": 500, "currency": "USD" });
    done("AddReward", json!({ "reward": reward, "name": "Five off", "cost": 20, "value": value })).await?;
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
        let pool = &house.pool;
        eventually("the points are counted", async || Ok(count(pool, &earned, tenant).await? >= 2)).await?;
        done("RedeemReward", json!({ "customer": customer, "redemption": new_id(), "reward": reward })).await?;
        done("AdjustPoints", json!({ "customer": customer, "change": 7, "reason": "sorry" })).await?;
        done("AdjustStock", json!({ "item": shop.item, "change": -1, "reason": "broken" })).await?;
    }
    done("CountStock", json!({ "item": shop.item, "on_hand": 30 })).await?;
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

/// Nothing more follows from what is in the log.
async fn settled(pool: &PgPool) -> Result<()> {
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position < (
                      SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("every policy stands at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(behind).fetch_one(pool).await? == 0)
    })
    .await?;
    caught_up(pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_model_built_anew_equals_the_live_one_in_strides_of_one_and_of_a_thousand() -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    house.read();
    house.react();
    for _ in 0..2 {
        let shop = house.shop(60).await?;
        live_a_day(&house, &shop).await?;
    }
    settled(&house.pool).await?;
    let parked = "SELECT count(*) FROM reads.parked";
    assert_eq!(sqlx::query_scalar::<_, i64>(parked).fetch_one(&house.pool).await?, 0);
    let failures = "SELECT count(*) FROM work.failures";
    assert_eq!(sqlx::query_scalar::<_, i64>(failures).fetch_one(&house.pool).await?, 0);
    let live = digests(&house.pool).await?;
    let empty: Vec<_> = live.iter().filter(|(_, _, rows)| *rows == 0).map(|(model, ..)| model).collect();
    assert!(empty.is_empty(), "no rows, which proves nothing, of {empty:?}; `live_a_day` above should make some");
    // While readers go on reading and the projector goes on following.
    for at_a_time in [1, 1_000] {
        rebuild_all(&house.pool, at_a_time).await?;
        assert_eq!(digests(&house.pool).await?, live, "{at_a_time} at a time");
    }
    keeps_the_laws(&house.pool).await?;

    // What is written after a rebuild finds its way into the new tables.
    let shop = house.shop(10).await?;
    house.done(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    settled(&house.pool).await?;
    let pool = house.pool.clone();
    let later = digests(&pool).await?;
    assert_ne!(later, live);
    rebuild_all(&pool, 7).await?;
    assert_eq!(digests(&pool).await?, later);
    house.close().await;
    Ok(())
}
