//! Digest of the rows of a read model.

use domain::shared::TenantId;
use event_log::fault;
use futures::TryStreamExt;
use projections::kernel::Model;
use projections::ports::{Cause, Checkpoint, Fault};
use replay::digest::{Digest, Digester};
use sqlx::PgPool;
use uuid::Uuid;

use super::table::{ROW, Table};

/// All rows of a read model in the form of [`Model::canonical`], unordered.
pub async fn rows(pool: &PgPool, model: &Model) -> Result<Vec<String>, Fault> {
    let doing = || format!("reading the rows of {}", model.name);
    let statement = format!("SELECT {ROW} FROM {} t", Table::live(model).name);
    let rows: Vec<String> = sqlx::query_scalar(&statement).fetch_all(pool).await.map_err(fault(doing()))?;
    let canonical = |row: &String| model.canonical(row);
    rows.iter().map(canonical).collect::<Result<_, _>>().map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))
}

/// Hashes all rows of a read model and returns the checkpoints of the same snapshot with the hash.
pub async fn digest(pool: &PgPool, model: &Model) -> Result<Digest, Fault> {
    let doing = || format!("hashing the rows of {}", model.name);
    let mut snapshot =
        pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(fault(doing()))?;
    let checkpoints: Vec<(i16, i64, i64)> = sqlx::query_as(
        "SELECT lane, position, epoch FROM reads.checkpoints WHERE model = $1 AND shape = $2 ORDER BY lane",
    )
    .bind(&model.name)
    .bind(&model.shape)
    .fetch_all(&mut *snapshot)
    .await
    .map_err(fault(doing()))?;
    let table = Table::live(model);
    let statement = format!("SELECT t.tenant, {ROW} FROM {} t ORDER BY {}", table.name, table.key());
    let mut rows = sqlx::query_as::<_, (Uuid, String)>(&statement).fetch(&mut *snapshot);
    let mut digester = Digester::default();
    while let Some((tenant, row)) = rows.try_next().await.map_err(fault(doing()))? {
        let row = model.canonical(&row).map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))?;
        digester.add_row(TenantId::new(tenant), &row);
    }
    let checkpoint = |(lane, position, epoch)| Checkpoint { lane, position, epoch };
    Ok(digester.finish(checkpoints.into_iter().map(checkpoint).collect()))
}
