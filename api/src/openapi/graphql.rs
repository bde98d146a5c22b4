//! OpenAPI path of GraphQL.

use serde_json::{Map, Value, json};

use super::parameters::correlation;
use super::responses::{answers, problem, reference};
use crate::admission::body::JSON;
use crate::guard::BYTES_MOST;

const RESPONSE: &str = "application/graphql-response+json";
const PROBLEM: &str = "application/problem+json";

pub(super) fn path() -> Value {
    json!({ "get": get(), "post": post() })
}

fn post() -> Value {
    json!({
        "operationId": "GraphQL",
        "summary": "One GraphQL operation; see `graphql/schema.graphql`. A subscription needs `Accept: text/event-stream`.",
        "parameters": [correlation()],
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object",
            "description": "With `query`, `documentId` or both.",
            "properties": {
                "query": { "type": ["string", "null"], "maxLength": BYTES_MOST },
                "documentId": { "type": ["string", "null"], "description": "`sha256:` and the hash of the document." },
                "operationName": { "type": ["string", "null"] },
                "variables": { "type": ["object", "null"] },
                "extensions": { "type": ["object", "null"] },
            },
            "additionalProperties": false,
        } } } },
        "responses": responses("text/event-stream", "The events of a subscription: `next` with an answer, `complete`."),
    })
}

fn get() -> Value {
    let in_query = |name: &str, description: &str, required: bool| {
        json!({
            "name": name, "in": "query", "required": required, "description": description, "schema": { "type": "string" },
        })
    };
    let page = "The console, for browsers: if `Accept` prefers `text/html`.";
    let mut responses = responses("text/html", page);
    responses["101"] = json!({
        "description": "A WebSocket of the protocol `graphql-transport-ws`, if the request asks for one.",
    });
    responses["405"] = json!({
        "description": "The document is a mutation; send it with `POST`.",
        "content": contents(&[RESPONSE, JSON]),
    });
    json!({
        "operationId": "GraphQLQuery",
        "summary": "One GraphQL query. Proxies log addresses: send personal data with `POST`.",
        "parameters": [
            in_query("query", "The document.", false),
            in_query("documentId", "`sha256:` and the hash of the document, in place of it.", false),
            in_query("operationName", "The operation of the document.", false),
            in_query("variables", "A JSON object.", false),
            in_query("extensions", "A JSON object.", false),
            correlation(),
        ],
        "responses": responses,
    })
}

/// Responses of both methods. `media_type` is a further one of an operation that was executed.
fn responses(media_type: &str, description: &str) -> Value {
    let mut executed = contents(&[RESPONSE, JSON]);
    executed.insert(media_type.into(), json!({ "schema": { "type": "string", "description": description } }));
    let errors = |description: &str, media_types: &[&str]| json!({ "description": description, "content": contents(media_types) });
    answers(json!({
        "200": {
            "description": "It was executed. With `application/json`, also a document that does not parse or is not valid.",
            "content": executed,
        },
        "400": errors("The request is malformed, not valid, or over a limit of documents.", &[RESPONSE, JSON, PROBLEM]),
        "406": problem("`Accept` permits neither of the media types."),
        "422": problem("The header `X-Correlation-Id` is not a UUID."),
        "429": errors("The query budget or the number of subscriptions of this caller is used up.", &[RESPONSE, JSON]),
        "503": errors("Not executed in time; it may be sent again.", &[RESPONSE, JSON, PROBLEM]),
    }))
}

fn contents(media_types: &[&str]) -> Map<String, Value> {
    let schema = |media_type: &str| reference(if media_type == PROBLEM { "Problem" } else { "GraphqlResponse" });
    media_types.iter().map(|media_type| ((*media_type).into(), json!({ "schema": schema(media_type) }))).collect()
}

pub(super) fn response_schema() -> Value {
    json!({
        "type": "object",
        "description": "`data` is absent if nothing was executed.",
        "properties": {
            "data": { "type": ["object", "null"] },
            "errors": { "type": "array", "items": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "message": { "type": "string" },
                    "path": { "type": "array", "items": { "type": ["string", "integer"] } },
                    "extensions": {
                        "type": "object",
                        "properties": {
                            "code": { "type": "string", "description": "Stable code in capitals." },
                            "field": { "type": "string" },
                            "retry": { "type": "string" },
                            "retryAfter": { "type": "integer", "description": "Seconds." },
                        },
                    },
                },
            } },
            "extensions": {
                "type": "object",
                "properties": { "cost": {
                    "type": "object",
                    "description": "Points of the query budget: a row costs one point.",
                    "properties": {
                        "requestedQueryCost": { "type": "integer" },
                        "actualQueryCost": { "type": "integer" },
                        "throttleStatus": {
                            "type": "object",
                            "properties": {
                                "maximumAvailable": { "type": "integer" },
                                "currentlyAvailable": { "type": "integer" },
                                "restoreRate": { "type": "integer", "description": "Points per second." },
                            },
                        },
                    },
                } },
            },
        },
    })
}
