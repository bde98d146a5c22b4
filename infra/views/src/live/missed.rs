//! What became of rows while nobody told: the log says which rows, the store says what they are now.

use std::collections::HashMap;

use api::port::Freshness;
use domain::kernel::Unreadable;
use domain::shared::TenantId;
use projections::kernel::{Change, Model, Place};
use projections::ports::{Cause, Checkpoint, Fault, RawEvent};
use projections::projector::affected;
use sqlx::PgPool;

use super::watchers::Watchers;
use crate::store::Snapshot;

/// Events that are looked through at most, those of one tenant where only she is meant; whoever is further behind
/// begins anew.
const EVENTS_MOST: i64 = 20_000;
/// Events that are read at a time.
const EVENTS_AT_A_TIME: usize = 2_000;

/// What is known of a read model in one lane after a look.
pub(super) enum Missed {
    Nothing,
    /// Up to here, these rows of those who are watched have changed.
    Changes(Checkpoint, Vec<(Change, Freshness)>),
    /// It is too much to find out, or the history that was told was lost.
    Everything,
}

/// Finds out how the watched rows of a read model have changed since a checkpoint.
pub(super) async fn missed(
    pool: &PgPool,
    model: &Model,
    since: Checkpoint,
    watchers: &Watchers,
) -> Result<Missed, Fault> {
    let Some(mut now) = Snapshot::take(pool, model, since.lane).await? else { return Ok(Missed::Nothing) };
    let at = now.at;
    if at == since {
        return Ok(Missed::Nothing);
    }
    let lost = at.epoch != since.epoch && !now.epochs().await?.agrees(since.position, since.epoch);
    if lost || !(0..=EVENTS_MOST).contains(&(at.position - since.position)) {
        return Ok(Missed::Everything);
    }
    // Who watches is asked after the snapshot was taken: whoever joins later reads rows that are at least as new.
    let tenants = watchers.tenants(&model.name);
    let concerns = |event: &RawEvent| tenants.contains(&event.tenant) && model.streams.contains(&&*event.stream_type);
    let (mut events, mut after) = (Vec::new(), since.position);
    while after < at.position {
        let read = now.events(after, EVENTS_AT_A_TIME).await?;
        let Some(last) = read.last() else { break };
        after = last.position;
        events.extend(read.into_iter().filter(|event| event.position <= at.position && concerns(event)));
    }
    changes(now, model, &events, |place| watchers.watch(&model.name, place)).await
}

/// Finds out how the rows of one tenant have changed since she wrote at a position of the lane.
pub(super) async fn missed_by(
    pool: &PgPool,
    model: &Model,
    tenant: TenantId,
    since: Checkpoint,
) -> Result<Missed, Fault> {
    let Some(mut now) = Snapshot::take(pool, model, since.lane).await? else { return Ok(Missed::Nothing) };
    let begin = if since.position == 0 { Some(0) } else { now.written(tenant, since.position).await? };
    let (Some(begin), end) = (begin, now.last_taken(tenant).await?.unwrap_or(0)) else {
        return Ok(Missed::Everything);
    };
    if !(0..=EVENTS_MOST).contains(&(end - begin)) {
        return Ok(Missed::Everything);
    }
    let events = now.events_of(tenant, begin, end).await?;
    changes(now, model, &events, |_| true).await
}

/// What the rows that these events concern are now, where they are of interest.
async fn changes(
    now: Snapshot<'_>,
    model: &Model,
    events: &[RawEvent],
    of_interest: impl Fn(&Place) -> bool,
) -> Result<Missed, Fault> {
    let (at, last) = (now.at, events.iter().map(|event| (event.tenant, position(event))).collect::<HashMap<_, _>>());
    let corrupt =
        |error: Unreadable| Fault::caused(Cause::Corrupt, format!("reading events for {}", model.name), error);
    let places: Vec<Place> = affected(model, events).map_err(corrupt)?.into_iter().filter(of_interest).collect();
    let rows = if places.is_empty() { Vec::new() } else { now.rows(&places).await? };
    let mut changes = Vec::with_capacity(places.len());
    for (place, row) in places.into_iter().zip(rows) {
        let row = row.map(|row| model.canonical(&row)).transpose().map_err(corrupt)?;
        if let Some(at) = last.get(&place.tenant) {
            changes.push((Change { place, row }, *at));
        }
    }
    Ok(Missed::Changes(at, changes))
}

fn position(event: &RawEvent) -> Freshness {
    Freshness { tenant_position: event.tenant_position, epoch: event.epoch }
}
