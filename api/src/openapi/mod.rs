//! OpenAPI 3.1 document of the HTTP API, generated from the catalogue of commands.

mod example;
mod graphql;
mod parameters;
mod responses;
mod webhooks;

use commands::kernel::{CommandDescriptor, Commands};
use serde_json::{Map, Value, json};

use responses::{answers, content, problem, reference};

/// The whole document. Equal catalogues give equal bytes.
pub fn document(commands: &Commands) -> Value {
    let mut schemas = shared_schemas(commands);
    let mut paths = Map::new();
    for kind in commands.iter() {
        paths.insert(format!("/v1/commands/{}", kind.name), command(kind, &mut schemas));
    }
    paths.insert("/v1/commands".into(), batch());
    paths.insert("/v1/receipts/{id}".into(), receipt());
    paths.extend(webhooks::paths());
    paths.insert("/graphql".into(), graphql::path());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cartulary",
            "version": "1",
            "description": "Commands over HTTP. Every command may be sent again with its `Idempotency-Key`: the same \
                            body gets the stored answer, without a time limit.",
        },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "at+jwt" } },
            "schemas": schemas,
        },
    })
}

fn command(kind: &CommandDescriptor, schemas: &mut Map<String, Value>) -> Value {
    let schema = hoisted(kind, schemas);
    let summary = schema["description"].as_str().unwrap_or_default().to_owned();
    schemas.insert(kind.name.clone(), schema);
    json!({ "post": {
        "operationId": kind.name,
        "tags": [kind.context],
        "summary": summary,
        "x-permission": kind.needs,
        "parameters": [parameters::idempotency_key(), parameters::correlation()],
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": reference(&kind.name) } },
        },
        "responses": answers(json!({
            "200": content("The command was accepted.", "application/json", "Answer"),
            "409": content("The command was rejected; `rejection` has the reason.", "application/json", "Answer"),
            "422": problem("The body has an invalid field, or the key was used for another body."),
            "429": problem("Not decided: too many commands. See the headers `Retry-After`, `RateLimit` and `RateLimit-Policy`."),
        })),
    } })
}

fn batch() -> Value {
    json!({ "post": {
        "operationId": "Batch",
        "summary": "Up to 1,000 commands, one per line, decided and answered in their order. Blank lines are ignored.",
        "parameters": [parameters::correlation()],
        "requestBody": {
            "required": true,
            "content": { "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "Lines of JSON, each a `BatchLine`.",
                    "contentMediaType": "application/x-ndjson",
                    "contentSchema": reference("BatchLine"),
                },
                "example": example::BATCH,
            } },
        },
        "responses": answers(json!({
            "200": {
                "description": "One answer per line that is not blank; a refused line does not affect the others.",
                "content": { "application/x-ndjson": { "schema": {
                    "type": "string",
                    "description": "Lines of JSON, each a `BatchAnswer`.",
                    "contentMediaType": "application/x-ndjson",
                    "contentSchema": reference("BatchAnswer"),
                } } },
            },
            "400": problem("The body has no command."),
            "422": problem("The header `X-Correlation-Id` is not a UUID."),
            "429": problem("Too many commands: none of the batch was decided. If the limit admits some of them, the status is 200 and the lines of the others are refused."),
        })),
    } })
}

fn receipt() -> Value {
    json!({ "get": {
        "operationId": "Receipt",
        "summary": "The stored answer of a command.",
        "parameters": [{
            "name": "id", "in": "path", "required": true,
            "description": "The id of the command, or the key it was sent under.", "schema": parameters::key(),
        }],
        "responses": answers(json!({
            "200": content("The stored answer.", "application/json", "Answer"),
            "404": problem("No command with this id was decided for this caller."),
        })),
    } })
}

