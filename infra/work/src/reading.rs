//! Reads what is new in all lanes that somebody follows: what this process has just written from memory, the rest in one
//! statement.

use std::collections::{BTreeMap, BTreeSet};

use commands::kernel::StoredEvent;
use commands::scribe::{EventRow, LaneId};
use domain::kernel::Recorded;
use projections::ports::RawEvent;
use sqlx::{PgPool, Row};

use super::Lanes;
use super::positions::Positions;
use event_log::Tail;
use event_log::history::event;
use event_log::raw;

/// Positions of one lane that are looked at before it is written down that they were.
pub(super) const SPAN: i64 = 1_000;

/// Where lanes end and who writes them. A lane without news still says in which epoch it is; after a restore it is one
/// that was never seen.
const ENDS: &str = "
    SELECT l.lane, l.epoch, head.position FROM log.lanes l LEFT JOIN LATERAL
        (SELECT position FROM log.events WHERE lane = l.lane ORDER BY position DESC LIMIT 1) AS head ON true
    WHERE l.lane = ANY($1)";

/// Nothing is said about events that nobody listens to. The limit limits nothing: it keeps the server from reading whole
/// lanes and comparing afterwards.
const NEWS: &str = "
    SELECT e.lane, e.position, e.epoch, e.tenant, e.tenant_position, e.stream_type, e.stream_id, e.sequence,
           e.principal, e.command_id, e.command_index, e.type, e.version, e.payload, e.meta, e.occurred_at, e.recorded_at
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS f(lane, after, upto)
    CROSS JOIN LATERAL (
        SELECT * FROM log.events
        WHERE lane = f.lane AND position > f.after AND position <= f.upto AND type = ANY($4)
        ORDER BY position LIMIT f.upto - f.after) AS e";

/// What is new in one lane.
pub(super) struct News {
    /// Up to where was looked.
    pub(super) upto: i64,
    /// The events that somebody listens to, in order.
    pub(super) events: Vec<RawEvent>,
}

/// The event as the log stores it.
pub(super) fn stored(event: &RawEvent) -> Recorded<StoredEvent<'_>> {
    event.recorded(StoredEvent { name: &event.kind, version: event.version, payload: &event.payload })
}

/// What is new in these lanes after these positions, with the events of these names. Nothing at all where a lane is
/// written by somebody of whom the positions do not know.
pub(super) async fn read_news(
    pool: &PgPool,
    lanes: &Lanes,
    positions: &Positions,
    of: &BTreeSet<LaneId>,
    names: &[&str],
) -> Result<Option<BTreeMap<LaneId, News>>, sqlx::Error> {
    let mut news = BTreeMap::new();
    let mut unread = Vec::new();
    let mut transaction = pool.begin().await?;
    // Planning for every partition takes longer than reading; the plan does not depend on where anybody stands.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let numbers: Vec<i16> = of.iter().map(|lane| lane.0).collect();
    let ends: Vec<(i16, i64, Option<i64>)> = sqlx::query_as(ENDS).bind(numbers).fetch_all(&mut *transaction).await?;
    for (lane, epoch, end) in ends {
        let lane = LaneId(lane);
        if !positions.know(lane, epoch) {
            return Ok(None);
        }
        let Some((from, end)) = positions.after(lane).zip(end).filter(|(from, end)| from < end) else { continue };
        let upto = end.min(from.saturating_add(SPAN));
        let written = lanes.tail().and_then(|tail| just_written(tail, lane, epoch, (from, upto), names));
        if written.is_none() {
            unread.push((lane.0, from, upto));
        }
        news.insert(lane, News { upto, events: written.unwrap_or_default() });
    }
    if !unread.is_empty() {
        let rows = sqlx::query(NEWS)
            .bind(unread.iter().map(|(lane, ..)| *lane).collect::<Vec<_>>())
            .bind(unread.iter().map(|(_, from, _)| *from).collect::<Vec<_>>())
            .bind(unread.iter().map(|(.., upto)| *upto).collect::<Vec<_>>())
            .bind(names);
        let mut stopped = BTreeSet::new();
        for row in &rows.fetch_all(&mut *transaction).await? {
            let (lane, position): (_, i64) = (LaneId(row.try_get(0)?), row.try_get(1)?);
            let Some(news) = news.get_mut(&lane).filter(|_| !stopped.contains(&lane)) else { continue };
            match event(row) {
                Ok(event) => news.events.push(event),
                // The lane stands still before it, until somebody mends it; others go on.
                Err(error) => {
                    news.upto = position.saturating_sub(1);
                    stopped.insert(lane);
                    metrics::counter!("cartulary_policies_stopped_total").increment(1);
                    tracing::error!(lane = lane.0, position, %error, "policies cannot read an event");
                }
            }
        }
    }
    transaction.commit().await?;
    news.retain(|lane, news| positions.after(*lane).is_some_and(|from| from < news.upto));
    Ok(Some(news))
}

/// The events of a lane after one position up to another, from memory; nothing where the log has to be asked.
fn just_written(
    tail: &Tail,
    lane: LaneId,
    epoch: i64,
    (from, upto): (i64, i64),
    names: &[&str],
) -> Option<Vec<RawEvent>> {
    let most = usize::try_from(upto - from).ok()?;
    let read = |row: &EventRow, written: i64| {
        let listened = names.contains(&row.name.as_str()).then(|| raw(lane.0, written, row));
        (row.position, written == epoch, listened)
    };
    let rows = tail.after(lane, from, most, read)?;
    let whole = rows.last().is_some_and(|(last, ..)| *last == upto) && rows.iter().all(|(_, ours, _)| *ours);
    // One that does not read here is told by the log, with its place.
    whole.then(|| rows.into_iter().filter_map(|(.., event)| event).collect())?
}
