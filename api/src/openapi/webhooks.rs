//! OpenAPI paths and schemas of webhooks.

use serde_json::{Value, json};

use super::parameters::correlation;
use super::responses::{answers, content, problem};

pub(super) fn paths() -> impl Iterator<Item = (String, Value)> {
    let paths = [
        ("/v1/webhooks/{id}/secret", show_secret()),
        ("/v1/webhooks/{id}/deliveries", list_deliveries()),
        ("/v1/events/{position}", show_event()),
    ];
    paths.into_iter().map(|(path, operation)| (path.to_owned(), operation))
}

fn show_secret() -> Value {
    json!({ "get": {
        "operationId": "WebhookSecret",
        "summary": "The secrets that sign the deliveries of a subscription. Each reading is recorded.",
        "x-permission": "manage_webhooks",
        "parameters": [
            in_path("id", "The subscription.", &json!({ "type": "string", "format": "uuid" })),
            correlation(),
        ],
        "responses": answers(json!({
            "200": content("The secrets, newest first.", "application/json", "WebhookSecrets"),
            "404": problem("This tenant has no such subscription."),
            "422": problem("The header `X-Correlation-Id` is not a UUID."),
        })),
    } })
}

fn list_deliveries() -> Value {
    let in_query = |name: &str, description: &str, schema: &Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let first = json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 });
    let before = json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX });
    json!({ "get": {
        "operationId": "WebhookDeliveries",
        "summary": "Delivery attempts of a subscription, newest first. The last 5,000 attempts are kept.",
        "x-permission": "see_webhooks",
        "parameters": [
            in_path("id", "The subscription.", &json!({ "type": "string", "format": "uuid" })),
            in_query("first", "Number of attempts.", &first),
            in_query("before", "The `next` of the previous page.", &before),
        ],
        "responses": answers(json!({
            "200": content("One page.", "application/json", "WebhookDeliveries"),
            "404": problem("The path does not contain a valid subscription id."),
            "422": problem("A parameter is unknown or out of its range."),
        })),
    } })
}

fn show_event() -> Value {
    json!({ "get": {
        "operationId": "Event",
        "summary": "One event in its delivered form, without a size limit.",
        "x-permission": "see_webhooks",
        "parameters": [in_path("position", "The position of the event among those of the tenant.", &json!({ "type": "integer", "format": "int64" }))],
        "responses": answers(json!({
            "200": content("The body of its delivery.", "application/json", "DeliveredEvent"),
            "404": problem("This tenant has no event at this position."),
        })),
    } })
}

fn in_path(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

pub(super) fn secrets() -> Value {
    json!({
        "type": "object",
        "required": ["subscription", "secrets"],
        "properties": {
            "subscription": { "type": "string", "format": "uuid" },
            "secrets": { "type": "array", "items": {
                "type": "object",
                "required": ["generation", "secret", "publicKey"],
                "properties": {
                    "generation": { "type": "integer" },
                    "secret": { "type": "string", "description": "`whsec_…`, for signatures that begin with `v1,`." },
                    "publicKey": { "type": "string", "description": "`whpk_…`, for signatures that begin with `v1a,`." },
                    "validUntil": { "type": "string", "format": "date-time" },
                },
            } },
        },
    })
}

pub(super) fn deliveries() -> Value {
    json!({
        "type": "object",
        "required": ["deliveries"],
        "properties": {
            "next": { "type": "integer", "format": "int64" },
            "deliveries": { "type": "array", "items": {
                "type": "object",
                "required": ["number", "event", "type", "position", "replay", "attempt", "begunAt", "tookMs"],
                "properties": {
                    "number": { "type": "integer", "format": "int64" },
                    "event": { "type": "string", "format": "uuid", "description": "The `webhook-id`." },
                    "type": { "type": "string" },
                    "position": { "type": "integer", "format": "int64" },
                    "replay": { "type": "boolean" },
                    "attempt": { "type": "integer" },
                    "begunAt": { "type": "string", "format": "date-time" },
                    "tookMs": { "type": "integer" },
                    "status": { "type": ["integer", "null"] },
                    "trouble": { "type": ["string", "null"] },
                },
            } },
        },
    })
}

pub(super) fn delivered() -> Value {
    json!({
        "type": "object",
        "required": ["type", "timestamp", "id", "tenant", "position", "aggregate", "stream", "sequence", "data"],
        "properties": {
            "type": { "type": "string" },
            "timestamp": { "type": "string", "format": "date-time", "description": "When it happened." },
            "id": { "type": "string", "format": "uuid", "description": "The `webhook-id`." },
            "tenant": { "type": "string", "format": "uuid" },
            "position": { "type": "integer", "format": "int64" },
            "aggregate": { "type": "string" },
            "stream": { "type": "string", "format": "uuid" },
            "sequence": { "type": "integer", "format": "int64" },
            "data": { "type": ["object", "null"], "description": "Without personal fields; null where it is too large." },
            "fetch": { "type": "string", "description": "Where the whole of it is, if `data` is null." },
        },
    })
}
