//! Rebuild of single rows of a read model: rows whose key is parked, or that events of a parked stream affect, are folded
//! again from the log.
//!
//! The model continues meanwhile, and the stream may grow: the fold catches up in rounds, and the checkpoint is locked only
//! for the last, short one. A model that appends gets the rows of a parked stream page by page.

use std::collections::BTreeSet;

use domain::shared::TenantId;
use event_log::{fault, history};
use projections::kernel::{Model, Place};
use projections::ports::{Checkpoint, Fault, RawEvent, StreamPlace};
use sqlx::{PgConnection, PgPool, PgTransaction};

use super::row_fold::RowFold;
use super::rows::put_rows;
use super::table::Table;

/// Events of a stream per read.
pub(super) const PAGE: i64 = 5_000;
/// Number of positions that are read while the checkpoint is locked.
const LOCKED_POSITIONS_MOST: i64 = 2_000;
/// Number of rounds in which a fold catches up. In each, fewer events have arrived.
const ROUNDS_MOST: usize = 10;

/// An entry of `reads.parked` of a served table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParkedEntry {
    Key { lane: i16, place: Place },
    Stream { lane: i16, place: StreamPlace, position: i64 },
}

/// Outcome of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRebuild {
    /// The rows are the folds of all their events up to the checkpoint of the model, and nothing of them is parked.
    Done,
    /// The entry was not parked any more, or there is no table of this shape.
    Unneeded,
    /// The events can still not be folded, for this reason.
    Failed(String),
}

impl ParkedEntry {
    pub(super) fn lane(&self) -> i16 {
        match self {
            Self::Key { lane, .. } | Self::Stream { lane, .. } => *lane,
        }
    }

    pub(crate) fn tenant(&self) -> TenantId {
        match self {
            Self::Key { place, .. } => place.tenant,
            Self::Stream { place, .. } => place.tenant,
        }
    }
}

/// Folds the events of the rows of a parked entry, and replaces or adds the rows.
pub(crate) async fn rebuild_parked(pool: &PgPool, model: &Model, parked: &ParkedEntry) -> Result<KeyRebuild, Fault> {
    match (model.appends, parked) {
        (true, ParkedEntry::Key { place, .. }) => append_parked_events(pool, model, parked, place).await,
        (true, ParkedEntry::Stream { place, position, .. }) => {
            append_stream(pool, model, parked, place, *position).await
        }
        (false, _) => replace_rows(pool, model, parked).await,
    }
}

/// Folds the rows from the first event of the tenant on and replaces them.
async fn replace_rows(pool: &PgPool, model: &Model, parked: &ParkedEntry) -> Result<KeyRebuild, Fault> {
    let doing = || format!("rebuilding rows of {}", model.name);
    let mut connection = pool.acquire().await.map_err(fault(doing()))?;
    let Some(mut at) = checkpoint(&mut connection, model, parked.lane(), "").await? else {
        return Ok(KeyRebuild::Unneeded);
    };
    let mut rows = match RowFold::begin(&mut connection, model, parked, at).await? {
        Ok(rows) => rows,
        Err(reason) => return Ok(KeyRebuild::Failed(reason)),
    };
    for _ in 0..ROUNDS_MOST {
        if let Err(reason) = rows.fold_up_to(&mut connection, at).await? {
            return Ok(KeyRebuild::Failed(reason));
        }
        let Some(now) = checkpoint(&mut connection, model, parked.lane(), "").await? else {
            return Ok(KeyRebuild::Unneeded);
        };
        let is_near = now.position - at.position <= LOCKED_POSITIONS_MOST / 2;
        if is_near {
            break;
        }
        at = now;
    }
    drop(connection);
    let mut transaction = pool.begin().await.map_err(fault(doing()))?;
    // The lock keeps the projector from storing the next batch, and two processes from repairing one entry at a time.
    let Some(now) = checkpoint(&mut transaction, model, parked.lane(), "FOR UPDATE").await? else {
        return Ok(KeyRebuild::Unneeded);
    };
    if now.position - at.position > LOCKED_POSITIONS_MOST {
        return Ok(KeyRebuild::Failed("more events arrive than can be folded meanwhile; it is tried again".into()));
    }
    if let Err(reason) = rows.fold_up_to(&mut transaction, now).await? {
        return Ok(KeyRebuild::Failed(reason));
    }
    let (places, changes) = match rows.into_changes(&mut transaction).await? {
        Ok(folded) => folded,
        Err(reason) => return Ok(KeyRebuild::Failed(reason)),
    };
    if !delete_entries(&mut transaction, model, parked, &places).await.map_err(fault(doing()))? {
        return Ok(KeyRebuild::Unneeded);
    }
    put_rows(&mut transaction, &Table::live(model), &changes).await?;
    transaction.commit().await.map_err(fault(doing()))?;
    Ok(KeyRebuild::Done)
}

