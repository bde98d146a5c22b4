//! History on PostgreSQL: reads events, lane heads and epochs from the tables of the log.

use std::time::Duration;

use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use futures::{Stream, TryStreamExt};
use platform::clock::POSTGRES_EPOCH;
use platform::connectivity::within_statement_timeout;
use projections::ports::{Cause, Checkpoint, DecodedEvent, Epochs, Fault, History, HistoryScan, RawEvent};
use serde::Deserialize;
use sqlx::postgres::{PgRow, PgValueRef};
use sqlx::{PgExecutor, PgPool, Row};
use tokio::time::timeout;
use uuid::Uuid;

use crate::fault;

/// Time limit of one page. A longer wait means that the connection is dead although TCP has not noticed.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Implementation of [`History`] on the tables of the log.
#[derive(Clone, Debug)]
pub struct PgHistory {
    pool: PgPool,
}

impl PgHistory {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

impl History for PgHistory {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        let pool = self.pool.clone();
        in_own_task(async move { page(&pool, lane, after, most).await }).await
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        let rows: Vec<(i16, Option<i64>, Option<i64>)> =
            within_statement_timeout(sqlx::query_as(HEADS).fetch_all(&self.pool))
                .await
                .map_err(fault("reading the heads of all lanes"))?;
        let head = |(lane, position, epoch): (i16, Option<i64>, Option<i64>)| Checkpoint {
            lane,
            position: position.unwrap_or(0),
            epoch: epoch.unwrap_or(0),
        };
        Ok(rows.into_iter().map(head).collect())
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        epochs(&self.pool, lane).await
    }
}

impl HistoryScan for PgHistory {
    async fn scan(&self, lane: i16, range: (i64, i64), streams: &[&str]) -> Result<Vec<RawEvent>, Fault> {
        let (pool, streams) = (self.pool.clone(), streams.iter().copied().map(String::from).collect());
        in_own_task(async move { scan(&pool, lane, range, streams).await }).await
    }

    async fn count(&self, lane: i16, (after, upto): (i64, i64)) -> Result<i64, Fault> {
        let text = "SELECT count(*) FROM log.events WHERE lane = $1 AND position > $2 AND position <= $3";
        let count = sqlx::query_scalar(text).bind(lane).bind(after).bind(upto).fetch_one(&self.pool);
        count.await.map_err(fault(format!("counting the events of lane {lane}")))
    }
}

/// Reads a page in a task of its own. Decoding takes more than half of the time of a read; a rebuild folds one page while
/// it waits for the next, so that decoding and folding run in parallel.
async fn in_own_task(
    read: impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send + 'static,
) -> Result<Vec<RawEvent>, Fault> {
    let doing = "waiting for a page of the log";
    match tokio::spawn(timeout(PAGE_TIMEOUT, read)).await {
        Ok(page) => page.unwrap_or_else(|late| Err(Fault::caused(Cause::Unavailable, doing, late))),
        Err(broken) => Err(Fault::caused(Cause::Unavailable, doing, broken)),
    }
}

/// Statement of one page. Positions are dense, so the n events after a position are those at the next n positions. With
/// a `LIMIT` instead, the planner, which does not know how many events follow, may sort all of them for every page.
const EVENTS: &str = "SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, sequence, \
    principal, command_id, command_index, type, version, payload, meta, occurred_at, recorded_at \
    FROM log.events WHERE lane = $1 AND position > $2 AND position <= $3 ORDER BY position";

/// Statement of a page with the events in streams of some types. The filter saves the transport and the decoding of all
/// others; an index on the types would cost every commit more than it saves the rare scan.
const EVENTS_OF_TYPES: &str = "SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, sequence, \
    principal, command_id, command_index, type, version, payload, meta, occurred_at, recorded_at \
    FROM log.events WHERE lane = $1 AND position > $2 AND position <= $3 AND stream_type = ANY($4) ORDER BY position";

/// Statement of the events of one tenant in streams of some types. A page is a range of tenant positions; it holds fewer
/// events than positions, because of the types.
const EVENTS_OF_TENANT: &str = "SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, \
    sequence, principal, command_id, command_index, type, version, payload, meta, occurred_at, recorded_at \
    FROM log.events WHERE lane = $1 AND tenant = $2 AND tenant_position > $3 AND tenant_position <= $4 \
    AND stream_type = ANY($5) ORDER BY tenant_position";

/// Statement of the events of one stream.
const EVENTS_OF_STREAM: &str = "SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, \
    sequence, principal, command_id, command_index, type, version, payload, meta, occurred_at, recorded_at \
    FROM log.events WHERE lane = $1 AND tenant = $2 AND stream_type = $3 AND stream_id = $4 \
    AND sequence > $5 AND position <= $6 ORDER BY sequence LIMIT $7";

const HEADS: &str = "SELECT l.lane, e.position, e.epoch FROM log.lanes l LEFT JOIN LATERAL \
    (SELECT position, epoch FROM log.events WHERE lane = l.lane ORDER BY position DESC LIMIT 1) e ON true \
    ORDER BY l.lane";

/// Epochs of a lane with their first positions, oldest first.
pub async fn epochs(store: impl PgExecutor<'_>, lane: i16) -> Result<Epochs, Fault> {
    let epochs = sqlx::query_as("SELECT epoch, first_position FROM log.epochs WHERE lane = $1 ORDER BY since");
    let epochs = within_statement_timeout(epochs.bind(lane).fetch_all(store)).await;
    Ok(Epochs::new(epochs.map_err(fault(format!("reading the epochs of lane {lane}")))?))
}

