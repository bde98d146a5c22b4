//! Log reader of policies: takes new events from the tail of this process where it has them, and the others from
//! PostgreSQL, with one statement for all lanes.

use std::collections::{BTreeMap, BTreeSet};

use commands::kernel::StoredEvent;
use commands::scribe::{EventRow, LaneId};
use domain::kernel::Recorded;
use event_log::history::decode_event;
use event_log::{Tail, raw_event};
use projections::ports::RawEvent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use crate::lanes::Lanes;
use crate::parked_streams::PolicyStream;
use crate::positions::Positions;

/// Maximum number of positions of one lane in one read. The positions of the policies are written after each read.
pub(crate) const SPAN: i64 = 1_000;

/// Selects the last position and the epoch of each lane. The epoch is needed also of a lane without new events: an
/// unknown one shows that the lane has another writer or was restored.
const ENDS: &str = "
    SELECT l.lane, l.epoch, head.position FROM log.lanes l LEFT JOIN LATERAL
        (SELECT position FROM log.events WHERE lane = l.lane ORDER BY position DESC LIMIT 1) AS head ON true
    WHERE l.lane = ANY($1)";

/// Selects the events of these types in these ranges. LIMIT does not restrict the result; it makes the planner read
/// only the ranges instead of whole lanes.
const EVENTS: &str = "
    SELECT e.lane, e.position, e.epoch, e.tenant, e.tenant_position, e.stream_type, e.stream_id, e.sequence,
           e.principal, e.command_id, e.command_index, e.type, e.version, e.payload, e.meta, e.occurred_at,
           e.recorded_at
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS f(lane, after, upto)
    CROSS JOIN LATERAL (
        SELECT * FROM log.events
        WHERE lane = f.lane AND position > f.after AND position <= f.upto AND type = ANY($4)
        ORDER BY position LIMIT f.upto - f.after) AS e";

/// Selects the events of these types in one stream, between two positions of its lane.
const STREAM_EVENTS: &str = "
    SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, sequence, principal, command_id,
           command_index, type, version, payload, meta, occurred_at, recorded_at
    FROM log.events
    WHERE lane = $1 AND tenant = $2 AND stream_type = $3 AND stream_id = $4 AND position >= $5 AND position <= $6
      AND type = ANY($7)
    ORDER BY sequence LIMIT $8";

/// Events of one stream.
pub(crate) struct StreamEvents {
    pub(crate) read: Vec<RawEvent>,
    /// Position from which further events were not read, because there are too many.
    pub(crate) next: Option<i64>,
}

/// Reads the events of these types in a stream, from one position of its lane up to another.
pub(crate) async fn read_stream(
    pool: &PgPool,
    stream: &PolicyStream,
    (from, upto): (i64, i64),
    names: &[&str],
) -> Result<StreamEvents, sqlx::Error> {
    let rows = sqlx::query(STREAM_EVENTS)
        .bind(stream.lane.0)
        .bind(stream.tenant.uuid())
        .bind(&stream.stream_type)
        .bind(stream.stream)
        .bind(from)
        .bind(upto)
        .bind(names)
        .bind(SPAN)
        .fetch_all(pool)
        .await?;
    let read = rows.iter().map(decode_event).collect::<Result<Vec<_>, _>>()?;
    let is_full = i64::try_from(read.len()) == Ok(SPAN);
    let next = read.last().filter(|_| is_full).map(|event| event.position.saturating_add(1));
    Ok(StreamEvents { read, next })
}

/// New events of a lane: those after the positions of the policies.
pub(crate) struct NewEvents {
    /// Position up to which the lane was read.
    pub(crate) end: i64,
    /// The events up to that position to which at least one policy subscribes, in order.
    pub(crate) events: Vec<RawEvent>,
}

/// An event of the log in the type that policies take.
pub(crate) fn stored(event: &RawEvent) -> Recorded<StoredEvent<'_>> {
    event.recorded(StoredEvent { name: &event.kind, version: event.version, payload: &event.payload })
}

/// Reads the new events of these lanes that have one of these names. `None` if the epoch of a lane has changed: the
/// positions must then be read again.
pub(crate) async fn read_new_events(
    pool: &PgPool,
    lanes: &Lanes,
    positions: &Positions,
    lanes_to_read: &BTreeSet<LaneId>,
    names: &[&str],
) -> Result<Option<BTreeMap<LaneId, NewEvents>>, sqlx::Error> {
    let mut by_lane = BTreeMap::new();
    let mut unread = Vec::new();
    let mut transaction = pool.begin().await?;
    // Planning for every partition takes longer than reading, and the plan does not depend on the positions.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let numbers: Vec<i16> = lanes_to_read.iter().map(|lane| lane.0).collect();
    let ends: Vec<(i16, i64, Option<i64>)> = sqlx::query_as(ENDS).bind(numbers).fetch_all(&mut *transaction).await?;
    for (lane, epoch, end) in ends {
        let lane = LaneId(lane);
        if !positions.is_current_epoch(lane, epoch) {
            return Ok(None);
        }
        let Some((from, end)) = positions.after(lane).zip(end).filter(|(from, end)| from < end) else { continue };
        let up_to = end.min(from.saturating_add(SPAN));
        let events = lanes.tail().and_then(|tail| read_tail(tail, lane, epoch, (from, up_to), names));
        if events.is_none() {
            unread.push((lane.0, from, up_to));
        }
        by_lane.insert(lane, NewEvents { end: up_to, events: events.unwrap_or_default() });
    }
    if !unread.is_empty() {
        for row in read_rows(&mut transaction, &unread, names).await? {
            if let Some(new) = by_lane.get_mut(&LaneId(row.try_get(0)?)) {
                new.events.push(decode_event(&row)?);
            }
        }
    }
    transaction.commit().await?;
    by_lane.retain(|lane, new| positions.after(*lane).is_some_and(|from| from < new.end));
    Ok(Some(by_lane))
}

async fn read_rows(
    connection: &mut PgConnection,
    ranges: &[(i16, i64, i64)],
    names: &[&str],
) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(EVENTS)
        .bind(ranges.iter().map(|(lane, ..)| *lane).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(_, from, _)| *from).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(.., end)| *end).collect::<Vec<_>>())
        .bind(names)
        .fetch_all(connection)
        .await
}

/// Reads the events of a lane after one position and up to another from the tail; `None` if the tail does not contain
/// the whole range in this epoch.
fn read_tail(tail: &Tail, lane: LaneId, epoch: i64, (from, end): (i64, i64), names: &[&str]) -> Option<Vec<RawEvent>> {
    let most = usize::try_from(end - from).ok()?;
    let read = |row: &EventRow, written: i64| {
        let event = names.contains(&row.name.as_str()).then(|| raw_event(lane.0, written, row));
        (row.position, written == epoch, event)
    };
    let rows = tail.after(lane, from, most, read)?;
    let is_whole =
        rows.last().is_some_and(|(last, ..)| *last == end) && rows.iter().all(|(_, same_epoch, _)| *same_epoch);
    // A range with an event that cannot be decoded here is read from PostgreSQL, whose error says why.
    is_whole.then(|| rows.into_iter().filter_map(|(.., event)| event).collect())?
}
