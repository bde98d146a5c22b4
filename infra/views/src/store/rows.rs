//! Row store of the projector: rows, checkpoints and parked events.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::shared::TenantId;
use event_log::fault;
use futures::future::try_join_all;
use projections::kernel::{Change, Model, Parked, Place};
use projections::ports::{Cause, Checkpoint, Fault, LoadedRow, Move, ParkedStream, Rows, Step, StreamPlace};
use sqlx::{Executor, PgExecutor, PgPool, PgTransaction};
use uuid::Uuid;

use super::binary_format::{ColumnArray, corrupt_row, place_arrays, row_arrays};
use super::search_queue::queue_search;
use super::shapes;
use super::table::Table;

/// Number of models whose rows are loaded at a time: each needs a connection.
const LOADS_MOST: usize = 4;

/// Length of a log up to which a new read model follows it from the first event on. For a longer one, it is built beside
/// the other models, which is faster and does not hold them up.
const SHORT_LOG_EVENTS: i64 = 10_000;

/// Stores rows, checkpoints and parked events in the schema `reads`.
#[derive(Clone, Debug)]
pub struct PgRows {
    pool: PgPool,
}

impl PgRows {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Creates empty tables for models that have none if the log is short, so that they are filled from the first event
    /// on. Returns the models that must be built from the log, because it is long or because the code expects another
    /// shape than that of the live table.
    pub async fn prepare<'m>(&self, models: impl IntoIterator<Item = &'m Model>) -> Result<Vec<&'m Model>, Fault> {
        let text = "SELECT model, shape FROM reads.checkpoints GROUP BY model, shape
                    UNION SELECT model, '' FROM reads.live";
        let known = sqlx::query_as(text).fetch_all(&self.pool).await;
        let known: BTreeSet<(String, String)> =
            known.map_err(fault("reading which tables exist"))?.into_iter().collect();
        let is_known = |model: &Model, shape: &str| known.contains(&(model.name.clone(), shape.to_owned()));
        let missing: Vec<_> = models.into_iter().filter(|model| !is_known(model, &model.shape)).collect();
        if missing.is_empty() || !self.log_is_short().await? {
            return Ok(missing);
        }
        let (outdated, new): (Vec<_>, Vec<_>) = missing.into_iter().partition(|model| is_known(model, ""));
        for model in new {
            self.create_table(model).await.map_err(fault(format!("creating the table of {}", model.name)))?;
        }
        Ok(outdated)
    }

    async fn load_model(&self, model: &Model, places: &[Place]) -> Result<Vec<LoadedRow>, Fault> {
        if places.is_empty() { Ok(Vec::new()) } else { load(&self.pool, &Table::live(model), places).await }
    }

    async fn log_is_short(&self) -> Result<bool, Fault> {
        let text = "SELECT coalesce(sum(e.position), 0) <= $1 FROM log.lanes l JOIN LATERAL
                    (SELECT position FROM log.events WHERE lane = l.lane ORDER BY position DESC LIMIT 1) e ON true";
        let is_short = sqlx::query_scalar(text).bind(SHORT_LOG_EVENTS).fetch_one(&self.pool).await;
        is_short.map_err(fault("reading the length of the log"))
    }

    async fn create_table(&self, model: &Model) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let claim = sqlx::query("INSERT INTO reads.live VALUES ($1, $2, now()) ON CONFLICT DO NOTHING");
        if claim.bind(&model.name).bind(&model.shape).execute(&mut *transaction).await?.rows_affected() == 0 {
            // Another process that started at the same time has created the table.
            return Ok(());
        }
        let table = Table::live(model);
        transaction.execute(&*table.create()).await?;
        transaction.execute(&*table.create_key()).await?;
        let opened = table.open_to_readers();
        for statement in table.create_indexes().iter().chain(&opened).chain(&table.create_view()) {
            transaction.execute(&**statement).await?;
        }
        sqlx::query("INSERT INTO reads.checkpoints SELECT $1, $2, lane, 0, 0 FROM log.lanes")
            .bind(&model.name)
            .bind(&model.shape)
            .execute(&mut *transaction)
            .await?;
        shapes::register(&mut transaction, &table).await?;
        transaction.commit().await
    }
}

impl Rows for PgRows {
    async fn checkpoints(&self, model: &Model) -> Result<Vec<Checkpoint>, Fault> {
        checkpoints(&self.pool, &Table::live(model)).await
    }

    async fn parked_streams(&self, model: &Model) -> Result<BTreeSet<StreamPlace>, Fault> {
        parked_streams(&self.pool, &Table::live(model)).await
    }

    async fn load(&self, wanted: &[(Arc<Model>, Vec<Place>)]) -> Result<Vec<Vec<LoadedRow>>, Fault> {
        let mut loaded = Vec::with_capacity(wanted.len());
        for models in wanted.chunks(LOADS_MOST) {
            let rows = models.iter().map(|(model, places)| self.load_model(model, places));
            loaded.extend(try_join_all(rows).await?);
        }
        Ok(loaded)
    }