/// Adds the rows of the parked events of a key. They have none yet, and no other event changes them.
async fn append_parked_events(
    pool: &PgPool,
    model: &Model,
    parked: &ParkedEntry,
    place: &Place,
) -> Result<KeyRebuild, Fault> {
    let doing = || format!("rebuilding rows of {}", model.name);
    let mut transaction = pool.begin().await.map_err(fault(doing()))?;
    let Some(at) = checkpoint(&mut transaction, model, parked.lane(), "FOR UPDATE").await? else {
        return Ok(KeyRebuild::Unneeded);
    };
    let mut events = Vec::new();
    for position in parked_positions(&mut transaction, model, place, at.lane).await? {
        events.extend(history::page(&mut *transaction, at.lane, position - 1, 1).await?);
    }
    if let Err(reason) = append(&mut transaction, model, &events).await? {
        return Ok(KeyRebuild::Failed(reason));
    }
    let places = BTreeSet::from([place.clone()]);
    if !delete_entries(&mut transaction, model, parked, &places).await.map_err(fault(doing()))? {
        return Ok(KeyRebuild::Unneeded);
    }
    transaction.commit().await.map_err(fault(doing()))?;
    Ok(KeyRebuild::Done)
}

/// Adds the rows of a parked stream page by page. After each page, the stream is parked from the next event on, so only the
/// last page needs the lock.
async fn append_stream(
    pool: &PgPool,
    model: &Model,
    parked: &ParkedEntry,
    place: &StreamPlace,
    mut position: i64,
) -> Result<KeyRebuild, Fault> {
    let doing = || format!("rebuilding rows of {}", model.name);
    loop {
        let mut transaction = pool.begin().await.map_err(fault(doing()))?;
        let Some(mut at) = checkpoint(&mut transaction, model, parked.lane(), "").await? else {
            return Ok(KeyRebuild::Unneeded);
        };
        let mut events = events_of_parked_stream(&mut transaction, place, (position, at), PAGE).await?;
        let is_last = events.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        if is_last {
            match checkpoint(&mut transaction, model, parked.lane(), "FOR UPDATE").await? {
                Some(now) => at = now,
                None => return Ok(KeyRebuild::Unneeded),
            }
            events = events_of_parked_stream(&mut transaction, place, (position, at), 2 * PAGE).await?;
        }
        if let Err(reason) = append(&mut transaction, model, &events).await? {
            return Ok(KeyRebuild::Failed(reason));
        }
        let is_parked = match events.last().filter(|_| !is_last) {
            Some(last) => {
                let next = last.position + 1;
                move_entry(&mut transaction, model, place, (position, next)).await.map_err(fault(doing()))?
            }
            None => delete_entries(&mut transaction, model, parked, &BTreeSet::new()).await.map_err(fault(doing()))?,
        };
        if !is_parked {
            return Ok(KeyRebuild::Unneeded);
        }
        transaction.commit().await.map_err(fault(doing()))?;
        match events.last().filter(|_| !is_last) {
            Some(last) => position = last.position + 1,
            None => return Ok(KeyRebuild::Done),
        }
    }
}

/// Folds these events and adds their rows. An inner error is the reason for which that is impossible.
async fn append(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    events: &[RawEvent],
) -> Result<Result<(), String>, Fault> {
    let mut fold = model.begin_fold();
    if let Some(unreadable) = events.iter().find_map(|event| fold.read(event).err()) {
        return Ok(Err(unreadable.to_string()));
    }
    let parked = fold.fold();
    let (changes, unwritable) = fold.drain();
    if let Some(event) = parked.iter().chain(&unwritable).next() {
        return Ok(Err(event.reason.clone()));
    }
    put_rows(transaction, &Table::live(model), &changes).await?;
    Ok(Ok(()))
}

