//! Comparison of the tables that are read with a rebuild from the log, at the same position.

use std::collections::BTreeMap;

use anyhow::Context;
use domain::shared::TenantId;
use event_log::{PgHistory, fault};
use futures::{Stream, StreamExt};
use projections::kernel::Model;
use projections::ports::{Cause, Checkpoint, Fault};
use replay::comparison::{Comparison, OrderedRow, compare};
use replay::rebuild::{Options, TableBuilder, build};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::PgTableBuilder;
use super::rows::checkpoints;
use super::table::{ROW, Table, quoted};

/// Builds new tables of these models up to the position of the tables that are read, compares the rows, and drops the new
/// tables again. At most `most` different rows of each model are listed. The models go on meanwhile.
pub async fn compare_with_rebuild(
    pool: &PgPool,
    models: &[&Model],
    most: usize,
) -> anyhow::Result<Vec<(String, Comparison)>> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let mut snapshot = pool.begin_with(begin).await.context("beginning a snapshot")?;
    let mut by_position = BTreeMap::<Vec<(i16, i64, i64)>, Vec<&Model>>::new();
    for model in models {
        let at = checkpoints(&mut *snapshot, &Table::live(model)).await?;
        anyhow::ensure!(!at.is_empty(), "{} has no table yet", model.name);
        let at = at.iter().map(|at| (at.lane, at.position, at.epoch)).collect();
        by_position.entry(at).or_default().push(model);
    }
    let (history, tables) = (PgHistory::new(pool.clone()), PgTableBuilder::new(pool.clone()));
    let mut compared = Vec::new();
    for (at, models) in by_position {
        let checkpoint = |(lane, position, epoch)| Checkpoint { lane, position, epoch };
        let targets: Vec<_> = at.into_iter().map(checkpoint).collect();
        build(&models, &targets, &history, &tables, Options::default()).await?;
        for model in models {
            let statements = [Table::live(model), Table::building(model)].map(|table| ordered(&table));
            let served = rows(&mut *snapshot, model, &statements[0]);
            let rebuilt = rows(pool, model, &statements[1]);
            compared.push((model.name.clone(), compare(served, rebuilt, most).await?));
            tables.discard(model).await?;
        }
    }
    compared.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(compared)
}

/// Statement for the rows of a table in the order of tenant and key.
fn ordered(table: &Table<'_>) -> String {
    let keys: Vec<_> = table.model.key.iter().map(|field| format!("t.{}", quoted(field))).collect();
    let key = format!("json_build_array({})::text", keys.join(", "));
    format!("SELECT t.tenant, {key}, {ROW} FROM {} t ORDER BY t.tenant, {key} COLLATE \"C\"", table.name)
}

fn rows<'e>(
    store: impl PgExecutor<'e> + 'e,
    model: &'e Model,
    statement: &'e str,
) -> impl Stream<Item = Result<OrderedRow, Fault>> + 'e {
    let rows = sqlx::query_as::<_, (Uuid, String, String)>(statement).fetch(store);
    rows.map(move |row| {
        let doing = || format!("comparing the rows of {}", model.name);
        let (tenant, key, row) = row.map_err(fault(doing()))?;
        let row = model.canonical(&row).map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))?;
        Ok(OrderedRow { tenant: TenantId::new(tenant), key, row })
    })
}