    async fn put(&self, steps: &[(Arc<Model>, Step)]) -> Result<(), Fault> {
        let doing = || "putting rows of read models";
        let mut transaction = self.pool.begin_with(BEGIN).await.map_err(fault(doing()))?;
        let moves: Vec<_> = steps.iter().flat_map(|(model, step)| step.moves.iter().map(|at| (&**model, at))).collect();
        if !advance(&mut transaction, &moves).await.map_err(fault(doing()))? {
            return Err(Fault::new(Cause::Conflict, doing()));
        }
        for (model, step) in steps {
            let doing = || format!("putting rows of {}", model.name);
            if !are_parked(&mut transaction, model, &step.skipped).await.map_err(fault(doing()))? {
                return Err(Fault::new(Cause::Conflict, doing()));
            }
            let table = Table::live(model);
            put_rows(&mut transaction, &table, &step.changes).await?;
            park(&mut transaction, &table, &step.parked).await.map_err(fault(doing()))?;
            park_streams(&mut transaction, &table, &step.parked_streams).await.map_err(fault(doing()))?;
        }
        transaction.commit().await.map_err(fault(doing()))
    }
}

/// Begins a transaction whose commit does not wait for the disk: a crash of the server loses rows and checkpoint
/// together, and the events are folded again. A table that another session has locked fails its model alone, which then
/// leaves its group; waiting for it would stop the group.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '2s'";

/// Checkpoints of a table; empty if it does not exist.
pub(super) async fn checkpoints(store: impl PgExecutor<'_>, table: &Table<'_>) -> Result<Vec<Checkpoint>, Fault> {
    let text = "SELECT lane, position, epoch FROM reads.checkpoints WHERE model = $1 AND shape = $2 ORDER BY lane";
    let rows: Vec<(i16, i64, i64)> = sqlx::query_as(text)
        .bind(&table.model.name)
        .bind(&table.state)
        .fetch_all(store)
        .await
        .map_err(fault(format!("reading the checkpoints of {}", table.model.name)))?;
    Ok(rows.into_iter().map(|(lane, position, epoch)| Checkpoint { lane, position, epoch }).collect())
}

/// Streams that are parked for a table.
pub(super) async fn parked_streams(
    store: impl PgExecutor<'_>,
    table: &Table<'_>,
) -> Result<BTreeSet<StreamPlace>, Fault> {
    let text = "SELECT tenant, stream_type, stream_id FROM reads.parked
                WHERE model = $1 AND shape = $2 AND stream_id IS NOT NULL";
    let rows: Vec<(Uuid, String, Uuid)> = sqlx::query_as(text)
        .bind(&table.model.name)
        .bind(&table.state)
        .fetch_all(store)
        .await
        .map_err(fault(format!("reading the parked streams of {}", table.model.name)))?;
    let place = |(tenant, stream_type, stream): (Uuid, String, Uuid)| StreamPlace {
        tenant: TenantId::new(tenant),
        stream_type: stream_type.into(),
        stream,
    };
    Ok(rows.into_iter().map(place).collect())
}

/// Loads the rows of a table at these places.
pub(super) async fn load(
    store: impl PgExecutor<'_>,
    table: &Table<'_>,
    places: &[Place],
) -> Result<Vec<LoadedRow>, Fault> {
    let doing = || format!("loading rows of {}", table.model.name);
    let statement = table.load();
    let mut load = sqlx::query_as::<_, (Option<String>, bool)>(&statement)
        .bind(&table.model.name)
        .bind(&table.state)
        .bind(places.iter().map(|place| place.key.as_str()).collect::<Vec<_>>());
    let places: Vec<_> = places.iter().collect();
    for array in place_arrays(&table.key_types(), &places).map_err(corrupt_row(doing()))? {
        load = load.bind(array);
    }
    let rows = load.fetch_all(store).await.map_err(fault(doing()))?;
    Ok(rows.into_iter().map(|(row, waiting)| LoadedRow { row, waiting }).collect())
}

/// Moves the checkpoints if all of them are still where their moves begin, else returns false. They stay locked until
/// the transaction ends, so that of two projectors of one lane only the first can write. The locks are taken in a fixed
/// order, which rules out deadlocks.
async fn advance(transaction: &mut PgTransaction<'_>, moves: &[(&Model, &Move)]) -> Result<bool, sqlx::Error> {
    let from = |value: fn(&Checkpoint) -> i64| moves.iter().map(|(_, (from, _))| value(from)).collect::<Vec<_>>();
    let to = |value: fn(&Checkpoint) -> i64| moves.iter().map(|(_, (_, to))| value(to)).collect::<Vec<_>>();
    let moved = sqlx::query(
        "WITH moves AS (SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], \
             $6::bigint[], $7::bigint[]) AS m(model, shape, lane, old_position, old_epoch, position, epoch)), \
         locked AS (SELECT c.model, c.shape, c.lane, m.position, m.epoch \
             FROM reads.checkpoints c JOIN moves m USING (model, shape, lane) \
             WHERE c.position = m.old_position AND c.epoch = m.old_epoch \
             ORDER BY c.model, c.shape, c.lane FOR UPDATE OF c) \
         UPDATE reads.checkpoints c SET position = locked.position, epoch = locked.epoch FROM locked \
             WHERE c.model = locked.model AND c.shape = locked.shape AND c.lane = locked.lane",
    )
    .bind(moves.iter().map(|(model, _)| model.name.as_str()).collect::<Vec<_>>())
    .bind(moves.iter().map(|(model, _)| model.shape.as_str()).collect::<Vec<_>>())
    .bind(moves.iter().map(|(_, (from, _))| from.lane).collect::<Vec<_>>())
    .bind(from(|at| at.position))
    .bind(from(|at| at.epoch))
    .bind(to(|at| at.position))
    .bind(to(|at| at.epoch))
    .execute(&mut **transaction)
    .await?;
    Ok(usize::try_from(moved.rows_affected()) == Ok(moves.len()))
}