/// Events of a parked stream from a position up to a checkpoint, at most `most`.
pub(super) async fn events_of_parked_stream(
    connection: &mut PgConnection,
    place: &StreamPlace,
    (from, at): (i64, Checkpoint),
    most: i64,
) -> Result<Vec<RawEvent>, Fault> {
    let text = "SELECT coalesce(max(sequence), 0) FROM log.events WHERE lane = $1 AND tenant = $2 AND stream_id = $3
                AND stream_type = $4 AND position < $5";
    let after: i64 = sqlx::query_scalar(text)
        .bind(at.lane)
        .bind(place.tenant.uuid())
        .bind(place.stream)
        .bind(&*place.stream_type)
        .bind(from)
        .fetch_one(&mut *connection)
        .await
        .map_err(fault("reading a parked stream"))?;
    let (lane, stream) = ((at.lane, place.tenant), (&*place.stream_type, place.stream));
    history::events_of_stream(connection, lane, stream, (after, at.position), most).await
}

/// Positions of the parked events of a key.
async fn parked_positions(
    connection: &mut PgConnection,
    model: &Model,
    place: &Place,
    lane: i16,
) -> Result<Vec<i64>, Fault> {
    let text = "SELECT position FROM reads.parked
                WHERE model = $1 AND shape = $2 AND lane = $3 AND tenant = $4 AND key = $5 ORDER BY position";
    let positions = sqlx::query_scalar(text).bind(&model.name).bind(&model.shape).bind(lane);
    let positions = positions.bind(place.tenant.uuid()).bind(place.key.as_str()).fetch_all(connection).await;
    positions.map_err(fault(format!("reading parked events of {}", model.name)))
}

/// Parks a stream from another position on. Returns false if it is not parked from the given position on.
async fn move_entry(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    place: &StreamPlace,
    (from, to): (i64, i64),
) -> Result<bool, sqlx::Error> {
    let text = "UPDATE reads.parked SET position = $7 WHERE model = $1 AND shape = $2 AND tenant = $3
                AND stream_type = $4 AND stream_id = $5 AND position = $6";
    let moved = sqlx::query(text).bind(&model.name).bind(&model.shape).bind(place.tenant.uuid());
    let moved = moved.bind(&*place.stream_type).bind(place.stream).bind(from).bind(to);
    Ok(moved.execute(&mut **transaction).await?.rows_affected() == 1)
}

/// Deletes the entry and those of the places. Returns false if there was none.
async fn delete_entries(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    parked: &ParkedEntry,
    places: &BTreeSet<Place>,
) -> Result<bool, sqlx::Error> {
    let (stream_type, stream) = match parked {
        ParkedEntry::Key { .. } => (None, None),
        ParkedEntry::Stream { place, .. } => (Some(&*place.stream_type), Some(place.stream)),
    };
    let text = "DELETE FROM reads.parked WHERE model = $1 AND shape = $2 AND tenant = $3
                AND (stream_id IS NULL AND key = ANY($4) OR stream_type = $5 AND stream_id = $6)";
    let deleted = sqlx::query(text)
        .bind(&model.name)
        .bind(&model.shape)
        .bind(parked.tenant().uuid())
        .bind(places.iter().map(|place| place.key.as_str()).collect::<Vec<_>>())
        .bind(stream_type)
        .bind(stream)
        .execute(&mut **transaction)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Checkpoint of a model in a lane; `None` if there is no table of this shape.
async fn checkpoint(
    connection: &mut PgConnection,
    model: &Model,
    lane: i16,
    lock: &str,
) -> Result<Option<Checkpoint>, Fault> {
    let text = format!(
        "SELECT c.position, c.epoch FROM reads.checkpoints c
         WHERE c.model = $1 AND c.shape = $2 AND c.lane = $3 {lock}"
    );
    let found: Option<(i64, i64)> = sqlx::query_as(&text)
        .bind(&model.name)
        .bind(&model.shape)
        .bind(lane)
        .fetch_optional(connection)
        .await
        .map_err(fault(format!("reading the checkpoint of {}", model.name)))?;
    Ok(found.map(|(position, epoch)| Checkpoint { lane, position, epoch }))
}
