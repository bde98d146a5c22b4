//! Messages: the JSON body of an event as it is sent to a webhook.

use domain::shared::{TenantId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Maximum size of a body. Standard Webhooks recommends less than about 20 KB, and receivers refuse much larger bodies.
const BODY_BYTES_MOST: usize = 20_000;

/// An event of the log that is sent to a webhook.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Event id, sent as `webhook-id`. It is derived from the command, so it is the same after export, import and
    /// restore.
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) tenant: TenantId,
    pub(super) position: i64,
    pub(super) aggregate: String,
    pub(super) stream: Uuid,
    pub(super) sequence: i64,
    pub(super) occurred_at: Timestamp,
    /// Payload as published: a JSON object without personal fields.
    pub(super) payload: String,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    id: Uuid,
    tenant: TenantId,
    position: i64,
    aggregate: &'a str,
    stream: Uuid,
    sequence: i64,
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<String>,
}

impl Message {
    /// The body to send. A body that would be too large contains the path of the full event instead of the data.
    pub(super) fn body(&self) -> serde_json::Result<String> {
        let whole = self.full_body()?;
        if whole.len() <= BODY_BYTES_MOST {
            return Ok(whole);
        }
        serde_json::to_string(&self.with(None, Some(format!("/v1/events/{}", self.position))))
    }

    /// The body with all data, of any size.
    pub(super) fn full_body(&self) -> serde_json::Result<String> {
        let data = serde_json::from_str::<&RawValue>(&self.payload)?;
        serde_json::to_string(&self.with(Some(data), None))
    }

    fn with<'a>(&'a self, data: Option<&'a RawValue>, fetch: Option<String>) -> MessageBody<'a> {
        let Self { id, tenant, position, stream, sequence, .. } = *self;
        let (kind, aggregate, timestamp) = (self.kind.as_str(), self.aggregate.as_str(), self.occurred_at);
        MessageBody { kind, timestamp, id, tenant, position, aggregate, stream, sequence, data, fetch }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(payload: &Value) -> Message {
        Message {
            id: Uuid::from_u128(7),
            kind: "customer.registered".into(),
            tenant: TenantId::new(Uuid::from_u128(1)),
            position: 42,
            aggregate: "Customer".into(),
            stream: Uuid::from_u128(2),
            sequence: 1,
            occurred_at: Timestamp::from_micros(1_763_640_000_000_000),
            payload: payload.to_string(),
        }
    }

    #[test]
    fn body_has_the_event_and_its_published_payload() {
        let body: Value = serde_json::from_str(&message(&json!({ "points": 3 })).body().expect("JSON")).expect("JSON");
        assert_eq!(body["data"], json!({ "points": 3 }));
        assert_eq!((&body["type"], &body["position"]), (&json!("customer.registered"), &json!(42)));
        assert_eq!(body["timestamp"], "2025-11-20T12:00:00Z");
    }

    #[test]
    fn a_body_that_is_too_large_has_the_path_of_the_full_event() {
        let large = message(&json!({ "text": "x".repeat(BODY_BYTES_MOST) }));
        let body = large.body().expect("JSON");
        assert!(body.len() < 1_000, "{} bytes", body.len());
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["data"], body["fetch"].as_str()), (&Value::Null, Some("/v1/events/42")));
        assert!(large.full_body().expect("JSON").len() > BODY_BYTES_MOST);
    }
}
