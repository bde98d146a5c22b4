//! Fold of some rows of one tenant from its first event on, while the tenant goes on.

use std::collections::{BTreeSet, HashMap};

use domain::shared::TenantId;
use event_log::{fault, history};
use projections::kernel::{Change, Fold, Model, Parked, Place};
use projections::ports::{Checkpoint, Fault, RawEvent, StreamPlace};
use projections::projector::affected;
use sqlx::PgConnection;
use uuid::Uuid;

use super::key_rebuild::{PAGE, ParkedEntry, events_of_parked_stream};
use super::rows::load;
use super::table::Table;

/// Fold of the rows of a parked entry.
pub(super) struct RowFold<'m> {
    model: &'m Model,
    tenant: TenantId,
    /// The parked stream, if a stream is parked and not a key, with the position from which on the served rows lack its
    /// events.
    stream: Option<(StreamPlace, i64)>,
    /// Other parked streams of the tenant, with the positions from which on their events are not folded.
    skipped: HashMap<(String, Uuid), i64>,
    /// Tenant position up to which the events were folded.
    after: i64,
    /// Position of the lane at which the fold began.
    begun_at: i64,
    /// Rows that the entry affected when the fold began: folded from the first event on.
    places: BTreeSet<Place>,
    fold: Box<dyn Fold>,
    /// Rows that events of the parked stream affect since then. The served rows contain all their other events.
    late: Box<dyn Fold>,
    /// Rows that events of other streams have affected since then.
    others: BTreeSet<Place>,
}

impl<'m> RowFold<'m> {
    /// Begins with the rows that the entry affects up to a checkpoint. An inner error is the reason for which an event can
    /// still not be read.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        model: &'m Model,
        parked: &ParkedEntry,
        at: Checkpoint,
    ) -> Result<Result<Self, String>, Fault> {
        let (places, stream) = match parked {
            ParkedEntry::Key { place, .. } => (BTreeSet::from([place.clone()]), None),
            ParkedEntry::Stream { place, position, .. } => {
                match places_of_stream(connection, model, place, (*position, at)).await? {
                    Ok(places) => (places, Some((place.clone(), *position))),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
        };
        let mut skipped = parked_streams(connection, model, parked.tenant()).await?;
        if let Some((place, _)) = &stream {
            skipped.remove(&(place.stream_type.to_string(), place.stream));
        }
        let (mut fold, mut late) = (model.begin_fold(), model.begin_fold());
        fold.restrict_to(places.clone());
        late.leave_out(places.clone());
        let (tenant, begun_at, others) = (parked.tenant(), at.position, BTreeSet::new());
        Ok(Ok(Self { model, tenant, stream, skipped, after: 0, begun_at, places, fold, late, others }))
    }

    /// Folds the tenant's further events up to a checkpoint. An inner error is the reason for which that is impossible.
    pub(super) async fn fold_up_to(
        &mut self,
        connection: &mut PgConnection,
        at: Checkpoint,
    ) -> Result<Result<(), String>, Fault> {
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
            let id = || (event.stream_type.to_string(), event.stream);
            if !self.skipped.is_empty() && self.skipped.get(&id()).is_some_and(|from| event.position >= *from) {
                continue;
            }
            let is_late = event.position > self.begun_at;
            let read = match &self.stream {
                Some((place, from)) if event.position >= *from && StreamPlace::of(event) == *place => {
                    self.late.read(event).and_then(|()| self.fold.read(event))
                }
                _ => {
                    if is_late {
                        self.others.extend(affected(self.model, [event]));
                    }
                    self.fold.read(event)
                }
            };
            let place = || format!("lane {}, position {}", event.lane, event.position);
            read.map_err(|unreadable| format!("{}: {unreadable}", place()))?;
        }
        refused(&self.fold.fold())
    }

    /// The rows as they must be, with the places that were folded from the first event on. A place whose events make no row
    /// has none. An inner error is the reason for which a row cannot be folded.
    pub(super) async fn into_changes(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<Result<(BTreeSet<Place>, Vec<Change>), String>, Fault> {
        let late = self.late.missing();
        if late.iter().any(|place| self.others.contains(place)) {
            return Ok(Err("a new row was changed by several streams meanwhile; it is tried again".into()));
        }
        let loaded = load(connection, &Table::live(self.model), &late).await?;
        for (place, stored) in late.iter().zip(&loaded) {
            self.late.supply(place, stored.row.as_deref(), stored.waiting);
        }
        let mut parked = self.late.fold();
        let (mut changes, unwritable) = self.fold.drain();
        let (late_changes, late_unwritable) = self.late.drain();
        parked.extend(unwritable.into_iter().chain(late_unwritable));
        if let Err(reason) = refused(&parked) {
            return Ok(Err(reason));
        }
        let changed: BTreeSet<_> = changes.iter().map(|change| change.place.clone()).collect();
        let missing = self.places.iter().filter(|place| !changed.contains(*place)).cloned();
        changes.extend(missing.map(|place| Change { place, row: None }));
        changes.extend(late_changes);
        Ok(Ok((self.places, changes)))
    }
}

/// The reason for the first parked event, if there is one.
fn refused(parked: &[Parked]) -> Result<(), String> {
    parked.first().map_or(Ok(()), |event| Err(event.reason.clone()))
}

/// Places of the rows that events of a parked stream affect, up to a checkpoint.
async fn places_of_stream(
    connection: &mut PgConnection,
    model: &Model,
    place: &StreamPlace,
    (mut from, at): (i64, Checkpoint),
) -> Result<Result<BTreeSet<Place>, String>, Fault> {
    let mut places = BTreeSet::new();
    loop {
        let events = events_of_parked_stream(connection, place, (from, at), PAGE).await?;
        let Some(last) = events.last() else { return Ok(Ok(places)) };
        let mut reader = model.begin_fold();
        if let Some(unreadable) = events.iter().find_map(|event| reader.read(event).err()) {
            return Ok(Err(unreadable.to_string()));
        }
        places.extend(affected(model, &events));
        from = last.position + 1;
    }
}

/// Parked streams of a tenant, with the positions from which on their events are not folded.
async fn parked_streams(
    connection: &mut PgConnection,
    model: &Model,
    tenant: TenantId,
) -> Result<HashMap<(String, Uuid), i64>, Fault> {
    let text = "SELECT stream_type, stream_id, min(position) FROM reads.parked
                WHERE model = $1 AND shape = $2 AND tenant = $3 AND stream_id IS NOT NULL GROUP BY 1, 2";
    let streams: Vec<(String, Uuid, i64)> = sqlx::query_as(text)
        .bind(&model.name)
        .bind(&model.shape)
        .bind(tenant.uuid())
        .fetch_all(connection)
        .await
        .map_err(fault("reading parked streams"))?;
    Ok(streams.into_iter().map(|(stream_type, stream, position)| ((stream_type, stream), position)).collect())
}