/// Schemas that commands share.
fn shared_schemas(commands: &Commands) -> Map<String, Value> {
    let names: Vec<_> = commands.iter().map(|kind| kind.name.as_str()).collect();
    let schemas = json!({
        "Answer": {
            "type": "object",
            "required": ["outcome", "commandId", "receipt"],
            "properties": {
                "outcome": { "type": "string", "enum": ["accepted", "rejected"] },
                "commandId": { "type": "string", "format": "uuid" },
                "receipt": reference("CommandReceipt"),
                "rejection": reference("CommandRejection"),
            },
        },
        "CommandReceipt": receipt_schema(),
        "CommandRejection": {
            "type": "object",
            "required": ["code", "message", "retry"],
            "properties": {
                "code": { "type": "string", "description": "Stable code in capitals." },
                "message": { "type": "string" },
                "details": { "type": ["object", "null"] },
                "retry": retry_schema(),
            },
        },
        "BatchLine": {
            "type": "object",
            "required": ["name", "body"],
            "properties": {
                "id": { "anyOf": [parameters::key(), { "type": "null" }], "description": "Idempotency key of this command; null if the sender never repeats it." },
                "name": { "type": "string", "enum": names },
                "body": { "type": "object", "description": "Fields of the command, as in the schema that has the name of the command." },
            },
            "additionalProperties": false,
        },
        "BatchAnswer": batch_answer_schema(),
        "GraphqlResponse": graphql::response_schema(),
        "Problem": problem_schema(),
        "WebhookSecrets": webhooks::secrets(),
        "WebhookDeliveries": webhooks::deliveries(),
        "DeliveredEvent": webhooks::delivered(),
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

fn batch_answer_schema() -> Value {
    json!({
        "type": "object",
        "required": ["line"],
        "properties": {
            "line": { "type": "integer", "minimum": 1, "description": "Number of the line in the body, from 1 on." },
        },
        "oneOf": [reference("Answer"), {
            "type": "object",
            "required": ["outcome", "problem"],
            "properties": {
                "outcome": { "const": "refused" },
                "commandId": { "type": "string", "format": "uuid" },
                "problem": reference("Problem"),
            },
        }],
    })
}

fn retry_schema() -> Value {
    json!({ "type": "string", "enum": ["SAME_ID", "NEW_ID", "NEVER"] })
}

fn receipt_schema() -> Value {
    json!({
        "type": "object",
        "required": ["tenantPosition", "token", "recordedAt", "replayed", "changed"],
        "properties": {
            "tenantPosition": { "type": "integer", "format": "int64" },
            "token": { "type": "string", "description": "Freshness token, opaque: a query with it sees this command's effects." },
            "recordedAt": { "type": "string", "format": "date-time" },
            "replayed": { "type": "boolean", "description": "True if this is the stored answer of an earlier attempt." },
            "changed": { "type": "array", "items": {
                "type": "object",
                "required": ["type", "id", "version"],
                "properties": {
                    "type": { "type": "string" },
                    "id": { "type": "string", "format": "uuid" },
                    "version": { "type": "integer", "format": "int64" },
                },
            } },
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "code", "detail", "retry"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string", "description": "Stable code in capitals." },
            "detail": { "type": "string" },
            "errors": { "type": "array", "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": { "type": "string" },
                    "code": { "type": "string" },
                    "message": { "type": "string" },
                },
            } },
            "retry": retry_schema(),
        },
    })
}

/// A command's schema, with its definitions moved to the components of the document.
fn hoisted(kind: &CommandDescriptor, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = kind.input_schema();
    let definitions = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("$defs")
    });
    let Some(Value::Object(definitions)) = definitions else { return schema };
    let mut names = Map::new();
    for (name, definition) in &definitions {
        // References of a stored definition were redirected, so one with references always differs from its new copy.
        let taken =
            schemas.get(name).is_some_and(|known| known != definition) && !definition.to_string().contains("$ref");
        let new = if taken { format!("{}{name}", kind.name) } else { name.clone() };
        names.insert(name.clone(), new.into());
    }
    for (name, mut definition) in definitions {
        redirect(&mut definition, &names);
        let name = names[&name].as_str().unwrap_or_default().to_owned();
        schemas.insert(name, definition);
    }
    redirect(&mut schema, &names);
    schema
}

fn redirect(schema: &mut Value, names: &Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(path)) = fields.get_mut("$ref")
                && let Some(name) = path.strip_prefix("#/$defs/")
            {
                *path = format!("#/components/schemas/{}", names[name].as_str().unwrap_or(name));
            }
            fields.values_mut().for_each(|value| redirect(value, names));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redirect(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_path_and_every_reference_resolves() {
        let commands = Commands::all();
        let document = document(&commands);
        for kind in commands.iter() {
            let path = &document["paths"][format!("/v1/commands/{}", kind.name)]["post"];
            assert_eq!(path["operationId"], kind.name.as_str());
            assert!(
                path["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
                "{} has no description",
                kind.name
            );
        }
        let text = document.to_string();
        for path in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let name = path.strip_prefix("#/components/schemas/").expect("a component");
            assert!(document["components"]["schemas"][name].is_object(), "{path} does not resolve");
        }
    }
}
