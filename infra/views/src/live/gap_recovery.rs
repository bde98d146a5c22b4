//! Gap recovery: finds changes whose row notices were missed. The events in the log show which rows are affected; the
//! row store has their current values.

use std::collections::HashMap;

use api::port::Freshness;
use domain::kernel::Unreadable;
use domain::shared::TenantId;
use projections::kernel::{Change, Model, Place};
use projections::ports::{Cause, Checkpoint, Fault, RawEvent};
use projections::projector::affected;
use sqlx::PgPool;

use super::registry::SubscriptionRegistry;
use crate::store::Snapshot;

/// Maximum number of events that a recovery searches: of the lane, or of one tenant if a subscriber resumes. If there
/// are more, the subscribers start over.
const EVENTS_MOST: i64 = 20_000;
/// Events of one read.
const EVENTS_PER_READ: usize = 2_000;

/// Result of the recovery of one read model in one lane.
pub(super) enum Recovery {
    /// No change was missed, or the model has no checkpoint in the lane.
    UpToDate,
    /// The changes of watched rows up to this checkpoint, each with the position of its tenant.
    Changes(Checkpoint, Vec<(Change, Freshness)>),
    /// The gap is too large, or the log was restored to a moment before the queued checkpoint: subscribers must start
    /// over.
    StartOver,
}

/// Finds the changes of watched rows of a read model since a checkpoint, of all tenants.
pub(super) async fn recover(
    pool: &PgPool,
    model: &Model,
    since: Checkpoint,
    registry: &SubscriptionRegistry,
) -> Result<Recovery, Fault> {
    let Some(mut snapshot) = Snapshot::take(pool, model, since.lane).await? else { return Ok(Recovery::UpToDate) };
    let at = snapshot.at;
    if at == since {
        return Ok(Recovery::UpToDate);
    }
    let lost = at.epoch != since.epoch && !snapshot.epochs().await?.agrees(since.position, since.epoch);
    if lost || !(0..=EVENTS_MOST).contains(&(at.position - since.position)) {
        return Ok(Recovery::StartOver);
    }
    // The registry is read after the snapshot was taken: a subscriber added later reads rows that are at least as new.
    let tenants = registry.watched_tenants(&model.name);
    let is_watched = |event: &RawEvent| tenants.contains(&event.tenant) && model.streams.contains(&&*event.stream_type);
    let (mut events, mut after) = (Vec::new(), since.position);
    while after < at.position {
        let read = snapshot.events(after, EVENTS_PER_READ).await?;
        let Some(last) = read.last() else { break };
        after = last.position;
        events.extend(read.into_iter().filter(|event| event.position <= at.position && is_watched(event)));
    }
    changes(snapshot, model, &events, |place| registry.is_watched(&model.name, place)).await
}

/// Finds the changes of one tenant's rows since the position of one of its events, or since position 0.
pub(super) async fn recover_tenant(
    pool: &PgPool,
    model: &Model,
    tenant: TenantId,
    since: Checkpoint,
) -> Result<Recovery, Fault> {
    let snapshot = Snapshot::take_for(pool, model, since.lane, tenant).await?;
    let Some(mut snapshot) = snapshot else { return Ok(Recovery::UpToDate) };
    let begin = if since.position == 0 { Some(0) } else { snapshot.tenant_position_at(tenant, since.position).await? };
    let (Some(begin), end) = (begin, snapshot.last_processed(tenant).await?.unwrap_or(0)) else {
        return Ok(Recovery::StartOver);
    };
    if !(0..=EVENTS_MOST).contains(&(end - begin)) {
        return Ok(Recovery::StartOver);
    }
    let events = snapshot.events_of(tenant, begin, end).await?;
    changes(snapshot, model, &events, |_| true).await
}

/// Current values of the rows affected by these events, as far as they are watched.
async fn changes(
    snapshot: Snapshot<'_>,
    model: &Model,
    events: &[RawEvent],
    is_watched: impl Fn(&Place) -> bool,
) -> Result<Recovery, Fault> {
    let at = snapshot.at;
    let last: HashMap<_, _> = events.iter().map(|event| (event.tenant, freshness(event))).collect();
    let corrupt =
        |error: Unreadable| Fault::caused(Cause::Corrupt, format!("reading events for {}", model.name), error);
    let places: Vec<Place> = affected(model, events).into_iter().filter(is_watched).collect();
    let rows = if places.is_empty() { Vec::new() } else { snapshot.rows(&places).await? };
    let mut changes = Vec::with_capacity(places.len());
    for (place, row) in places.into_iter().zip(rows) {
        let row = row.map(|row| model.canonical(&row)).transpose().map_err(corrupt)?;
        if let Some(at) = last.get(&place.tenant) {
            changes.push((Change { place, row }, *at));
        }
    }
    Ok(Recovery::Changes(at, changes))
}

fn freshness(event: &RawEvent) -> Freshness {
    Freshness { tenant_position: event.tenant_position, epoch: event.epoch }
}
