//! Reads what is new in all lanes that somebody follows, in one statement.

use std::collections::BTreeMap;

use commands::kernel::Stored;
use commands::scribe::LaneId;
use domain::kernel::{Actor, Recorded};
use domain::shared::{CommandId, Principal, TenantId};
use serde::Deserialize;
use sqlx::postgres::{PgRow, PgValueRef};
use sqlx::{PgPool, Row};

use crate::scribe::Micros;

/// Positions of one lane that are looked at before it is written down that they were.
pub(super) const SPAN: i64 = 1_000;

/// The lanes are asked for their ends and their events in one go, and nothing is said about events that nobody listens
/// to. A lane without news still says in which epoch it is. The inner limits limit nothing: they keep the server from
/// reading whole lanes and comparing afterwards.
const NEWS: &str = "
    SELECT l.lane, l.epoch, head.position AS upto, e.position, e.stream_type, e.type, e.version, e.payload, e.tenant,
           e.stream_id, e.sequence, e.tenant_position, e.principal, e.command_id, e.command_index, e.meta,
           e.occurred_at, e.recorded_at
    FROM unnest($1::smallint[], $2::bigint[]) AS f(lane, after)
    JOIN log.lanes l ON l.lane = f.lane
    LEFT JOIN LATERAL (
        SELECT position FROM log.events
        WHERE lane = f.lane AND position > f.after AND position <= f.after + $3
        ORDER BY position DESC LIMIT 1) AS head ON true
    LEFT JOIN LATERAL (
        SELECT * FROM log.events
        WHERE lane = f.lane AND position > f.after AND position <= head.position AND type = ANY($4)
        ORDER BY position LIMIT $3) AS e ON true";

/// What is new in one lane.
pub(super) struct News {
    /// Who writes it has this epoch; after a restore it is one that was never seen.
    pub(super) epoch: i64,
    /// Up to where was looked; nothing where nothing is new.
    pub(super) upto: Option<i64>,
    /// The events that somebody listens to, in order.
    pub(super) events: Vec<Heard>,
}

/// An event that some policy listens to.
pub(super) struct Heard {
    pub(super) position: i64,
    pub(super) stream_type: String,
    name: String,
    version: i16,
    payload: String,
    event: Recorded<()>,
}

impl Heard {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The event as the log stores it.
    pub(super) fn stored(&self) -> Recorded<Stored<'_>> {
        let stored = Stored { name: &self.name, version: self.version, payload: &self.payload };
        self.event.clone().map(stored)
    }
}

/// What is new after these positions, with the events of these names.
pub(super) async fn read_news(
    pool: &PgPool,
    after: &[(LaneId, i64)],
    names: &[&str],
) -> Result<BTreeMap<LaneId, News>, sqlx::Error> {
    let (lanes, positions): (Vec<i16>, Vec<i64>) = after.iter().map(|(lane, position)| (lane.0, *position)).unzip();
    let mut transaction = pool.begin().await?;
    // Planning for every partition takes longer than reading; the plan does not depend on where anybody stands.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let news = sqlx::query(NEWS).bind(lanes).bind(positions).bind(SPAN).bind(names);
    let rows = news.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let mut news = BTreeMap::new();
    for row in &rows {
        let (epoch, upto) = (row.try_get(1)?, row.try_get(2)?);
        let lane = news.entry(LaneId(row.try_get(0)?)).or_insert_with(|| News { epoch, upto, events: vec![] });
        if let Some(position) = row.try_get(3)? {
            lane.events.push(heard(row, position)?);
        }
    }
    Ok(news)
}

fn heard(row: &PgRow, position: i64) -> Result<Heard, sqlx::Error> {
    let meta: Meta =
        serde_json::from_str(text(&row.try_get_raw(15)?)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let event = Recorded {
        tenant: TenantId::new(row.try_get(8)?),
        stream: row.try_get(9)?,
        sequence: row.try_get(10)?,
        tenant_position: row.try_get(11)?,
        principal: Principal::new(row.try_get(12)?),
        command: CommandId::new(row.try_get(13)?),
        index: row.try_get(14)?,
        actor: meta.actor,
        occurred_at: row.try_get::<Micros, _>(16)?.0,
        recorded_at: row.try_get::<Micros, _>(17)?.0,
        event: (),
    };
    let payload = text(&row.try_get_raw(7)?)?.to_owned();
    let (stream_type, name, version) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    Ok(Heard { position, stream_type, name, version, payload, event })
}

/// What policies use of an event's meta.
#[derive(Deserialize)]
struct Meta {
    actor: Actor,
}

fn text<'r>(value: &PgValueRef<'r>) -> Result<&'r str, sqlx::Error> {
    value.as_str().map_err(sqlx::Error::Decode)
}
