//! Durable timers: each fires once, at its time, in the process that owns its lane.

use anyhow::Result;
use commands::scribe::LaneId;
use domain::inventory::HOLD_TIME;
use domain::shared::TenantId;
use event_log::LaneCount;
use lab::harness::victim::{EFFECT_LIMITS, run_samples};
use lab::harness::{
    Backend, Shop, age_by, database, eventually, pending_timers, place_orders, scribe_settings, wait_for_new_looks,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use scribe::Owner;
use scribe::presence::all_lanes;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;
use work::Lanes;

/// Counts the cancelled orders and the expired reservations of a shop.
async fn expired(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    Ok((shop.count(pool, "order.cancelled").await?, shop.count(pool, "stock.reservation_expired").await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservation_expires_at_its_time_and_not_before() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 2)).await?;
    backend.close().await;

    // Two seconds are left.
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 - 2).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    eventually("the reservation has expired", async || Ok(expired(&shop, &pool).await? == (1, 1))).await?;
    let early = "SELECT count(*) FROM log.events e JOIN log.events r
                     ON r.tenant = e.tenant AND r.stream_id = e.stream_id AND r.type = 'stock.reserved'
                 WHERE e.type = 'stock.reservation_expired' AND e.recorded_at < (r.payload->>'until')::timestamptz";
    assert_eq!(sqlx::query_scalar::<_, i64>(early).fetch_one(&pool).await?, 0);
    // The correlation id of the events that the timers caused is the id of the command that placed the order.
    let traced = "SELECT count(*) FROM log.events e JOIN log.events placed
                      ON placed.type = 'order.placed' AND e.meta->>'correlation' = placed.command_id::text
                  WHERE e.type IN ('order.cancelled', 'stock.reservation_expired')";
    assert_eq!(sqlx::query_scalar::<_, i64>(traced).fetch_one(&pool).await?, 2);
    // Their cause is the event that set the timer.
    let cause = "SELECT count(*) FROM log.events WHERE type IN ('order.cancelled', 'stock.reservation_expired')
                 AND meta->>'causation' IS NOT NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(cause).fetch_one(&pool).await?, 2);
    eventually("no timer waits", async || Ok(pending_timers(&pool).await? == 0)).await?;
    backend.close().await;
    proofs::proven("INV-09 an unpaid reservation frees its stock after 15 minutes and not before");
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_without_lanes_takes_no_timer_from_the_lane_owner() -> Result<()> {
    let url = database().await;
    let mut owner = Backend::start(&url).await?;
    let shop = owner.shop(1).await?;
    owner.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    owner.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&owner.pool).await? == 2)).await?;
    owner.close().await;
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;

    // The owner of the lanes looks for timers after the other process has done so several times.
    let mut owner = Backend::start(&url).await?;
    eventually("the lanes are taken", async || Ok(owner.scribe.problems().is_empty())).await?;
    let mut standby = scribe_settings(&url);
    standby.owner = Owner { name: "standby".into(), ..standby.owner };
    let mut standby = Backend::start_with(&url, &standby).await?;
    // Its claims of timers and of effects read `work.hold`.
    run_samples(&mut standby, "127.0.0.1:1", EFFECT_LIMITS)?;
    wait_for_new_looks(&pool, "work.hold", 2).await?;
    owner.run_policies();
    eventually("the reservation has expired", async || Ok(expired(&shop, &pool).await? == (1, 1))).await?;
    eventually("no timer waits", async || Ok(pending_timers(&pool).await? == 0)).await?;

    // The owner also takes the timers that are set later.
    let second = owner.shop(1).await?;
    owner.execute(second.tenant, "PlaceOrder", &second.order(new_id(), new_id())).await?;
    eventually("the next timers are set", async || Ok(pending_timers(&pool).await? == 2)).await?;
    standby.close().await;
    owner.close().await;
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_reacts_to_events_that_were_written_while_it_was_stopped() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let introduced = "SELECT count(*) FROM work.policies";
    eventually("the policies are registered", async || {
        Ok(sqlx::query_scalar::<_, i64>(introduced).fetch_one(&backend.pool).await? > 0)
    })
    .await?;
    backend.close().await;

    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": 50 });
    backend.execute(shop.tenant, "SetEarningRules", &rules).await?;
    backend.execute(shop.tenant, "EnableProgram", &json!({})).await?;
    let person = json!({ "customer": new_id(), "name": "Ada", "email": null, "phone": null });
    backend.execute(shop.tenant, "RegisterCustomer", &person).await?;
    backend.close().await;

    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    eventually("the registration has earned its points", async || {
        Ok(shop.count(&backend.pool, "points.earned").await? == 1)
    })
    .await?;
    let pool = backend.pool.clone();
    check_log_invariants(&pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_for_a_lane_of_another_process_waits_without_blocking_others() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let platform = backend.scribe.routes().lane(TenantId::PLATFORM).await?;
    let mut shops = Vec::new();
    while shops.len() < 2 {
        let shop = Shop::new(TenantId::new(new_id()));
        let lane = backend.scribe.routes().lane(shop.tenant).await?;
        if lane != platform && shops.iter().all(|(_, other)| *other != lane) {
            shops.push((shop, lane));
        }
    }
    eventually("the lanes are taken", async || Ok(backend.scribe.problems().is_empty())).await?;
    // Another process takes the lane of the first shop.
    let take =
        "UPDATE log.lanes SET owner = 'other', epoch = epoch + 1, lease = now() + interval '1 hour' WHERE lane = $1";
    sqlx::query(take).bind(shops[0].1.0).execute(&backend.pool).await?;
    backend.run_policies();
    for (number, (shop, _)) in shops.iter().enumerate() {
        let register = json!({
            "tenant": shop.tenant, "name": "Corner shop", "subdomain": format!("corner-{number}"),
            "contact_email": format!("office{number}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        backend.execute(TenantId::PLATFORM, "RegisterTenant", &register).await?;
    }
    let (away, here) = (&shops[0].0, &shops[1].0);
    eventually("the second tenant is open", async || Ok(here.count(&backend.pool, "tenant.opened").await? == 1))
        .await?;
    eventually("the command for the first tenant waits", async || Ok(pending_timers(&backend.pool).await? == 1))
        .await?;
    assert_eq!(away.count(&backend.pool, "tenant.opened").await?, 0);

    let leave = "UPDATE log.lanes SET lease = now() - interval '1 second' WHERE lane = $1";
    sqlx::query(leave).bind(shops[0].1.0).execute(&backend.pool).await?;
    eventually("the first tenant is open too", async || Ok(away.count(&backend.pool, "tenant.opened").await? == 1))
        .await?;
    eventually("no timer waits", async || Ok(pending_timers(&backend.pool).await? == 0)).await?;
    let pool = backend.pool.clone();
    check_log_invariants(&pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_timers_of_a_lane_without_an_owner_delay_no_other_lane() -> Result<()> {
    // More timers than are claimed at a time: each order has two.
    const ORDERS: i64 = 300;
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let blocked = backend.shop(ORDERS).await?;
    let healthy = loop {
        let other = backend.shop(10).await?;
        if other.lane(&backend.pool).await? != blocked.lane(&backend.pool).await? {
            break other;
        }
    };
    place_orders(&backend, &blocked, ORDERS).await?;
    place_orders(&backend, &healthy, 6).await?;
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 2 * ORDERS + 12)).await?;
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;

    let mut backend = Backend::start(&url).await?;
    eventually("the lanes are taken", async || Ok(backend.scribe.problems().is_empty())).await?;
    let lane = blocked.lane(&pool).await?;
    let take =
        "UPDATE log.lanes SET owner = 'other', epoch = epoch + 1, lease = now() + interval '1 hour' WHERE lane = $1";
    sqlx::query(take).bind(lane).execute(&pool).await?;
    eventually("the lane is lost", async || Ok(!backend.scribe.owns(LaneId(lane)))).await?;
    // The policies of a process without a scribe also claim the timers of the lane whose owner does not answer.
    backend.run_policies_in(Lanes::Assigned(all_lanes(LaneCount::DEFAULT)));
    eventually("the timers of the other lane have fired", async || Ok(expired(&healthy, &pool).await? == (6, 6)))
        .await?;
    eventually("their rows are gone", async || Ok(pending_timers(&pool).await? == 2 * ORDERS)).await?;
    assert_eq!(expired(&blocked, &pool).await?, (0, 0));

    let leave = "UPDATE log.lanes SET lease = now() - interval '1 second' WHERE lane = $1";
    sqlx::query(leave).bind(lane).execute(&pool).await?;
    eventually("no timer waits", async || Ok(pending_timers(&pool).await? == 0)).await?;
    assert_eq!(expired(&blocked, &pool).await?, (ORDERS, ORDERS));
    backend.close().await;
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_waits_in_the_stream_of_an_event_with_an_unreadable_payload_and_nowhere_else() -> Result<()> {
    waits_in_one_stream("payload").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_waits_in_the_stream_of_an_event_with_unreadable_metadata_and_nowhere_else() -> Result<()> {
    waits_in_one_stream("meta").await
}

/// Breaks a column of one event, and repairs it.
async fn waits_in_one_stream(column: &str) -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let (first, second) = (backend.shop(2).await?, backend.shop(1).await?);
    let (broken, sound) = (new_id(), new_id());
    for (shop, order) in [(first, broken), (first, sound), (second, new_id())] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    }
    let break_it = format!(
        "UPDATE log.events SET {column} = json_build_object('broken', {column})
         WHERE stream_id = $1 AND type = 'order.placed'"
    );
    sqlx::query(&break_it).bind(broken).execute(&backend.pool).await?;
    // The scribe that wrote the event has it in memory, so it is replaced by one that has not.
    backend.close().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let set = "SELECT count(*) FILTER (WHERE tenant = $1), count(*) FILTER (WHERE tenant = $2) FROM work.timers";
    let set = async || -> Result<(i64, i64)> {
        let (first, second) = (first.tenant.uuid(), second.tenant.uuid());
        Ok(sqlx::query_as(set).bind(first).bind(second).fetch_one(&backend.pool).await?)
    };
    // Each order has a timer of its own and one of its reservation, whose event is in the stream of the stock.
    eventually("all timers but one are set", async || Ok(set().await? == (3, 2))).await?;
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position <
                  (SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("no policy is behind", async || {
        Ok(sqlx::query_scalar::<_, i64>(behind).fetch_one(&backend.pool).await? == 0)
    })
    .await?;
    eventually("the stream is shown", async || {
        let shown = backend.health.degradations();
        Ok(shown.iter().any(|line| line.starts_with("policies: ") && line.contains(&broken.to_string())))
    })
    .await?;
    let parked = "SELECT DISTINCT stream_id FROM work.parked";
    let parked = async || anyhow::Ok(sqlx::query_scalar::<_, Uuid>(parked).fetch_all(&backend.pool).await?);
    assert_eq!(parked().await?, [broken]);

    let repair_it =
        format!("UPDATE log.events SET {column} = {column}->'broken' WHERE stream_id = $1 AND type = 'order.placed'");
    sqlx::query(&repair_it).bind(broken).execute(&backend.pool).await?;
    eventually("the last timer is set too", async || Ok(set().await? == (4, 2))).await?;
    eventually(
        "nothing is parked",
        async || Ok(parked().await?.is_empty() && backend.health.degradations().is_empty()),
    )
    .await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_timer_whose_stream_cannot_be_read_is_recorded_and_the_others_of_its_tenant_fire() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(3).await?;
    let broken = new_id();
    for order in [new_id(), broken, new_id()] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    }
    backend.run_policies();
    eventually("the timers are set", async || Ok(pending_timers(&backend.pool).await? == 6)).await?;
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    let break_it = "UPDATE log.events SET payload = '{}' WHERE stream_id = $1 AND type = 'order.placed'";
    sqlx::query(break_it).bind(broken).execute(&pool).await?;

    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    eventually("no timer waits", async || Ok(pending_timers(&pool).await? == 0)).await?;
    assert_eq!(expired(&shop, &pool).await?, (2, 3));
    let failures: Vec<String> = sqlx::query_scalar("SELECT name FROM work.dead_letters").fetch_all(&pool).await?;
    assert_eq!(failures, ["ExpireOrder"]);
    backend.close().await;
    Ok(())
}
