//! What an address is told of an event: its kind, when it happened, what it says, and where it stands.

use domain::shared::{Sealed, TenantId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Standard Webhooks asks for bodies below about 20 KB; receivers refuse what is much larger.
const BYTES_MOST: usize = 20_000;

/// An event as it is told.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    /// The id that survives export, import and restore (design 4.4); the `webhook-id`.
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) tenant: TenantId,
    pub(super) position: i64,
    pub(super) aggregate: String,
    pub(super) stream: Uuid,
    pub(super) sequence: i64,
    pub(super) occurred_at: Timestamp,
    /// As the log has it: a JSON object.
    pub(super) payload: String,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    id: Uuid,
    tenant: TenantId,
    position: i64,
    aggregate: &'a str,
    stream: Uuid,
    sequence: i64,
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<String>,
}

impl Telling {
    /// The body that is sent. Where it would be too large, it says where the whole of it can be fetched.
    pub(super) fn body(&self) -> serde_json::Result<String> {
        let whole = self.whole()?;
        if whole.len() <= BYTES_MOST {
            return Ok(whole);
        }
        serde_json::to_string(&self.with(None, Some(format!("/v1/events/{}", self.position))))
    }

    /// All of it, however large. Personal fields are left out: they are sealed in the log and stay so.
    pub(super) fn whole(&self) -> serde_json::Result<String> {
        let mut data: Value = serde_json::from_str(&self.payload)?;
        leave_out_personal(&mut data);
        serde_json::to_string(&self.with(Some(&data), None))
    }

    fn with<'a>(&'a self, data: Option<&'a Value>, fetch: Option<String>) -> Body<'a> {
        let Self { id, tenant, position, stream, sequence, .. } = *self;
        let (kind, aggregate, timestamp) = (self.kind.as_str(), self.aggregate.as_str(), self.occurred_at);
        Body { kind, timestamp, id, tenant, position, aggregate, stream, sequence, data, fetch }
    }
}

fn leave_out_personal(value: &mut Value) {
    let personal = |value: &Value| value.as_str().and_then(Sealed::parse).is_some();
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !personal(field));
            fields.values_mut().for_each(leave_out_personal);
        }
        Value::Array(items) => {
            items.retain(|item| !personal(item));
            items.iter_mut().for_each(leave_out_personal);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn telling(payload: &Value) -> Telling {
        Telling {
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
    fn personal_fields_are_left_out_wherever_they_stand() {
        let sealed = Sealed::new("abc", Some("idx")).as_str().to_owned();
        let payload = json!({ "name": sealed, "points": 3, "people": [{ "email": sealed, "kept": null }, sealed] });
        let body: Value = serde_json::from_str(&telling(&payload).body().expect("JSON")).expect("JSON");
        assert_eq!(body["data"], json!({ "points": 3, "people": [{ "kept": null }] }));
        assert_eq!((&body["type"], &body["position"]), (&json!("customer.registered"), &json!(42)));
        assert_eq!(body["timestamp"], "2025-11-20T12:00:00Z");
    }

    #[test]
    fn what_is_too_large_says_where_the_whole_of_it_is() {
        let large = telling(&json!({ "text": "x".repeat(BYTES_MOST) }));
        let body = large.body().expect("JSON");
        assert!(body.len() < 1_000, "{} bytes", body.len());
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["data"], body["fetch"].as_str()), (&Value::Null, Some("/v1/events/42")));
        assert!(large.whole().expect("JSON").len() > BYTES_MOST);
    }
}
