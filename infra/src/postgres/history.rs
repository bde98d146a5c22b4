//! The log as history.

use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use projections::ports::{Cause, Checkpoint, Epochs, Fault, History, RawEvent};
use serde::Deserialize;
use sqlx::postgres::{PgRow, PgValueRef};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::fault;

/// Reads the log's tables.
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
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = sqlx::query(EVENTS).bind(lane).bind(after).bind(most).fetch_all(&self.pool).await;
        let rows = rows.map_err(fault(format!("reading lane {lane} after position {after}")))?;
        rows.iter().map(event).collect()
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        let rows: Vec<(i16, Option<i64>, Option<i64>)> =
            sqlx::query_as(HEADS).fetch_all(&self.pool).await.map_err(fault("reading the ends of all lanes"))?;
        let head = |(lane, position, epoch): (i16, Option<i64>, Option<i64>)| Checkpoint {
            lane,
            position: position.unwrap_or(0),
            epoch: epoch.unwrap_or(0),
        };
        Ok(rows.into_iter().map(head).collect())
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        let epochs = sqlx::query_as("SELECT epoch, first_position FROM log.epochs WHERE lane = $1 ORDER BY since");
        let epochs = epochs.bind(lane).fetch_all(&self.pool).await;
        Ok(Epochs::new(epochs.map_err(fault(format!("reading the epochs of lane {lane}")))?))
    }
}

const EVENTS: &str = "SELECT lane, position, epoch, tenant, tenant_position, stream_type, stream_id, sequence, \
    principal, command_id, command_index, type, version, payload, meta, occurred_at, recorded_at \
    FROM log.events WHERE lane = $1 AND position > $2 ORDER BY position LIMIT $3";

const HEADS: &str = "SELECT l.lane, e.position, e.epoch FROM log.lanes l LEFT JOIN LATERAL \
    (SELECT position, epoch FROM log.events WHERE lane = l.lane ORDER BY position DESC LIMIT 1) e ON true \
    ORDER BY l.lane";

/// One row of [`EVENTS`], read from the wire without a detour: replay is as fast as this function.
fn event(row: &PgRow) -> Result<RawEvent, Fault> {
    decoded(row).map_err(|error| Fault::caused(Cause::Corrupt, "reading an event", error))
}

fn decoded(row: &PgRow) -> Result<RawEvent, sqlx::Error> {
    let value = |column: usize| row.try_get_raw(column);
    let meta: Meta = serde_json::from_str(text(&value(14)?)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(RawEvent {
        lane: row.try_get(0)?,
        position: row.try_get(1)?,
        epoch: row.try_get(2)?,
        tenant: TenantId::new(uuid(&value(3)?)?),
        tenant_position: row.try_get(4)?,
        stream_type: text(&value(5)?)?.into(),
        stream: uuid(&value(6)?)?,
        sequence: row.try_get(7)?,
        principal: Principal::new(uuid(&value(8)?)?),
        command: CommandId::new(uuid(&value(9)?)?),
        index: row.try_get(10)?,
        kind: text(&value(11)?)?.into(),
        version: row.try_get(12)?,
        payload: text(&value(13)?)?.into(),
        actor: meta.actor,
        occurred_at: instant(&value(15)?)?,
        recorded_at: instant(&value(16)?)?,
    })
}

/// What read models use of an event's meta.
#[derive(Deserialize)]
struct Meta {
    actor: Actor,
}

fn text<'r>(value: &PgValueRef<'r>) -> Result<&'r str, sqlx::Error> {
    value.as_str().map_err(sqlx::Error::Decode)
}

fn uuid(value: &PgValueRef<'_>) -> Result<Uuid, sqlx::Error> {
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    Uuid::from_slice(bytes).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// 2000-01-01, where PostgreSQL begins to count, in microseconds since 1970.
const POSTGRES_BEGINS: i64 = 946_684_800_000_000;

fn instant(value: &PgValueRef<'_>) -> Result<Timestamp, sqlx::Error> {
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    let micros = <[u8; 8]>::try_from(bytes).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Timestamp::from_micros(i64::from_be_bytes(micros).saturating_add(POSTGRES_BEGINS)))
}
