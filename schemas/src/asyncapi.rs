//! AsyncAPI 3.0 document of the Kafka topic: every event as a CloudEvents message in binary mode.

use serde_json::{Map, Value, json};

use crate::compatibility::{events, resolved};
use crate::contracts;

pub(crate) fn document() -> Value {
    let mut messages = Map::new();
    let mut references = Map::new();
    let contracts = contracts::all();
    let aggregates = contracts.iter().filter(|(path, _)| path.starts_with("events/"));
    for (_, schema) in aggregates {
        for (name, event) in events(schema) {
            let mut payload = resolved(schema, event.payload);
            if payload["description"].is_null()
                && let Some(description) = event.description
            {
                payload["description"] = description.into();
            }
            let message = json!({
                "name": name,
                "title": name,
                "summary": event.description,
                "contentType": "application/json",
                "headers": { "$ref": "#/components/schemas/CloudEvent" },
                "payload": payload,
                "x-aggregate": schema["x-aggregate"],
                "x-version": event.version,
            });
            references.insert(name.into(), json!({ "$ref": format!("#/components/messages/{name}") }));
            messages.insert(name.into(), message);
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cartulary",
            "version": "1",
            "description": "Stream of all events, ordered within each tenant.",
        },
        "defaultContentType": "application/json",
        "channels": { "events": {
            "address": "cartulary.events",
            "description": "One partition per lane. All events of a tenant are in one lane; the key is the stream.",
            "messages": references,
        } },
        "operations": { "receiveEvents": { "action": "receive", "channel": { "$ref": "#/channels/events" } } },
        "components": { "messages": messages, "schemas": { "CloudEvent": cloud_event() } },
    })
}

/// Record headers: the attributes of CloudEvents 1.0 and our own.
fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let number = |description: &str| json!({ "type": "string", "pattern": "^-?[0-9]+$", "description": description });
    json!({
        "type": "object",
        "required": [
            "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "lane", "position", "epoch",
            "tenant", "tenantposition",
        ],
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": text("UUIDv5 of tenant, principal, command and index: the same event always has the same id."),
            "ce_type": text("Event name, for example `stock.reserved`."),
            "ce_source": text("Source of the event: the installation whose log it comes from."),
            "ce_subject": text("Stream: type and id."),
            "ce_time": { "type": "string", "format": "date-time", "description": "Time at which it occurred." },
            "lane": number("Lane, equal to the partition."),
            "position": number("Position within the lane, without gaps; a gap means a record is missing."),
            "epoch": number("Epoch in which it was written. A different epoch at a known position means that history was rewritten."),
            "tenant": { "type": "string", "format": "uuid" },
            "tenantposition": number("Position within the tenant, without gaps."),
        },
    })
}
