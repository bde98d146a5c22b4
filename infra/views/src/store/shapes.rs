//! Shapes: which tables of read models exist, which are used, and which one is served.
//!
//! A process reads and fills the table of the shape that its code expects, so old and new binaries run side by side.
//! `reads.live` names the shape that the view of a model shows. A table that no process uses is kept for a day, so that one
//! can go back to it.

use std::sync::Arc;
use std::time::Duration;

use event_log::fault;
use projections::kernel::{Model, Models};
use projections::ports::Fault;
use sqlx::{Executor, PgPool, PgTransaction};
use tokio_util::sync::CancellationToken;

use super::table::{Table, quoted};

/// Time for which a table is kept that no process uses.
const UNUSED_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Interval at which a process marks the tables that it uses.
const INTERVAL: Duration = Duration::from_secs(60);

/// Marks the tables of these models as used, and drops those that no process uses, until `stop`.
pub async fn keep_tables(pool: PgPool, models: Arc<Models>, stop: CancellationToken) {
    loop {
        let kept = async {
            mark_used(&pool, &models).await?;
            drop_unused(&pool, UNUSED_KEPT).await
        };
        match kept.await {
            Ok(dropped) => {
                dropped.iter().for_each(|table| tracing::info!(table, "dropped a table that no process uses"))
            }
            Err(fault) => tracing::warn!(%fault, "tables of read models cannot be looked after now; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Marks the tables of these models as used.
pub async fn mark_used(pool: &PgPool, models: &Models) -> Result<(), Fault> {
    let (names, shapes) = models.shapes();
    let text = "UPDATE reads.tables t SET used_at = now() FROM unnest($1::text[], $2::text[]) AS m(model, shape)
                WHERE t.model = m.model AND t.shape = m.shape";
    let marked = sqlx::query(text).bind(names).bind(shapes).execute(pool).await;
    marked.map(|_| ()).map_err(fault("marking the tables that are used"))
}

/// Identity of the tables that hold these models now. It changes when a rebuild or a roll-back puts another one into the
/// place of a table, in this process or in another one, also when the one before comes back.
pub(crate) async fn identity(pool: &PgPool, models: &Models) -> Result<Option<String>, Fault> {
    let text = "SELECT string_agg(name || to_regclass('reads.' || name)::oid || made_at, ' ' ORDER BY name)
                FROM reads.tables WHERE name = ANY($1)";
    let names: Vec<String> = models.iter().map(Model::table).collect();
    let identity = sqlx::query_scalar(text).bind(names).fetch_one(pool).await;
    identity.map_err(fault("looking for the tables of read models"))
}

/// Drops the tables that are not served and that no process has used for this time. Returns their names.
pub async fn drop_unused(pool: &PgPool, kept: Duration) -> Result<Vec<String>, Fault> {
    let text = "SELECT model, shape, name FROM reads.tables t WHERE used_at < now() - $1 * interval '1 second'
                AND NOT EXISTS (SELECT FROM reads.live v WHERE v.model = t.model AND v.shape = t.shape)";
    let unused: Vec<(String, String, String)> = sqlx::query_as(text)
        .bind(kept.as_secs_f64())
        .fetch_all(pool)
        .await
        .map_err(fault("looking for tables that no process uses"))?;
    let mut dropped = Vec::new();
    for (model, shape, name) in unused {
        let drop = async {
            let mut transaction = pool.begin().await?;
            transaction.execute(&*format!("DROP TABLE IF EXISTS reads.{}", quoted(&name))).await?;
            forget(&mut transaction, &model, &shape).await?;
            transaction.commit().await
        };
        drop.await.map_err(fault(format!("dropping {name}")))?;
        dropped.push(name);
    }
    Ok(dropped)
}

/// Goes back to an earlier table of a model: to that of the code's shape if another one is served, else to the one that the
/// last rebuild has replaced, which then becomes the previous one. Returns false if there is none. The table catches up
/// with the log afterwards.
pub async fn roll_back(pool: &PgPool, model: &Model) -> Result<bool, Fault> {
    try_roll_back(pool, model).await.map_err(fault(format!("going back to an earlier table of {}", model.name)))
}

async fn try_roll_back(pool: &PgPool, model: &Model) -> Result<bool, sqlx::Error> {
    let (own, previous, aside) = (Table::live(model), Table::previous(model), Table::beside(model, "aside"));
    let mut transaction = pool.begin().await?;
    let served: Option<String> = sqlx::query_scalar("SELECT shape FROM reads.live WHERE model = $1 FOR UPDATE")
        .bind(&model.name)
        .fetch_optional(&mut *transaction)
        .await?;
    let exists = "SELECT EXISTS (SELECT FROM reads.tables WHERE model = $1 AND shape = $2)";
    let is_served = served.is_none_or(|served| served == model.shape);
    let target = if is_served { &previous } else { &own };
    let there: bool =
        sqlx::query_scalar(exists).bind(&model.name).bind(&target.state).fetch_one(&mut *transaction).await?;
    if !there {
        return Ok(false);
    }
    let [drop_view, create_view] = own.create_view();
    transaction.execute(&*drop_view).await?;
    if is_served {
        for (from, to) in [(&own, &aside), (&previous, &own), (&aside, &previous)] {
            rename(&mut transaction, from, to).await?;
        }
    }
    transaction.execute(&*create_view).await?;
    serve(&mut transaction, model).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Puts a new table into the place of the one that is read. That one is kept as the previous table.
///
/// Waits for a running batch of the projector and blocks the next one until the commit. The projector then finds its
/// checkpoint moved and continues where the new table ends.
pub(super) async fn replace(
    transaction: &mut PgTransaction<'_>,
    new: &Table<'_>,
    own: &Table<'_>,
) -> Result<(), sqlx::Error> {
    let previous = Table::previous(own.model);
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&own.name).fetch_one(&mut **transaction).await?;
    let [drop_view, create_view] = own.create_view();
    transaction.execute(&*drop_view).await?;
    if exists {
        transaction.execute(&*format!("DROP TABLE IF EXISTS {}", previous.name)).await?;
        forget_state(transaction, &previous).await?;
        rename(transaction, own, &previous).await?;
    } else {
        // Nothing is known of a table that was dropped by hand.
        forget_state(transaction, own).await?;
    }
    rename(transaction, new, own).await?;
    transaction.execute(&*create_view).await?;
    // A rebuild of a shape that is read by old binaries only does not change which one is served.
    if exists && !is_served(transaction, own.model).await? { Ok(()) } else { serve(transaction, own.model).await }
}

/// Records a table that exists, and that it is used now.
pub(super) async fn register(transaction: &mut PgTransaction<'_>, table: &Table<'_>) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO reads.tables (model, shape, name) VALUES ($1, $2, $3)
                ON CONFLICT (model, shape) DO UPDATE SET used_at = now()";
    let registered = sqlx::query(text).bind(&table.model.name).bind(&table.state).bind(table.plain_name());
    registered.execute(&mut **transaction).await.map(|_| ())
}

/// Drops a table with its state.
pub(super) async fn drop_table(pool: &PgPool, table: &Table<'_>) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    transaction.execute(&*format!("DROP TABLE IF EXISTS {}", table.name)).await?;
    forget_state(&mut transaction, table).await?;
    transaction.commit().await
}

/// Deletes everything that is known of a table.
pub(super) async fn forget_state(transaction: &mut PgTransaction<'_>, table: &Table<'_>) -> Result<(), sqlx::Error> {
    forget(transaction, &table.model.name, &table.state).await
}

async fn forget(transaction: &mut PgTransaction<'_>, model: &str, state: &str) -> Result<(), sqlx::Error> {
    for text in [
        "DELETE FROM reads.checkpoints WHERE model = $1 AND shape = $2",
        "DELETE FROM reads.parked WHERE model = $1 AND shape = $2",
        "DELETE FROM reads.tables WHERE model = $1 AND shape = $2",
    ] {
        sqlx::query(text).bind(model).bind(state).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Renames a table, with checkpoints and parked events. There is no table of the new name.
async fn rename(transaction: &mut PgTransaction<'_>, from: &Table<'_>, to: &Table<'_>) -> Result<(), sqlx::Error> {
    for text in [
        "UPDATE reads.checkpoints SET shape = $3 WHERE model = $1 AND shape = $2",
        "UPDATE reads.parked SET shape = $3 WHERE model = $1 AND shape = $2",
        "UPDATE reads.tables SET shape = $3, used_at = now() WHERE model = $1 AND shape = $2",
    ] {
        let update = sqlx::query(text).bind(&from.model.name).bind(&from.state).bind(&to.state);
        update.execute(&mut **transaction).await?;
    }
    let text = "UPDATE reads.tables SET name = $3, made_at = clock_timestamp() WHERE model = $1 AND shape = $2";
    let update = sqlx::query(text).bind(&to.model.name).bind(&to.state).bind(to.plain_name());
    update.execute(&mut **transaction).await?;
    transaction.execute(&*format!("ALTER TABLE {} RENAME TO {}", from.name, to.plain_name())).await?;
    Ok(())
}

async fn is_served(transaction: &mut PgTransaction<'_>, model: &Model) -> Result<bool, sqlx::Error> {
    let text = "SELECT coalesce((SELECT shape FROM reads.live WHERE model = $1) = $2, true)";
    sqlx::query_scalar(text).bind(&model.name).bind(&model.shape).fetch_one(&mut **transaction).await
}

async fn serve(transaction: &mut PgTransaction<'_>, model: &Model) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO reads.live VALUES ($1, $2, now())
                ON CONFLICT (model) DO UPDATE SET shape = excluded.shape, since = excluded.since";
    sqlx::query(text).bind(&model.name).bind(&model.shape).execute(&mut **transaction).await.map(|_| ())
}
