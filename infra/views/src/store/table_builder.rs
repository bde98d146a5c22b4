//! Table builder of a rebuild: fills a new table of a read model beside the live one, then switches.

use event_log::fault;
use projections::kernel::{Change, Model, Parked, Place};
use projections::ports::{Checkpoint, Fault, LoadedRow};
use replay::rebuild::TableBuilder;
use sqlx::{Executor, PgPool, PgTransaction};

use super::binary_format::{COPY_HEADER, COPY_TRAILER, corrupt_row, write_row};
use super::rows::{load, park, put_rows};
use super::table::Table;

/// Smallest batch that is copied into a temporary table first; a smaller one is faster with one INSERT.
const COPY_ROWS_LEAST: usize = 1_000;
/// Bytes after which a chunk of COPY is sent, so that the encoded batch is not in memory as a whole.
const COPY_BYTES: usize = 1 << 20;
/// Begins the creation of indexes. Sorting a million keys in memory is twice as fast as on disk. The commit need not
/// wait for the disk, because a crash loses only a table that is not live yet.
const BEGIN_INDEXES: &str = "BEGIN; SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL synchronous_commit = off";

/// Builds tables in the schema `reads`.
#[derive(Clone, Debug)]
pub struct PgTableBuilder {
    pool: PgPool,
}

impl PgTableBuilder {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn recreate(&self, table: &Table<'_>) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        transaction.execute(&*format!("DROP TABLE IF EXISTS {}", table.name)).await?;
        transaction.execute(&*table.create()).await?;
        transaction.commit().await
    }

    /// Copies the first batch into the table and then creates its key; merges later batches. For a model that only
    /// appends rows, every batch is copied and the key is created before the switch.
    async fn fill_table(&self, table: &Table<'_>, changes: &[Change], first: bool) -> Result<(), Fault> {
        let doing = || format!("building {}", table.name);
        let mut transaction =
            self.pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await.map_err(fault(doing()))?;
        if table.model.appends {
            copy(&mut transaction, table, &table.name, changes).await?;
        } else if first {
            copy(&mut transaction, table, &table.name, changes).await?;
            transaction.execute(&*table.create_key()).await.map_err(fault(doing()))?;
        } else if changes.len() < COPY_ROWS_LEAST {
            put_rows(&mut transaction, table, changes).await?;
        } else {
            let stage = format!("CREATE TEMP TABLE stage (LIKE {}) ON COMMIT DROP", table.name);
            transaction.execute(&*stage).await.map_err(fault(doing()))?;
            copy(&mut transaction, table, "stage", changes).await?;
            transaction.execute(&*table.insert_from("stage")).await.map_err(fault(doing()))?;
            let deleted: Vec<_> = changes.iter().filter(|change| change.row.is_none()).cloned().collect();
            put_rows(&mut transaction, table, &deleted).await?;
        }
        transaction.commit().await.map_err(fault(doing()))
    }

    async fn switch_tables(&self, model: &Model, at: &[Checkpoint], parked: &[Parked]) -> Result<(), sqlx::Error> {
        let (built, live) = (Table::building(model), Table::live(model));
        let key = model.appends.then(|| built.create_key());
        let mut transaction = self.pool.begin_with(BEGIN_INDEXES).await?;
        for statement in key.into_iter().chain(built.create_indexes()).chain(built.open_to_readers()) {
            transaction.execute(&*statement).await?;
        }
        transaction.execute(&*format!("ANALYZE {}", built.name)).await?;
        transaction.commit().await?;
        let mut transaction = self.pool.begin().await?;
        // Waits for a running batch of the projector and blocks the next one until the commit. The projector then finds
        // its checkpoint moved and continues where the build ended.
        sqlx::query("DELETE FROM reads.checkpoints WHERE model = $1 AND shape = $2")
            .bind(&model.name)
            .bind(&model.shape)
            .execute(&mut *transaction)
            .await?;
        let [drop_view, create_view] = live.create_view();
        let drop_table = format!("DROP TABLE IF EXISTS {}", live.name);
        let rename = format!("ALTER TABLE {} RENAME TO {}", built.name, model.table());
        for statement in [drop_view, drop_table, rename, create_view] {
            transaction.execute(&*statement).await?;
        }
        write_state(&mut transaction, model, at, parked).await?;
        transaction.commit().await
    }
}

impl TableBuilder for PgTableBuilder {
    async fn begin(&self, model: &Model) -> Result<(), Fault> {
        self.recreate(&Table::building(model)).await.map_err(fault(format!("building {}", model.name)))
    }

    async fn load(&self, model: &Model, places: &[Place]) -> Result<Vec<LoadedRow>, Fault> {
        load(&self.pool, &Table::building(model), places).await
    }

    async fn fill(&self, model: &Model, changes: &[Change], first: bool) -> Result<(), Fault> {
        self.fill_table(&Table::building(model), changes, first).await
    }

    async fn switch(&self, model: &Model, at: &[Checkpoint], parked: &[Parked]) -> Result<(), Fault> {
        self.switch_tables(model, at, parked).await.map_err(fault(format!("switching {} to its new table", model.name)))
    }
}

/// Writes the state that belongs to the new table: parked events, checkpoints and the live shape.
async fn write_state(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    at: &[Checkpoint],
    parked: &[Parked],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM reads.parked WHERE model = $1 AND shape = $2")
        .bind(&model.name)
        .bind(&model.shape)
        .execute(&mut **transaction)
        .await?;
    park(transaction, model, parked).await?;
    sqlx::query(
        "INSERT INTO reads.checkpoints SELECT $1, $2, * FROM unnest($3::smallint[], $4::bigint[], $5::bigint[])",
    )
    .bind(&model.name)
    .bind(&model.shape)
    .bind(at.iter().map(|at| at.lane).collect::<Vec<_>>())
    .bind(at.iter().map(|at| at.position).collect::<Vec<_>>())
    .bind(at.iter().map(|at| at.epoch).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO reads.live VALUES ($1, $2, now()) \
         ON CONFLICT (model) DO UPDATE SET shape = excluded.shape, since = excluded.since",
    )
    .bind(&model.name)
    .bind(&model.shape)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Copies rows, except deletions, into a table that has the columns of `table`.
async fn copy(
    transaction: &mut PgTransaction<'_>,
    table: &Table<'_>,
    into: &str,
    changes: &[Change],
) -> Result<(), Fault> {
    let doing = || format!("copying rows into {into}");
    let statement = format!("COPY {into} ({}) FROM STDIN (FORMAT binary)", table.columns());
    let mut copy = transaction.copy_in_raw(&statement).await.map_err(fault(doing()))?;
    let mut chunk = Vec::with_capacity(COPY_BYTES);
    chunk.extend(COPY_HEADER);
    for (place, row) in changes.iter().filter_map(|change| Some((&change.place, change.row.as_ref()?))) {
        write_row(&mut chunk, &table.model.columns, place, row).map_err(corrupt_row(doing()))?;
        if chunk.len() >= COPY_BYTES {
            copy.send(chunk.as_slice()).await.map_err(fault(doing()))?;
            chunk.clear();
        }
    }
    chunk.extend(COPY_TRAILER);
    copy.send(chunk.as_slice()).await.map_err(fault(doing()))?;
    copy.finish().await.map_err(fault(doing()))?;
    Ok(())
}