/// Inserts, updates and deletes the changed rows, and queues them for the search index.
pub(super) async fn put_rows(
    transaction: &mut PgTransaction<'_>,
    table: &Table<'_>,
    changes: &[Change],
) -> Result<(), Fault> {
    let doing = || format!("putting rows of {}", table.model.name);
    if let Some(arrays) = row_arrays(&table.model.columns, changes).map_err(corrupt_row(doing()))? {
        execute(transaction, &table.put(), arrays).await.map_err(fault(doing()))?;
    }
    let deleted: Vec<_> = changes.iter().filter(|change| change.row.is_none()).map(|change| &change.place).collect();
    if !deleted.is_empty() {
        let arrays = place_arrays(&table.key_types(), &deleted).map_err(corrupt_row(doing()))?;
        execute(transaction, &table.delete(), arrays).await.map_err(fault(doing()))?;
    }
    queue_search(transaction, table.model, changes).await
}

async fn execute(
    transaction: &mut PgTransaction<'_>,
    statement: &str,
    arrays: Vec<ColumnArray>,
) -> Result<(), sqlx::Error> {
    let statement = arrays.into_iter().fold(sqlx::query(statement), |statement, array| statement.bind(array));
    statement.execute(&mut **transaction).await.map(|_| ())
}

/// Stores parked events.
pub(super) async fn park(
    transaction: &mut PgTransaction<'_>,
    table: &Table<'_>,
    parked: &[Parked],
) -> Result<(), sqlx::Error> {
    if parked.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO reads.parked (model, shape, lane, position, tenant, key, reason) \
         SELECT $1, $2, * FROM unnest($3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(&table.model.name)
    .bind(&table.state)
    .bind(parked.iter().map(|parked| parked.lane).collect::<Vec<_>>())
    .bind(parked.iter().map(|parked| parked.position).collect::<Vec<_>>())
    .bind(parked.iter().map(|parked| parked.place.tenant.uuid()).collect::<Vec<_>>())
    .bind(parked.iter().map(|parked| parked.place.key.as_str()).collect::<Vec<_>>())
    .bind(parked.iter().map(|parked| parked.reason.as_str()).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Stores parked streams.
pub(super) async fn park_streams(
    transaction: &mut PgTransaction<'_>,
    table: &Table<'_>,
    parked: &[ParkedStream],
) -> Result<(), sqlx::Error> {
    if parked.is_empty() {
        return Ok(());
    }
    let text = "INSERT INTO reads.parked (model, shape, key, lane, position, tenant, stream_type, stream_id, reason)
                SELECT $1, $2, '', * FROM unnest($3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::uuid[],
                                                 $8::text[])
                ON CONFLICT DO NOTHING";
    sqlx::query(text)
        .bind(&table.model.name)
        .bind(&table.state)
        .bind(parked.iter().map(|parked| parked.lane).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| parked.position).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| parked.place.tenant.uuid()).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| &*parked.place.stream_type).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| parked.place.stream).collect::<Vec<_>>())
        .bind(parked.iter().map(|parked| parked.reason.as_str()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}

/// True if all these streams are parked for the model.
async fn are_parked(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    streams: &BTreeSet<StreamPlace>,
) -> Result<bool, sqlx::Error> {
    if streams.is_empty() {
        return Ok(true);
    }
    let text = "SELECT count(*) FROM unnest($3::uuid[], $4::text[], $5::uuid[]) AS s(tenant, stream_type, stream_id)
                WHERE EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2 AND p.tenant = s.tenant
                              AND p.stream_type = s.stream_type AND p.stream_id = s.stream_id)";
    let count: i64 = sqlx::query_scalar(text)
        .bind(&model.name)
        .bind(&model.shape)
        .bind(streams.iter().map(|place| place.tenant.uuid()).collect::<Vec<_>>())
        .bind(streams.iter().map(|place| &*place.stream_type).collect::<Vec<_>>())
        .bind(streams.iter().map(|place| place.stream).collect::<Vec<_>>())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(usize::try_from(count) == Ok(streams.len()))
}
