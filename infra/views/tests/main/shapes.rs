//! Shapes of read models: old and new binaries side by side, roll-back, unused tables, and the comparison with a rebuild.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::port::ProjectionStatus;
use event_log::{LaneCount, StoreFeed};
use lab::harness::{Backend, caught_up, database, digests, eventually};
use platform::clock::new_id;
use projections::kernel::{Model, Models};
use projections::query::RowQuery;
use scribe::presence;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use views::follower::{ReadModelFollower, rebuild_models};
use views::store::{PgReader, compare_with_rebuild, drop_unused, mark_used, projection_status, roll_back};

use crate::broken_rows::{receive, reopened};

/// The models of a newer binary, in which one model has another shape. The tables of this binary exist from the start.
fn newer_models(changed: &str) -> Models {
    let newer = |model: &Model| {
        let mut model = model.clone();
        if model.name == changed {
            model.shape = "0123456789abcdef".into();
        }
        model
    };
    Models::all().iter().map(newer).collect()
}

async fn tables(pool: &PgPool) -> Result<Vec<String>> {
    let text = "SELECT table_name::text FROM information_schema.tables
                WHERE table_schema = 'reads' AND table_type = 'BASE TABLE' AND table_name LIKE 'stock_level_%' ORDER BY 1";
    Ok(sqlx::query_scalar(text).fetch_all(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_binary_serve_side_by_side_and_the_old_table_is_dropped_when_nobody_uses_it() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let (shop, pool) = (backend.shop(10).await?, backend.pool.clone());
    let (old, new) = (Arc::new(Models::all()), Arc::new(newer_models("StockLevel")));
    let start = |models: &Arc<Models>, stop: &CancellationToken| {
        let (feed, written) =
            (StoreFeed::new(pool.clone(), Some(backend.scribe.tail().clone())), backend.scribe.written());
        let follower = ReadModelFollower::new(
            pool.clone(),
            models.clone(),
            feed,
            presence::all_lanes(LaneCount::DEFAULT),
            written,
        );
        tokio::spawn(follower.run(stop.clone()))
    };
    let (stop_old, stop_new) = (CancellationToken::new(), CancellationToken::new());
    let old_binary = start(&old, &stop_old);
    let model = |models: &Models| models.get("StockLevel").cloned().context("a model");
    let (old_model, new_model) = (model(&old)?, model(&new)?);
    let reader = PgReader::new(pool.clone());
    let on_hand = async |model: &Model| -> Result<Option<i64>> {
        let Ok(page) = reader.page(model, &RowQuery::all(shop.tenant, 1)).await else { return Ok(None) };
        let row = page.rows.first().map(|row| serde_json::from_str::<serde_json::Value>(&row.json)).transpose()?;
        Ok(row.and_then(|row| row["on_hand"].as_i64()))
    };
    eventually("the old binary serves", async || Ok(on_hand(&old_model).await? == Some(10))).await?;

    let new_binary = start(&new, &stop_new);
    receive(&backend, &shop, 5).await?;
    for model in [&old_model, &new_model] {
        eventually("both serve the same", async || Ok(on_hand(model).await? == Some(15))).await?;
    }
    stop_old.cancel();
    old_binary.await?;
    receive(&backend, &shop, 1).await?;
    eventually("the new binary goes on", async || Ok(on_hand(&new_model).await? == Some(16))).await?;

    assert_eq!(drop_unused(&pool, Duration::from_secs(3_600)).await?, Vec::<String>::new());
    sqlx::query("UPDATE reads.tables SET used_at = now() - interval '2 days'").execute(&pool).await?;
    mark_used(&pool, &new).await?;
    assert_eq!(drop_unused(&pool, Duration::from_secs(3_600)).await?, [old_model.table()]);
    assert_eq!(tables(&pool).await?, [new_model.table()]);
    assert_eq!(on_hand(&new_model).await?, Some(16));
    stop_new.cancel();
    new_binary.await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuild_is_rolled_back_to_the_previous_table_which_catches_up() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    let (shop, pool) = (backend.shop(10).await?, backend.pool.clone());
    backend.run_read_models();
    caught_up(&pool).await?;
    let models = Models::all();
    let model = models.get("StockLevel").context("a model")?;
    ensure!(!roll_back(&pool, model).await?, "there is no earlier table yet");
    // Marks the table that is replaced.
    let mark = format!("COMMENT ON TABLE reads.{} IS 'the first one'", model.table());
    sqlx::query(&mark).execute(&pool).await?;
    rebuild_models(&pool, &[model]).await?;
    receive(&backend, &shop, 7).await?;
    caught_up(&pool).await?;
    let is_first = async || -> Result<bool> {
        let text = "SELECT obj_description(to_regclass($1), 'pg_class') IS NOT NULL";
        Ok(sqlx::query_scalar(text).bind(format!("reads.{}", model.table())).fetch_one(&pool).await?)
    };
    ensure!(!is_first().await?);
    ensure!(roll_back(&pool, model).await? && is_first().await?, "the earlier table is served");
    caught_up(&pool).await?;
    let on_hand: i64 = sqlx::query_scalar("SELECT on_hand FROM reads.stock_levels").fetch_one(&pool).await?;
    assert_eq!(on_hand, 17);
    ensure!(roll_back(&pool, model).await? && !is_first().await?, "the rebuilt table is served again");
    caught_up(&pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparison_with_a_rebuild_lists_the_rows_that_differ_and_changes_nothing() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    let shop = backend.shop(10).await?;
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    backend.run_read_models();
    caught_up(&backend.pool).await?;
    let pool = backend.pool.clone();
    backend.close().await;
    let pool = reopened(&pool).await?;
    let models = Models::all();
    let statuses = projection_status(&mut *pool.acquire().await?, &models, shop.tenant).await?;
    let is_complete = |status: &ProjectionStatus| status.behind == 0 && status.position > 0;
    ensure!(statuses.len() == models.iter().count() && statuses.iter().all(is_complete), "{statuses:?}");
    let models: Vec<&Model> = models.iter().collect();
    let before = digests(&pool).await?;
    let compared = compare_with_rebuild(&pool, &models, 10).await?;
    assert_eq!(compared.len(), models.len());
    ensure!(compared.iter().all(|(_, comparison)| comparison.is_equal()), "{compared:?}");
    ensure!(compared.iter().any(|(name, comparison)| name == "StockMovement" && comparison.equal > 0));

    sqlx::query("UPDATE reads.stock_levels SET on_hand = on_hand + 5").execute(&pool).await?;
    sqlx::query("DELETE FROM reads.orders").execute(&pool).await?;
    let compared = compare_with_rebuild(&pool, &models, 10).await?;
    let of = |name: &str| compared.iter().find(|(model, _)| model == name).map(|(_, comparison)| comparison.clone());
    let level = of("StockLevel").context("a comparison")?;
    assert_eq!((level.changed, level.differences.len()), (1, 1));
    let [served, rebuilt] = &level.differences[0].fields["on_hand"];
    assert_eq!(served.as_i64().map(|units| units - 5), rebuilt.as_i64());
    assert_eq!(of("Order").map(|orders| (orders.only_rebuilt, orders.equal)), Some((1, 0)));
    assert_eq!(of("StockMovement").map(|movements| movements.is_equal()), Some(true));

    sqlx::query("UPDATE reads.stock_levels SET on_hand = on_hand - 5").execute(&pool).await?;
    rebuild_models(&pool, &models).await?;
    assert_eq!(digests(&pool).await?, before);
    assert!(tables(&pool).await?.iter().all(|table| !table.ends_with("_build")), "a new table is left");
    Ok(())
}
