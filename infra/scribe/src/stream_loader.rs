//! Loader of streams: folds a snapshot and the later events, a page at a time.

use std::collections::HashMap;

use commands::kernel::{StateRegistry, StreamRef};
use commands::scribe::{Load, LoadOutcome, LoadResult, LoadedState, StreamKey};
use sqlx::PgPool;

/// Number of events that are read in a round; at least [`PAGE_LEAST`] of each stream. A page is read and folded in well
/// under a second.
const ROUND_EVENTS: usize = 20_000;
/// Smallest page of a stream. Streams with a current snapshot rarely have more events after it.
const PAGE_LEAST: usize = 100;

/// A stream of which some events are folded and others not yet.
pub(super) struct Folding {
    load: Load,
    key: StreamKey,
    state: LoadedState,
}

impl Folding {
    pub(super) fn load(&self) -> Load {
        self.load
    }
}

/// Starts these streams from their snapshots and folds the next page of them and of the unfinished ones. Returns the
/// outcomes of the streams that are complete or cannot be read, and the streams that have more events.
pub(super) async fn load_page(
    pool: &PgPool,
    registry: &StateRegistry,
    wanted: Vec<(Load, StreamKey)>,
    mut unfinished: Vec<Folding>,
) -> (Vec<LoadOutcome>, Vec<Folding>) {
    let mut outcomes = Vec::with_capacity(wanted.len());
    if !wanted.is_empty() {
        match start_from_snapshots(pool, registry, &wanted).await {
            Ok(states) => {
                for ((load, key), state) in wanted.into_iter().zip(states) {
                    match state {
                        Some(state) => unfinished.push(Folding { load, key, state }),
                        None => outcomes.push(unreadable(load, "the stream type is unknown".into())),
                    }
                }
            }
            Err(error) => outcomes.extend(unavailable(wanted.into_iter().map(|(load, _)| load), &error)),
        }
    }
    if unfinished.is_empty() {
        return (outcomes, unfinished);
    }
    let page = (ROUND_EVENTS / unfinished.len()).max(PAGE_LEAST);
    match read_page(pool, &unfinished, page).await {
        Ok(events) => {
            let rest = fold(unfinished, events, page, &mut outcomes);
            (outcomes, rest)
        }
        Err(error) => {
            outcomes.extend(unavailable(unfinished.iter().map(Folding::load), &error));
            (outcomes, vec![])
        }
    }
}

fn unreadable(load: Load, reason: String) -> LoadOutcome {
    LoadOutcome { load, result: LoadResult::Unreadable(reason) }
}

fn unavailable(loads: impl Iterator<Item = Load>, error: &sqlx::Error) -> impl Iterator<Item = LoadOutcome> {
    tracing::warn!(%error, "streams cannot be read");
    loads.map(|load| LoadOutcome { load, result: LoadResult::Unavailable })
}

/// One stored event: number of its stream in the request, from 1, then sequence, name, version and payload.
type StoredRow = (i64, i64, String, i16, String);

/// Reads the next events of each stream, at most `page` of each.
async fn read_page(pool: &PgPool, streams: &[Folding], page: usize) -> Result<Vec<StoredRow>, sqlx::Error> {
    let lanes: Vec<_> = streams.iter().map(|stream| stream.load.lane.0).collect();
    let tenants: Vec<_> = streams.iter().map(|stream| stream.key.tenant.uuid()).collect();
    let types: Vec<_> = streams.iter().map(|stream| stream.key.stream.stream_type).collect();
    let ids: Vec<_> = streams.iter().map(|stream| stream.key.stream.id).collect();
    let after: Vec<_> = streams.iter().map(|stream| stream.state.sequence).collect();
    let text = "SELECT k.number, e.sequence, e.type, e.version, e.payload::text
                FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[]) WITH ORDINALITY
                     AS k(lane, tenant, stream_type, stream_id, after, number)
                CROSS JOIN LATERAL (
                    SELECT e.sequence, e.type, e.version, e.payload FROM log.events e
                    WHERE e.lane = k.lane AND e.tenant = k.tenant AND e.stream_type = k.stream_type
                      AND e.stream_id = k.stream_id AND e.sequence > k.after
                    ORDER BY e.sequence LIMIT $6
                ) e";
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    let query = sqlx::query_as(text).bind(lanes).bind(tenants).bind(types).bind(ids).bind(after).bind(page);
    query.fetch_all(pool).await
}

