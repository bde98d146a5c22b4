//! Number of lanes: chosen when a database is created, and read from it by every part of the engine.

use std::collections::BTreeSet;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use event_log::LaneCount;
use lab::harness::{
    Backend, Cluster, Shop, caught_up, database, database_with_lanes, digests, eventually, pending_timers, rebuild_all,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::Value;
use sqlx::PgPool;

/// Tenants of a test, so many that they are in more than one lane.
const SHOPS: usize = 12;
/// Timers of an order that waits for its payment: one of the order, one of its reservation.
const TIMERS_PER_ORDER: i64 = 2;

/// Opens shops, places two orders in each and pays one of them, with read models and policies running, and compares the
/// read models with a rebuild.
async fn run_engine_with(lanes: i16) -> Result<()> {
    let url = database_with_lanes(lanes.try_into()?).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    backend.run_policies();
    let (mut shops, pool) = (Vec::new(), backend.pool.clone());
    for _ in 0..SHOPS {
        let (shop, paid) = (backend.shop(10).await?, new_id());
        for order in [paid, new_id()] {
            backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
        }
        backend.execute(shop.tenant, "RecordPayment", &shop.payment(paid)).await?;
        shops.push(shop);
    }
    let unpaid = i64::try_from(SHOPS)? * TIMERS_PER_ORDER;
    eventually("policies have set the timers of unpaid orders", async || Ok(pending_timers(&pool).await? == unpaid))
        .await?;
    caught_up(&pool).await?;
    let used: Vec<i16> =
        sqlx::query_scalar("SELECT DISTINCT lane FROM log.events ORDER BY lane").fetch_all(&pool).await?;
    ensure!(used.len() > 1 && used.iter().all(|lane| *lane < lanes), "the events are in the lanes {used:?}");
    ensure!(backend.scribe.owned_lanes().len() == LaneCount::try_from(lanes)?.get(), "a lane has no owner");
    let policies: Vec<i64> =
        sqlx::query_scalar("SELECT count(*) FROM work.policies GROUP BY policy").fetch_all(&pool).await?;
    ensure!(!policies.is_empty() && policies.iter().all(|count| *count == i64::from(lanes)), "{policies:?}");
    check_rebuild(&pool, &shops).await?;
    backend.close().await;
    let pool = platform::database::connect(&url).await?;
    check_log_invariants(&pool).await
}

/// Compares the digests of the read models with those after a rebuild.
async fn check_rebuild(pool: &PgPool, shops: &[Shop]) -> Result<()> {
    let live = digests(pool).await?;
    let orders = live.iter().find(|(model, ..)| model == "Order").context("a read model of orders")?;
    ensure!(orders.2 == u64::try_from(2 * shops.len())?, "{orders:?}");
    rebuild_all(pool, 100).await?;
    assert_eq!(digests(pool).await?, live);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_runs_with_3_lanes() -> Result<()> {
    run_engine_with(3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_runs_with_64_lanes() -> Result<()> {
    run_engine_with(64).await
}

#[tokio::test]
async fn server_with_a_small_lock_table_refuses_many_lanes() -> Result<()> {
    let refused = database_with_lanes(LaneCount::MOST).await.err().context("it was migrated")?.to_string();
    ensure!(
        refused.contains("256 lanes need") && refused.contains("`max_locks_per_transaction` to at least 205"),
        "{refused}"
    );
    Ok(())
}

/// Runs the product with the login of the owner of the database.
async fn run(cluster: &Cluster, url: &str, words: &[&str]) -> Result<Output> {
    Ok(cluster.cartulary().env("CARTULARY_DATABASE_URL", url).args(words).output().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_keeps_its_number_of_lanes() -> Result<()> {
    let url = database_with_lanes(3.try_into()?).await?;
    let cluster = Cluster::new(&url).await?;
    for words in [&["migrate"][..], &["migrate", "--lanes", "3"]] {
        let output = run(&cluster, &url, words).await?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let refused = |output: &Output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
    let (code, text) = refused(&run(&cluster, &url, &["migrate", "--lanes", "4"]).await?);
    ensure!(code == Some(1) && text.contains("the log has 3 lanes and cannot get 4"), "{code:?} {text}");
    let (code, text) = refused(&run(&cluster, &database().await, &["migrate", "--lanes", "3"]).await?);
    ensure!(code == Some(1) && text.contains("the log has 16 lanes and cannot get 3"), "{code:?} {text}");
    for number in ["0", "1025", "many"] {
        let (code, text) = refused(&run(&cluster, &url, &["migrate", "--lanes", number]).await?);
        ensure!(code == Some(2) && text.contains("a log has 1 to 256 lanes"), "{code:?} {text}");
    }
    Ok(())
}

/// Exit code, standard output and standard error of `cartulary lanes list`.
async fn list(cluster: &Cluster, more: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = cluster.cartulary().args(["lanes", "list"]).args(more).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

async fn listed(cluster: &Cluster) -> Result<(Option<i32>, Vec<Value>)> {
    let (code, out, _) = list(cluster, &["--json"]).await?;
    Ok((code, serde_json::from_str(&out).with_context(|| out)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_of_lanes_names_owners_and_fails_without_one() -> Result<()> {
    let url = database_with_lanes(3.try_into()?).await?;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    // Lanes are assigned in pairs: one process gets two of the three, the other gets one.
    let first = cluster.start_ready(&[("CARTULARY_OWNER", "scribe-a")]).await?;
    let second = cluster.start_ready(&[("CARTULARY_OWNER", "scribe-b")]).await?;
    let (shop, _) = cluster.shop(&second, &pool, 10).await?;
    caught_up(&pool).await?;
    eventually("every lane has an owner, and nothing is behind", async || {
        let (code, lanes) = listed(&cluster).await?;
        let owners = lanes.iter().filter_map(|lane| lane["owner"].as_str()).collect::<BTreeSet<_>>();
        let is_done = |lane: &Value| lane["modelLag"] == 0 && lane["policyLag"] == 0;
        Ok(code == Some(0) && owners.len() > 1 && lanes.len() == 3 && lanes.iter().all(is_done))
    })
    .await?;
    let (_, lanes) = listed(&cluster).await?;
    let (lane, events): (i16, i64) =
        sqlx::query_as("SELECT lane, count(*) FROM log.events WHERE tenant = $1 GROUP BY lane")
            .bind(shop.tenant.uuid())
            .fetch_one(&pool)
            .await?;
    let own = lanes.iter().find(|known| known["lane"] == lane).context("the lane of the shop")?;
    ensure!(own["tenants"].as_i64() > Some(0) && own["end"].as_i64() >= Some(events), "{own}");
    ensure!(own["bytes"].as_i64() > Some(0) && own["address"].is_string(), "{own}");
    let (_, table, _) = list(&cluster, &[]).await?;
    ensure!(table.starts_with("lane  owner") && table.lines().count() == 4 && table.contains("scribe-"), "{table}");

    first.stop().await?;
    second.stop().await?;
    eventually("no lane has an owner", async || {
        let (code, lanes) = listed(&cluster).await?;
        Ok(code == Some(1) && lanes.iter().all(|lane| lane["owner"].is_null()))
    })
    .await?;
    let (_, table, error) = list(&cluster, &[]).await?;
    ensure!(table.contains("none") && error.contains("3 of 3 lanes have no owner"), "{table}{error}");
    Ok(())
}
