//! Table builder of a rebuild: fills a new table of a read model beside the live one, then switches.

use event_log::fault;
use projections::kernel::{Change, Model, Place};
use projections::ports::{Checkpoint, Fault, LoadedRow};
use replay::rebuild::{BuildState, Part, TableBuilder};
use sqlx::{Executor, PgPool, PgTransaction};

use super::binary_format::{COPY_HEADER, COPY_TRAILER, corrupt_row, write_row};
use super::rows::{checkpoints, load, park, park_streams, parked_streams, put_rows};
use super::search_queue::queue_search;
use super::shapes::{self, forget_state};
use super::table::Table;

/// Smallest batch that is copied into a temporary table first; a smaller one is faster with one INSERT.
const COPY_ROWS_LEAST: usize = 1_000;
/// Bytes after which a chunk of COPY is sent, so that the encoded batch is not in memory as a whole.
const COPY_BYTES: usize = 1 << 20;
/// Begins the creation of indexes. Sorting a million keys in memory is twice as fast as on disk.
const BEGIN_INDEXES: &str = "BEGIN; SET LOCAL maintenance_work_mem = '256MB'";

/// Builds tables in the schema `reads`.
#[derive(Clone, Debug)]
pub struct PgTableBuilder {
    pool: PgPool,
}

impl PgTableBuilder {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Creates the table and forgets the state of an earlier one.
    async fn recreate(&self, table: &Table<'_>) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        transaction.execute(&*format!("DROP TABLE IF EXISTS {}", table.name)).await?;
        forget_state(&mut transaction, table).await?;
        transaction.execute(&*table.create()).await?;
        shapes::register(&mut transaction, table).await?;
        transaction.commit().await
    }

    /// State of an unfinished table; `None` if there is none.
    async fn unfinished(&self, table: &Table<'_>) -> Result<Option<BuildState>, Fault> {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(&table.name)
            .fetch_one(&self.pool)
            .await
            .map_err(fault(format!("looking for {}", table.name)))?;
        let at = checkpoints(&self.pool, table).await?;
        if !exists || at.is_empty() {
            return Ok(None);
        }
        Ok(Some(BuildState { at, parked_streams: parked_streams(&self.pool, table).await? }))
    }

    /// Stores a part with the state of the table after it.
    async fn fill_table(&self, table: &Table<'_>, part: &Part) -> Result<(), Fault> {
        let doing = || format!("building {}", table.name);
        let mut transaction =
            self.pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await.map_err(fault(doing()))?;
        write_rows(&mut transaction, table, part).await?;
        park(&mut transaction, table, &part.parked).await.map_err(fault(doing()))?;
        park_streams(&mut transaction, table, &part.parked_streams).await.map_err(fault(doing()))?;
        set_checkpoints(&mut transaction, table, &part.at).await.map_err(fault(doing()))?;
        shapes::register(&mut transaction, table).await.map_err(fault(doing()))?;
        transaction.commit().await.map_err(fault(doing()))
    }

    /// Creates the indexes and serves the table.
    async fn switch_tables(&self, model: &Model) -> Result<(), sqlx::Error> {
        let (built, live) = (Table::building(model), Table::live(model));
        let key = model.appends.then(|| built.create_key());
        let mut transaction = self.pool.begin_with(BEGIN_INDEXES).await?;
        for statement in key.into_iter().chain(built.create_indexes()).chain(built.open_to_readers()) {
            transaction.execute(&*statement).await?;
        }
        transaction.execute(&*format!("ANALYZE {}", built.name)).await?;
        shapes::replace(&mut transaction, &built, &live).await?;
        transaction.commit().await
    }
}

impl TableBuilder for PgTableBuilder {
    async fn begin(&self, model: &Model, resume: bool) -> Result<BuildState, Fault> {
        let table = Table::building(model);
        if resume && let Some(state) = self.unfinished(&table).await? {
            return Ok(state);
        }
        self.recreate(&table).await.map_err(fault(format!("building {}", model.name)))?;
        Ok(BuildState::default())
    }

    async fn load(&self, model: &Model, places: &[Place]) -> Result<Vec<LoadedRow>, Fault> {
        load(&self.pool, &Table::building(model), places).await
    }

    async fn fill(&self, model: &Model, part: &Part) -> Result<(), Fault> {
        self.fill_table(&Table::building(model), part).await
    }

    async fn switch(&self, model: &Model) -> Result<(), Fault> {
        self.switch_tables(model).await.map_err(fault(format!("switching {} to its new table", model.name)))
    }

    async fn discard(&self, model: &Model) -> Result<(), Fault> {
        let table = Table::building(model);
        shapes::drop_table(&self.pool, &table).await.map_err(fault(format!("dropping {}", table.name)))
    }
}

/// Copies the first rows into the table and then creates its key; merges later ones. For a model that only appends rows,
/// all are copied and the key is created before the switch.
async fn write_rows(transaction: &mut PgTransaction<'_>, table: &Table<'_>, part: &Part) -> Result<(), Fault> {
    let doing = || format!("building {}", table.name);
    let changes = &part.changes;
    if table.model.appends {
        return copy(transaction, table, &table.name, changes).await;
    }
    if part.is_first {
        copy(transaction, table, &table.name, changes).await?;
        transaction.execute(&*table.create_key()).await.map_err(fault(doing()))?;
        return Ok(());
    }
    if changes.len() < COPY_ROWS_LEAST {
        return put_rows(transaction, table, changes).await;
    }
    let stage = format!("CREATE TEMP TABLE stage (LIKE {}) ON COMMIT DROP", table.name);
    transaction.execute(&*stage).await.map_err(fault(doing()))?;
    copy(transaction, table, "stage", changes).await?;
    transaction.execute(&*table.insert_from("stage")).await.map_err(fault(doing()))?;
    let deleted: Vec<_> = changes.iter().filter(|change| change.row.is_none()).cloned().collect();
    put_rows(transaction, table, &deleted).await
}

async fn set_checkpoints(
    transaction: &mut PgTransaction<'_>,
    table: &Table<'_>,
    at: &[Checkpoint],
) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO reads.checkpoints (model, shape, lane, position, epoch)
                SELECT $1, $2, * FROM unnest($3::smallint[], $4::bigint[], $5::bigint[])
                ON CONFLICT (model, shape, lane) DO UPDATE SET position = excluded.position, epoch = excluded.epoch";
    sqlx::query(text)
        .bind(&table.model.name)
        .bind(&table.state)
        .bind(at.iter().map(|at| at.lane).collect::<Vec<_>>())
        .bind(at.iter().map(|at| at.position).collect::<Vec<_>>())
        .bind(at.iter().map(|at| at.epoch).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}

/// Copies rows, except deletions, into a table that has the columns of `table`, and queues them for the search index.
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
    if table.model.searched.is_empty() {
        return Ok(());
    }
    let copied: Vec<_> = changes.iter().filter(|change| change.row.is_some()).cloned().collect();
    queue_search(transaction, table.model, &copied).await
}