/// Folds a page of events. Adds the outcomes of the streams that are complete or broken, and returns the others: those of
/// which the page was full.
fn fold(
    mut streams: Vec<Folding>,
    events: Vec<StoredRow>,
    page: usize,
    outcomes: &mut Vec<LoadOutcome>,
) -> Vec<Folding> {
    let mut broken: HashMap<usize, String> = HashMap::new();
    let mut counts = vec![0_usize; streams.len()];
    for (number, sequence, name, version, payload) in events {
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let (Some(Folding { state: loaded, .. }), Some(count)) = (streams.get_mut(place), counts.get_mut(place)) else {
            continue;
        };
        *count += 1;
        loaded.tail_bytes = loaded.tail_bytes.saturating_add(payload.len());
        let reason = match loaded.state.replay(&name, version, &payload) {
            Ok(()) if sequence == loaded.sequence.saturating_add(1) => {
                loaded.sequence = sequence;
                continue;
            }
            Ok(()) => format!("event {sequence} follows event {}", loaded.sequence),
            Err(unreadable) => unreadable.to_string(),
        };
        broken.entry(place).or_insert(reason);
    }
    let mut rest = Vec::new();
    for (place, (stream, count)) in streams.into_iter().zip(counts).enumerate() {
        match broken.remove(&place) {
            Some(reason) => outcomes.push(unreadable(stream.load, reason)),
            None if count == page => rest.push(stream),
            None => outcomes.push(LoadOutcome { load: stream.load, result: LoadResult::Stream(stream.state) }),
        }
    }
    rest
}

/// State of each stream from its snapshot, or the initial state if there is no snapshot of the current state version.
/// `None` for an unknown stream type.
async fn start_from_snapshots(
    pool: &PgPool,
    registry: &StateRegistry,
    wanted: &[(Load, StreamKey)],
) -> Result<Vec<Option<LoadedState>>, sqlx::Error> {
    let lanes: Vec<_> = wanted.iter().map(|(load, _)| load.lane.0).collect();
    let tenants: Vec<_> = wanted.iter().map(|(_, key)| key.tenant.uuid()).collect();
    let types: Vec<_> = wanted.iter().map(|(_, key)| key.stream.stream_type).collect();
    let ids: Vec<_> = wanted.iter().map(|(_, key)| key.stream.id).collect();
    let text = "SELECT k.number, s.state_version, s.sequence, s.state
                FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[]) WITH ORDINALITY
                     AS k(lane, tenant, stream_type, stream_id, number)
                CROSS JOIN LATERAL (
                    SELECT s.state_version, s.sequence, s.state::text AS state FROM log.snapshots s
                    WHERE s.lane = k.lane AND s.tenant = k.tenant AND s.stream_type = k.stream_type
                      AND s.stream_id = k.stream_id
                    LIMIT 1
                ) s";
    let query = sqlx::query_as::<_, (i64, i32, i64, String)>(text).bind(lanes).bind(tenants).bind(types).bind(ids);
    let fresh = |stream: StreamRef| {
        let state = registry.get(stream.stream_type)?.fresh();
        Some(LoadedState { state, sequence: 0, snapshot_bytes: 0, tail_bytes: 0 })
    };
    let mut states: Vec<_> = wanted.iter().map(|(_, key)| fresh(key.stream)).collect();
    for (number, state_version, sequence, text) in query.fetch_all(pool).await? {
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let descriptor = wanted.get(place).and_then(|(_, key)| registry.get(key.stream.stream_type));
        if let (Some(state), Some(slot)) =
            (descriptor.and_then(|descriptor| descriptor.restore(state_version, &text)), states.get_mut(place))
        {
            *slot = Some(LoadedState { state, sequence, snapshot_bytes: text.len(), tail_bytes: 0 });
        }
    }
    Ok(states)
}
