//! History of one stream, for auditors: reads the events as they are stored, and hides personal fields.

use api::port::{StreamEvent, StreamQuery};
use commands::scribe::LaneId;
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, Sealed, TenantId};
use platform::clock::Timestamptz;
use platform::database::statement_scope;
use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// Text in the place of a personal value.
const HIDDEN: &str = "[personal]";

/// Parts of an event's meta that say who caused it.
#[derive(Deserialize)]
struct Meta {
    actor: Actor,
    #[serde(default)]
    command: String,
    correlation: Option<Uuid>,
    causation: Option<Uuid>,
}

/// Reads one event more than the page has, if there is one.
pub(crate) async fn read_stream(
    readers: &PgPool,
    (lane, tenant): (LaneId, TenantId),
    query: &StreamQuery,
) -> Result<Vec<StreamEvent>, sqlx::Error> {
    let text = format!(
        "SELECT e.* FROM {} CROSS JOIN LATERAL (
             SELECT sequence, tenant_position, type, version, occurred_at, recorded_at, principal, command_id,
                    payload::text AS payload, meta::text AS meta
             FROM log.events
             WHERE lane = $2 AND tenant = scope.tenant AND stream_id = $3 AND stream_type = $4 AND sequence > $5
             ORDER BY sequence LIMIT $6
         ) e ORDER BY e.sequence",
        statement_scope(1)
    );
    sqlx::query(&text)
        .bind(tenant.uuid())
        .bind(lane.0)
        .bind(query.stream)
        .bind(&query.stream_type)
        .bind(query.after)
        .bind(i64::from(query.first) + 1)
        .try_map(|row| event(&row))
        .fetch_all(readers)
        .await
}

fn event(row: &PgRow) -> Result<StreamEvent, sqlx::Error> {
    let unreadable = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let meta: Meta = serde_json::from_str(row.try_get("meta")?).map_err(unreadable)?;
    let mut payload: Value = serde_json::from_str(row.try_get("payload")?).map_err(unreadable)?;
    hide_personal(&mut payload);
    Ok(StreamEvent {
        sequence: row.try_get("sequence")?,
        position: row.try_get("tenant_position")?,
        kind: row.try_get("type")?,
        version: row.try_get("version")?,
        occurred_at: row.try_get::<Timestamptz, _>("occurred_at")?.0,
        recorded_at: row.try_get::<Timestamptz, _>("recorded_at")?.0,
        actor: meta.actor,
        principal: Principal::new(row.try_get("principal")?),
        command: meta.command,
        command_id: CommandId::new(row.try_get("command_id")?),
        correlation: meta.correlation,
        causation: meta.causation,
        payload,
    })
}

fn hide_personal(value: &mut Value) {
    match value {
        Value::String(text) if Sealed::parse(text).is_some() => *value = HIDDEN.into(),
        Value::Object(fields) => fields.values_mut().for_each(hide_personal),
        Value::Array(items) => items.iter_mut().for_each(hide_personal),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sealed_values_are_hidden_wherever_they_are() {
        let sealed = Sealed::new("abc", Some("def")).as_str().to_owned();
        let mut payload = json!({ "name": sealed, "lines": [{ "note": [sealed, 3] }], "sku": "sealed.v1", "n": null });
        hide_personal(&mut payload);
        assert_eq!(
            payload,
            json!({ "name": HIDDEN, "lines": [{ "note": [HIDDEN, 3] }], "sku": "sealed.v1", "n": null })
        );
    }
}