/// Events of a lane after a position, at most `most`.
pub async fn page(store: impl PgExecutor<'_>, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
    let doing = || format!("reading lane {lane} after position {after}");
    let upto = after.saturating_add(i64::try_from(most).unwrap_or(i64::MAX));
    decode_all(sqlx::query(EVENTS).bind(lane).bind(after).bind(upto).fetch(store), doing).await
}

/// Events of a lane with `after < position <= upto` in streams of these types.
async fn scan(
    pool: &PgPool,
    lane: i16,
    (after, upto): (i64, i64),
    streams: Vec<String>,
) -> Result<Vec<RawEvent>, Fault> {
    let doing = || format!("reading lane {lane} after position {after}");
    let rows = sqlx::query(EVENTS_OF_TYPES).bind(lane).bind(after).bind(upto).bind(streams);
    decode_all(rows.fetch(pool), doing).await
}

async fn decode_all(
    mut rows: impl Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
    doing: impl Fn() -> String,
) -> Result<Vec<RawEvent>, Fault> {
    let mut events = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(fault(doing()))? {
        events.push(decode_event(&row).map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))?);
    }
    Ok(events)
}

/// Events of a tenant with `after < tenant position <= upto`, in streams of these types.
pub async fn events_of_tenant(
    store: impl PgExecutor<'_>,
    (lane, tenant): (i16, TenantId),
    (after, upto): (i64, i64),
    streams: &[&str],
) -> Result<Vec<RawEvent>, Fault> {
    let doing = || format!("reading the events of a tenant in lane {lane}");
    let events = sqlx::query(EVENTS_OF_TENANT).bind(lane).bind(tenant.uuid()).bind(after).bind(upto).bind(streams);
    let rows = events.fetch_all(store).await.map_err(fault(doing()))?;
    rows.iter().map(|row| decode_event(row).map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))).collect()
}

/// Events of one stream after a number within the stream, up to a position of the lane, at most `most`.
pub async fn events_of_stream(
    store: impl PgExecutor<'_>,
    (lane, tenant): (i16, TenantId),
    (stream_type, stream): (&str, Uuid),
    (after, upto): (i64, i64),
    most: i64,
) -> Result<Vec<RawEvent>, Fault> {
    let doing = || format!("reading a stream of lane {lane}");
    let events = sqlx::query(EVENTS_OF_STREAM).bind(lane).bind(tenant.uuid()).bind(stream_type).bind(stream);
    let rows = events.bind(after).bind(upto).bind(most).fetch_all(store).await.map_err(fault(doing()))?;
    rows.iter().map(|row| decode_event(row).map_err(|error| Fault::caused(Cause::Corrupt, doing(), error))).collect()
}

/// Decodes one row with the columns of the log's queries in their order, straight from the binary protocol, because this
/// function bounds the speed of a replay.
pub fn decode_event(row: &PgRow) -> Result<RawEvent, sqlx::Error> {
    let value = |column: usize| row.try_get_raw(column);
    // An event whose meta cannot be read does not fail the page. It is returned as unreadable, and only those who read
    // this event must deal with it.
    let (meta, decoded) = match EventMeta::parse(text(&value(14)?)?) {
        Ok(meta) => (meta, DecodedEvent::default()),
        Err(error) => (EventMeta::unreadable(), DecodedEvent::unreadable(format!("its meta: {error}"))),
    };
    Ok(RawEvent {
        lane: i16::from_be_bytes(bytes(&value(0)?)?),
        position: i64::from_be_bytes(bytes(&value(1)?)?),
        epoch: i64::from_be_bytes(bytes(&value(2)?)?),
        tenant: TenantId::new(Uuid::from_bytes(bytes(&value(3)?)?)),
        tenant_position: i64::from_be_bytes(bytes(&value(4)?)?),
        stream_type: text(&value(5)?)?.into(),
        stream: Uuid::from_bytes(bytes(&value(6)?)?),
        sequence: i64::from_be_bytes(bytes(&value(7)?)?),
        principal: Principal::new(Uuid::from_bytes(bytes(&value(8)?)?)),
        command: CommandId::new(Uuid::from_bytes(bytes(&value(9)?)?)),
        index: i16::from_be_bytes(bytes(&value(10)?)?),
        kind: text(&value(11)?)?.into(),
        version: i16::from_be_bytes(bytes(&value(12)?)?),
        payload: text(&value(13)?)?.into(),
        actor: meta.actor,
        correlation: meta.correlation,
        occurred_at: timestamp(bytes(&value(15)?)?),
        recorded_at: timestamp(bytes(&value(16)?)?),
        decoded,
    })
}

/// Those fields of an event's meta that read models and policies use.
#[derive(Deserialize)]
pub(crate) struct EventMeta {
    pub(crate) actor: Actor,
    pub(crate) correlation: Option<Uuid>,
}

impl EventMeta {
    pub(crate) fn parse(meta: &str) -> serde_json::Result<Self> {
        serde_json::from_str(meta)
    }

    /// Placeholder for a meta that cannot be parsed.
    fn unreadable() -> Self {
        Self { actor: Actor::Engine(String::new()), correlation: None }
    }
}

fn text<'r>(value: &PgValueRef<'r>) -> Result<&'r str, sqlx::Error> {
    value.as_str().map_err(sqlx::Error::Decode)
}

fn bytes<const N: usize>(value: &PgValueRef<'_>) -> Result<[u8; N], sqlx::Error> {
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    bytes.try_into().map_err(|_| sqlx::Error::Decode(format!("{N} bytes expected, not {}", bytes.len()).into()))
}

fn timestamp(micros: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(micros).saturating_add(POSTGRES_EPOCH))
}
