//! Parameters that several operations have.

use serde_json::{Value, json};

/// Visible ASCII characters, as idempotency keys have them.
const KEY: &str = "^[!-~]+$";
/// The same in a header, where quotes around the key are removed: two quotes alone are no key.
const KEY_IN_HEADER: &str = "^([!#-~][!-~]*|\"|\"[!#-~]|\"[!-~]{2,})$";

pub(super) fn correlation() -> Value {
    json!({
        "name": "X-Correlation-Id", "in": "header", "description": "Connects the commands of one business transaction.",
        "schema": { "type": "string", "format": "uuid", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$" },
    })
}

pub(super) fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "A UUID, or any other key of the caller; without one, every attempt is a new command. A client that \
                        cannot set the header sends the key as the parameter `id` of the address instead.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_IN_HEADER },
    })
}

/// Schema of an idempotency key outside of a header.
pub(super) fn key() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY })
}
