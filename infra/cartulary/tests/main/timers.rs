//! Durable timers: what must happen at a time happens once, whoever was alive at that time.
//!
//! proves: INV-09

use anyhow::Result;
use cartulary::running;
use domain::inventory::HOLD_TIME;
use domain::shared::TenantId;
use platform::clock::new_id;
use scribe::Owner;
use serde_json::json;
use sqlx::PgPool;

use crate::laws::keeps_the_laws;
use crate::process::{Desk, persist};
use crate::server::database;
use crate::shop::{House, Shop, eventually, settings};

/// Lets everything in the log and everything that waits be so many seconds older, instead of waiting so long.
pub(crate) async fn turn_back(pool: &PgPool, seconds: i64) -> Result<()> {
    let older = |json: &str| {
        format!(
            "CASE WHEN {json}->>'until' IS NULL THEN {json} ELSE jsonb_set({json}::jsonb, '{{until}}', to_jsonb(
                 to_char((({json}->>'until')::timestamptz - $1 * interval '1 second') AT TIME ZONE 'UTC',
                         'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::json END"
        )
    };
    for text in [
        format!(
            "UPDATE log.events SET payload = {}, occurred_at = occurred_at - $1 * interval '1 second',
                    recorded_at = recorded_at - $1 * interval '1 second'",
            older("payload")
        ),
        // States know times too; they are folded anew.
        "DELETE FROM log.snapshots WHERE $1 > 0".into(),
        "UPDATE log.receipts SET recorded_at = recorded_at - $1 * interval '1 second'".into(),
        "UPDATE log.epochs SET since = since - $1 * interval '1 second'".into(),
        format!("UPDATE work.timers SET body = {}, due_at = due_at - $1 * interval '1 second'", older("body")),
    ] {
        sqlx::query(&text).bind(seconds).execute(pool).await?;
    }
    Ok(())
}

pub(crate) async fn timers(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM work.timers").fetch_one(pool).await?)
}

/// What has become of the unpaid order: cancelled so often, its hold written down as passed so often.
async fn fate(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    Ok((shop.count(pool, "order.cancelled").await?, shop.count(pool, "stock.reservation_expired").await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpaid_hold_passes_once_though_nobody_was_alive_at_its_time() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let engine = desk.start_ready(&[]).await?;
    let (shop, owner) = desk.shop(&engine, &pool, 2).await?;
    let (unpaid, paid) = (new_id(), new_id());
    for order in [unpaid, paid] {
        persist(&[&owner], "PlaceOrder", new_id(), &shop.order(order, new_id())).await?;
    }
    persist(&[&owner], "RecordPayment", new_id(), &shop.payment(paid)).await?;
    // For either order one about itself and one about its hold.
    eventually("the timers are set", async || Ok(timers(&pool).await? == 4)).await?;
    engine.kill().await?;

    turn_back(&pool, HOLD_TIME.0 + 1).await?;
    assert_eq!((fate(&shop, &pool).await?, timers(&pool).await?), ((0, 0), 4));
    let engine = desk.start_ready(&[]).await?;
    eventually("the timers have gone off", async || Ok(timers(&pool).await? == 0)).await?;
    assert_eq!(fate(&shop, &pool).await?, (1, 1));
    let owner = desk.owner(&engine, shop.tenant).await?;
    let answer = persist(&[&owner], "PlaceOrder", new_id(), &shop.order(new_id(), new_id())).await?;
    assert_eq!(answer["outcome"], "accepted", "the unit can be had again: {answer}");
    engine.kill().await?;

    // Everything is asked for anew, as after a crash between the deed and its record: nothing happens twice.
    sqlx::query("UPDATE work.policies SET position = 0").execute(&pool).await?;
    sqlx::query("DELETE FROM work.timers").execute(&pool).await?;
    let engine = desk.start_ready(&[]).await?;
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position <
                  (SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("the policies have seen it all again and only the new order waits", async || {
        let behind: i64 = sqlx::query_scalar(behind).fetch_one(&pool).await?;
        Ok(behind == 0 && timers(&pool).await? == 2)
    })
    .await?;
    assert_eq!(fate(&shop, &pool).await?, (1, 1));
    assert_eq!(shop.count(&pool, "tenant.opened").await?, 1);
    engine.stop().await?;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_passes_at_its_time_and_not_before() -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(1).await?;
    house.done(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    house.react();
    eventually("the timers are set", async || Ok(timers(&house.pool).await? == 2)).await?;
    house.close().await;

    // Two seconds are left.
    let pool = running::connect(&url).await?;
    turn_back(&pool, HOLD_TIME.0 - 2).await?;
    let mut house = House::with_defaults(&url).await?;
    house.react();
    eventually("the hold has passed", async || Ok(fate(&shop, &pool).await? == (1, 1))).await?;
    let early = "SELECT count(*) FROM log.events e JOIN log.events r
                     ON r.tenant = e.tenant AND r.stream_id = e.stream_id AND r.type = 'stock.reserved'
                 WHERE e.type = 'stock.reservation_expired' AND e.recorded_at < (r.payload->>'until')::timestamptz";
    assert_eq!(sqlx::query_scalar::<_, i64>(early).fetch_one(&pool).await?, 0);
    eventually("nothing waits any more", async || Ok(timers(&pool).await? == 0)).await?;
    house.close().await;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_owns_no_lane_keeps_no_timer_from_the_one_that_does() -> Result<()> {
    let url = database().await;
    let mut owner = House::with_defaults(&url).await?;
    let shop = owner.shop(1).await?;
    owner.done(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    owner.react();
    eventually("the timers are set", async || Ok(timers(&owner.pool).await? == 2)).await?;
    owner.close().await;
    let pool = running::connect(&url).await?;
    turn_back(&pool, HOLD_TIME.0 + 1).await?;

    // The one that owns the lanes looks at timers after the other one has long done so.
    let mut owner = House::with_defaults(&url).await?;
    eventually("the lanes are taken", async || Ok(owner.scribe.troubles().is_empty())).await?;
    let mut standby = settings(&url);
    standby.owner = Owner { name: "standby".into(), ..standby.owner };
    let mut standby = House::open(&url, &standby).await?;
    standby.react();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    owner.react();
    eventually("the hold has passed", async || Ok(fate(&shop, &pool).await? == (1, 1))).await?;
    eventually("nothing waits any more", async || Ok(timers(&pool).await? == 0)).await?;

    // Nor does it get stuck at what it cannot send: what comes later is seen to by the owner as well.
    let second = owner.shop(1).await?;
    owner.done(second.tenant, "PlaceOrder", &second.order(new_id(), new_id())).await?;
    eventually("the next timers are set", async || Ok(timers(&pool).await? == 2)).await?;
    standby.close().await;
    owner.close().await;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_was_introduced_misses_nothing_of_what_happens_while_it_is_down() -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    house.react();
    let introduced = "SELECT count(*) FROM work.policies";
    eventually("the policies are introduced", async || {
        Ok(sqlx::query_scalar::<_, i64>(introduced).fetch_one(&house.pool).await? > 0)
    })
    .await?;
    house.close().await;

    let house = House::with_defaults(&url).await?;
    let shop = house.shop(1).await?;
    let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": 50 });
    house.done(shop.tenant, "SetEarningRules", &rules).await?;
    house.done(shop.tenant, "EnableProgram", &json!({})).await?;
    let person = json!({ "customer": new_id(), "name": "Ada", "email": null, "phone": null });
    house.done(shop.tenant, "RegisterCustomer", &person).await?;
    house.close().await;

    let mut house = House::with_defaults(&url).await?;
    house.react();
    eventually("signing up has earned its points", async || Ok(shop.count(&house.pool, "points.earned").await? == 1))
        .await?;
    let pool = house.pool.clone();
    keeps_the_laws(&pool).await?;
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_follow_in_a_lane_of_another_process_waits_for_it_and_holds_nothing_up() -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    let platform = house.scribe.routes().lane(TenantId::PLATFORM).await?;
    let mut shops = Vec::new();
    while shops.len() < 2 {
        let shop = Shop::new(TenantId::new(new_id()));
        let lane = house.scribe.routes().lane(shop.tenant).await?;
        if lane != platform && shops.iter().all(|(_, other)| *other != lane) {
            shops.push((shop, lane));
        }
    }
    eventually("the lanes are taken", async || Ok(house.scribe.troubles().is_empty())).await?;
    // Somebody else takes the lane of the first one.
    let take =
        "UPDATE log.lanes SET owner = 'other', epoch = epoch + 1, lease = now() + interval '1 hour' WHERE lane = $1";
    sqlx::query(take).bind(shops[0].1.0).execute(&house.pool).await?;
    house.react();
    for (number, (shop, _)) in shops.iter().enumerate() {
        let register = json!({
            "tenant": shop.tenant, "name": "Corner shop", "subdomain": format!("corner-{number}"),
            "contact_email": format!("office{number}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        house.done(TenantId::PLATFORM, "RegisterTenant", &register).await?;
    }
    let (away, here) = (&shops[0].0, &shops[1].0);
    eventually("the second is open", async || Ok(here.count(&house.pool, "tenant.opened").await? == 1)).await?;
    eventually("the first one waits", async || Ok(timers(&house.pool).await? == 1)).await?;
    assert_eq!(away.count(&house.pool, "tenant.opened").await?, 0);

    let leave = "UPDATE log.lanes SET lease = now() - interval '1 second' WHERE lane = $1";
    sqlx::query(leave).bind(shops[0].1.0).execute(&house.pool).await?;
    eventually("the first is open too", async || Ok(away.count(&house.pool, "tenant.opened").await? == 1)).await?;
    eventually("nothing waits any more", async || Ok(timers(&house.pool).await? == 0)).await?;
    let pool = house.pool.clone();
    keeps_the_laws(&pool).await?;
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_stops_its_lane_and_no_other() -> Result<()> {
    stops_only_its_lane("payload").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_which_nobody_knows_who_did_it_stops_its_lane_and_no_other() -> Result<()> {
    stops_only_its_lane("meta").await
}

/// Breaks a column of one event, and mends it.
async fn stops_only_its_lane(column: &str) -> Result<()> {
    let url = database().await;
    let house = House::with_defaults(&url).await?;
    let first = house.shop(1).await?;
    let second = loop {
        let other = house.shop(1).await?;
        if other.lane(&house.pool).await? != first.lane(&house.pool).await? {
            break other;
        }
    };
    for shop in [first, second] {
        house.done(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    }
    let break_it = format!(
        "UPDATE log.events SET {column} = json_build_object('broken', {column})
         WHERE tenant = $1 AND type = 'order.placed'"
    );
    sqlx::query(&break_it).bind(first.tenant.uuid()).execute(&house.pool).await?;
    // Whoever wrote it remembers what it was.
    house.close().await;
    let mut house = House::with_defaults(&url).await?;
    house.react();
    let set = "SELECT count(*) FILTER (WHERE tenant = $1), count(*) FILTER (WHERE tenant = $2) FROM work.timers";
    let set = async || -> Result<(i64, i64)> {
        let (first, second) = (first.tenant.uuid(), second.tenant.uuid());
        Ok(sqlx::query_as(set).bind(first).bind(second).fetch_one(&house.pool).await?)
    };
    eventually("the other lane is looked after", async || Ok(set().await? == (0, 2))).await?;
    let mend_it =
        format!("UPDATE log.events SET {column} = {column}->'broken' WHERE tenant = $1 AND type = 'order.placed'");
    sqlx::query(&mend_it).bind(first.tenant.uuid()).execute(&house.pool).await?;
    eventually("nothing was skipped", async || Ok(set().await? == (2, 2))).await?;
    house.close().await;
    Ok(())
}
