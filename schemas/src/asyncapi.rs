//! AsyncAPI 3.0 document of the public Kafka topic: every published event as a CloudEvents message in binary mode.

use serde_json::{Map, Value, json};

use crate::compatibility::events;
use crate::contracts;

pub(crate) fn document() -> Value {
    let mut messages = Map::new();
    let mut references = Map::new();
    let contracts = contracts::all();
    let aggregates = contracts.iter().filter(|(path, _)| path.starts_with("published/"));
    for (_, schema) in aggregates {
        for (name, event) in events(schema) {
            let mut payload = event.payload.clone();
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
            "description": "Stream of all published events, ordered within each tenant.",
        },
        "defaultContentType": "application/json",
        "channels": { "events": {
            "address": "cartulary.events.published",
            "description": "One partition per lane. All events of a tenant are in one lane; the key is the stream.",
            "messages": references,
        } },
        "operations": { "receiveEvents": { "action": "receive", "channel": { "$ref": "#/channels/events" } } },
        "components": { "messages": messages, "schemas": { "CloudEvent": cloud_event() } },
    })
}

/// Record headers, as `infra/kafka/src/record.rs` writes them: attributes of CloudEvents 1.0 and extensions of our own.
fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let id = |description: &str| json!({ "type": "string", "format": "uuid", "description": description });
    let number = |description: &str| json!({ "type": "string", "pattern": "^-?[0-9]+$", "description": description });
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    let mut properties = json!({
        "ce_specversion": { "const": "1.0" },
        "content-type": { "const": "application/json" },
        "ce_id": id("UUIDv5 of tenant, principal, command and index: the same event always has the same id."),
        "ce_source": text("Source of the event: `/tenants/` and the id of the tenant."),
        "ce_type": text("Event name, for example `stock.reserved`."),
        "ce_time": time("Time at which it occurred."),
        "ce_recordedtime": time("Time of the decision."),
        "ce_lane": number("Lane, equal to the partition."),
        "ce_position": number("Position within the lane. Private events have none of these records, so that positions have gaps."),
        "ce_epoch": number("Epoch in which it was written. A different epoch at a known position means that history was rewritten."),
        "ce_tenant": id("Tenant."),
        "ce_tenantposition": number("Position within the tenant, rising; private events leave gaps."),
        "ce_streamtype": text("Type of the stream, for example `Order`."),
        "ce_streamid": id("Id of the stream; also the key of the record."),
        "ce_sequence": number("Number within the stream, rising from 1; private events leave gaps."),
        "ce_principal": id("Sender of the command."),
        "ce_commandid": id("Id of the command."),
        "ce_commandindex": number("Number within the events of the command, from 0."),
        "ce_eventversion": number("Version of the event's public shape."),
        "ce_actor": text("Actor on whose behalf the command was sent, as JSON."),
    });
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    properties["ce_correlationid"] = id(
        "Id shared by everything that followed from one request. Absent if the request had none and nothing led to it.",
    );
    json!({ "type": "object", "required": required, "properties": properties })
}
