//! Rebuild of single rows of a read model: rows whose key is parked, or that events of a parked stream affect, are folded
//! again from the log.
//!
//! The model continues meanwhile: its checkpoint is locked only for the events that arrived during the first, long part
//! of the fold.

use std::collections::{BTreeSet, HashMap};

use domain::shared::TenantId;
use event_log::{fault, history};
use projections::kernel::{Change, Fold, Model, Place};
use projections::ports::{Checkpoint, Fault, RawEvent, StreamPlace};
use projections::projector::affected;
use sqlx::{PgConnection, PgPool, PgTransaction};
use uuid::Uuid;

use super::rows::put_rows;
use super::table::Table;

/// Events of the tenant per read.
const PAGE: i64 = 5_000;

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
    /// The entry was not parked any more, or the model is not served in this shape.
    Unneeded,
    /// The events can still not be folded, for this reason.
    Failed(String),
}

impl ParkedEntry {
    fn lane(&self) -> i16 {
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

/// Folds the events of the rows of a parked entry from the first on, and replaces the rows.
pub(crate) async fn rebuild_parked(pool: &PgPool, model: &Model, parked: &ParkedEntry) -> Result<KeyRebuild, Fault> {
    let doing = || format!("rebuilding rows of {}", model.name);
    let mut connection = pool.acquire().await.map_err(fault(doing()))?;
    let Some(at) = checkpoint(&mut connection, model, parked.lane(), "").await? else {
        return Ok(KeyRebuild::Unneeded);
    };
    let places = match affected_places(&mut connection, model, parked, at).await? {
        Ok((places, _)) => places,
        Err(reason) => return Ok(KeyRebuild::Failed(reason)),
    };
    let mut rows = RowFold::of(&mut connection, model, parked, places).await?;
    // A model that appends has no row of the events yet, and folds only these.
    if !model.appends
        && let Err(reason) = rows.fold_up_to(&mut connection, at).await?
    {
        return Ok(KeyRebuild::Failed(reason));
    }
    drop(connection);
    let mut transaction = pool.begin().await.map_err(fault(doing()))?;
    // The lock keeps the projector from storing the next batch, and two processes from repairing one entry at a time.
    let Some(at) = checkpoint(&mut transaction, model, parked.lane(), "FOR UPDATE").await? else {
        return Ok(KeyRebuild::Unneeded);
    };
    let events = match affected_places(&mut transaction, model, parked, at).await? {
        Ok((places, events)) if places == rows.places => events,
        Ok(_) => return Ok(KeyRebuild::Failed("the stream has grown; it is tried again".into())),
        Err(reason) => return Ok(KeyRebuild::Failed(reason)),
    };
    let folded = if model.appends { rows.fold(&events) } else { rows.fold_up_to(&mut transaction, at).await? };
    if let Err(reason) = folded {
        return Ok(KeyRebuild::Failed(reason));
    }
    if !delete_entries(&mut transaction, model, parked, &rows.places).await.map_err(fault(doing()))? {
        return Ok(KeyRebuild::Unneeded);
    }
    match rows.into_changes() {
        Ok(changes) => put_rows(&mut transaction, &Table::live(model), &changes).await?,
        Err(reason) => return Ok(KeyRebuild::Failed(reason)),
    }
    transaction.commit().await.map_err(fault(doing()))?;
    Ok(KeyRebuild::Done)
}

/// Places of the rows that must be folded again, and the events of the parked stream or, for a model that appends, of the
/// parked key. An inner error is the reason for which an event can still not be read.
async fn affected_places(
    connection: &mut PgConnection,
    model: &Model,
    parked: &ParkedEntry,
    at: Checkpoint,
) -> Result<Result<(BTreeSet<Place>, Vec<RawEvent>), String>, Fault> {
    match parked {
        ParkedEntry::Key { place, .. } if model.appends => {
            let mut events = Vec::new();
            for event in parked_events(connection, model, place, at.lane).await? {
                events.extend(history::page(&mut *connection, at.lane, event - 1, 1).await?);
            }
            Ok(Ok((BTreeSet::from([place.clone()]), events)))
        }
        ParkedEntry::Key { place, .. } => Ok(Ok((BTreeSet::from([place.clone()]), Vec::new()))),
        ParkedEntry::Stream { place, position, .. } => {
            let (lane, stream) = ((at.lane, place.tenant), (&*place.stream_type, place.stream));
            let events = history::events_of_stream(connection, lane, stream, (*position, at.position)).await?;
            let mut reader = model.begin_fold();
            if let Some(unreadable) = events.iter().find_map(|event| reader.read(event).err()) {
                return Ok(Err(unreadable.to_string()));
            }
            Ok(Ok((affected(model, &events), events)))
        }
    }
}

/// Positions of the parked events of a key.
async fn parked_events(
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

/// Fold of some rows of one tenant.
struct RowFold<'m> {
    model: &'m Model,
    tenant: TenantId,
    places: BTreeSet<Place>,
    fold: Box<dyn Fold>,
    /// Other parked streams of the tenant, with the positions from which on their events are not folded.
    skipped: HashMap<(String, Uuid), i64>,
    /// Tenant position up to which the events were folded.
    after: i64,
}

impl<'m> RowFold<'m> {
    async fn of(
        connection: &mut PgConnection,
        model: &'m Model,
        parked: &ParkedEntry,
        places: BTreeSet<Place>,
    ) -> Result<Self, Fault> {
        let mut fold = model.begin_fold();
        fold.restrict_to(places.clone());
        let text = "SELECT stream_type, stream_id, min(position) FROM reads.parked
                    WHERE model = $1 AND shape = $2 AND tenant = $3 AND stream_id IS NOT NULL GROUP BY 1, 2";
        let tenant = parked.tenant();
        let streams: Vec<(String, Uuid, i64)> = sqlx::query_as(text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(tenant.uuid())
            .fetch_all(connection)
            .await
            .map_err(fault("reading parked streams"))?;
        let mut skipped: HashMap<_, _> =
            streams.into_iter().map(|(stream_type, stream, position)| ((stream_type, stream), position)).collect();
        if let ParkedEntry::Stream { place, .. } = parked {
            skipped.remove(&(place.stream_type.to_string(), place.stream));
        }
        Ok(Self { model, tenant, places, fold, skipped, after: 0 })
    }

    /// Folds the tenant's further events up to a checkpoint. An inner error is the reason for which that is impossible.
    async fn fold_up_to(&mut self, connection: &mut PgConnection, at: Checkpoint) -> Result<Result<(), String>, Fault> {
        let text = "SELECT tenant_position FROM log.events WHERE lane = $1 AND tenant = $2 AND position <= $3
                    ORDER BY tenant_position DESC LIMIT 1";
        let end: Option<i64> = sqlx::query_scalar(text)
            .bind(at.lane)
            .bind(self.tenant.uuid())
            .bind(at.position)
            .fetch_optional(&mut *connection)
            .await
            .map_err(fault("reading the position of a tenant"))?;
        let end = end.unwrap_or(0);
        while self.after < end {
            let upto = end.min(self.after.saturating_add(PAGE));
            let (lane, streams) = ((at.lane, self.tenant), &self.model.streams);
            let events = history::events_of_tenant(&mut *connection, lane, (self.after, upto), streams).await?;
            if let Err(reason) = self.fold(&events) {
                return Ok(Err(reason));
            }
            self.after = upto;
        }
        Ok(Ok(()))
    }

    fn fold(&mut self, events: &[RawEvent]) -> Result<(), String> {
        for event in events {
            let stream = || (event.stream_type.to_string(), event.stream);
            let is_skipped =
                !self.skipped.is_empty() && self.skipped.get(&stream()).is_some_and(|from| event.position >= *from);
            if !is_skipped {
                let place = || format!("lane {}, position {}", event.lane, event.position);
                self.fold.read(event).map_err(|unreadable| format!("{}: {unreadable}", place()))?;
            }
        }
        self.fold.fold().first().map_or(Ok(()), |event| Err(event.reason.clone()))
    }

    /// The rows as they must be. A place whose events make no row has none.
    fn into_changes(mut self) -> Result<Vec<Change>, String> {
        let (mut changes, unwritable) = self.fold.drain();
        if let Some(event) = unwritable.first() {
            return Err(event.reason.clone());
        }
        if !self.model.appends {
            let changed: BTreeSet<_> = changes.iter().map(|change| change.place.clone()).collect();
            let missing = self.places.into_iter().filter(|place| !changed.contains(place));
            changes.extend(missing.map(|place| Change { place, row: None }));
        }
        Ok(changes)
    }
}

/// Checkpoint of the served table of a model in a lane; `None` if the model is not served in this shape.
async fn checkpoint(
    connection: &mut PgConnection,
    model: &Model,
    lane: i16,
    lock: &str,
) -> Result<Option<Checkpoint>, Fault> {
    let text = format!(
        "SELECT c.position, c.epoch FROM reads.checkpoints c
         WHERE c.model = $1 AND c.shape = $2 AND c.lane = $3
           AND EXISTS (SELECT FROM reads.live v WHERE v.model = c.model AND v.shape = c.shape) {lock}"
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
