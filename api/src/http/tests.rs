mod contract;
mod graphql_over_http;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, request};
use domain::shared::TenantId;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::testing::Engine;

const ITEM: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
const JSON: &str = "application/json";

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }

    fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let json = self.json();
        assert_eq!(json["status"], self.status);
        json["code"].as_str().expect("a code").into()
    }
}

async fn send(engine: &Arc<Engine>, request: Request) -> Answer {
    send_to(engine.state(), request).await
}

async fn send_to(state: AppState, request: Request) -> Answer {
    send_over(router(state), request).await
}

async fn send_over(router: Router, request: Request) -> Answer {
    let response = router.oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let text = String::from_utf8(bytes.into()).expect("UTF-8");
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}

fn post(path: &str, kind: &str) -> request::Builder {
    request::Builder::new()
        .method(Method::POST)
        .uri(path)
        .header(AUTHORIZATION, format!("Bearer {}", Engine::token(&json!({}))))
        .header(CONTENT_TYPE, kind)
}

fn received(units: &str) -> String {
    format!("{{\"item\":\"{ITEM}\",\"units\":{units}}}")
}

async fn receive(engine: &Arc<Engine>, body: impl Into<Body>) -> Answer {
    send(engine, post("/v1/commands/ReceiveStock", JSON).body(body.into()).expect("a request")).await
}

#[tokio::test]
async fn accepted_command_has_a_receipt_that_can_be_read_again() {
    let engine = Arc::new(Engine::default());
    let request = post("/v1/commands/ReceiveStock", JSON).header("Idempotency-Key", "delivery-7");
    let response = send(&engine, request.body(received("5").into()).expect("a request")).await;
    assert_eq!(response.status, 200, "{}", response.text);
    let answer = response.json();
    assert_eq!(answer["outcome"], "accepted");
    assert_eq!(answer["receipt"]["changed"][0], json!({ "type": "StockItem", "id": Uuid::from_u128(9), "version": 4 }));
    assert_eq!((&answer["receipt"]["replayed"], &answer["rejection"]), (&json!(false), &Value::Null));
    assert_eq!(response.headers["cache-control"], "no-store");
    assert!(response.headers.contains_key("x-request-id"));

    for key in ["delivery-7", answer["commandId"].as_str().expect("an id")] {
        let get = request::Builder::new()
            .uri(format!("/v1/receipts/{key}"))
            .header(AUTHORIZATION, format!("Bearer {}", Engine::token(&json!({}))));
        let response = send(&engine, get.body(Body::empty()).expect("a request")).await;
        assert_eq!((response.status, &response.json()["receipt"]["replayed"]), (200, &json!(true)));
    }
    let get = request::Builder::new().uri("/v1/receipts/other");
    assert_eq!(send(&engine, get.body(Body::empty()).expect("a request")).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn rejection_refusal_and_fault_have_their_own_status() {
    let engine = Arc::new(Engine::default());
    let answer = async |last: &str| {
        let request = post(&format!("/v1/commands/ReceiveStock?id={}{last}", &ITEM[..34]), JSON);
        send(&engine, request.body(received("5").into()).expect("a request")).await
    };
    let rejected = answer("ff").await;
    let rejection = json!({ "code": "OUT_OF_STOCK", "message": "there is none left", "details": { "available": 0 }, "retry": "NEW_ID" });
    assert_eq!((rejected.status, &rejected.json()["rejection"]), (409, &rejection));
    let later = answer("fe").await;
    assert_eq!(
        (later.status, later.code().as_str(), &later.headers["retry-after"]),
        (503, "OVERLOADED", &HeaderValue::from_static("2"))
    );
    assert_eq!(later.json()["retry"], "SAME_ID");
    let failed = answer("fd").await;
    assert_eq!((failed.status, failed.code().as_str()), (500, "INTERNAL"));
    assert!(!failed.text.contains("relation"), "{}", failed.text);
}

#[tokio::test]
async fn invalid_bodies_are_refused_with_their_field_and_not_submitted() {
    let engine = Arc::new(Engine::default());
    let cases: [(String, u16, &str, &str); 17] = [
        (received("-1"), 422, "INVALID_FIELD", "units"),
        (received("0"), 422, "INVALID_FIELD", "units"),
        (received("\"5\""), 422, "INVALID_FIELD", "units"),
        (received("1.0"), 422, "INVALID_FIELD", "units"),
        (received("9223372036854775808"), 422, "INVALID_FIELD", "units"),
        (received("1e400"), 400, "INVALID_JSON", "units"),
        (received("null"), 422, "INVALID_FIELD", "units"),
        (received("01"), 400, "INVALID_JSON", "units"),
        (received("5,\"units\":6"), 400, "DUPLICATE_FIELD", "units"),
        (received("5,\"tenant_id\":1"), 422, "INVALID_FIELD", "tenant_id"),
        (received("5").replace(ITEM, "{0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b}"), 422, "INVALID_FIELD", "item"),
        (received("5").replace(ITEM, "a\\u0000"), 422, "INVALID_FIELD", "item"),
        (received("5").replace(ITEM, "\\ud800"), 400, "INVALID_JSON", "item"),
        (received("5") + "{}", 400, "INVALID_JSON", ""),
        ("[]".into(), 422, "INVALID_FIELD", ""),
        (String::new(), 400, "INVALID_JSON", ""),
        (format!("{{\"item\":{}", "[".repeat(129)), 400, "TOO_DEEP", "item"),
    ];
    for (body, status, code, field) in cases {
        let response = receive(&engine, body.clone()).await;
        assert_eq!((response.status, response.code().as_str()), (status, code), "{body}: {}", response.text);
        let error = &response.json()["errors"][0];
        assert!(error["field"].as_str().is_some_and(|at| at.starts_with(field)), "{body}: {error}");
        assert!(!response.text.contains(" line "), "{}", response.text);
    }
    assert!(engine.submitted.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn unauthenticated_unpermitted_and_unknown_requests_have_their_own_codes() {
    let engine = Arc::new(Engine::default());
    let as_caller = async |path: &str, claims: Value, body: String| {
        let request = request::Builder::new().method(Method::POST).uri(path).header(CONTENT_TYPE, JSON);
        let request = request.header(AUTHORIZATION, format!("Bearer {}", Engine::token(&claims)));
        send(&engine, request.body(body.into()).expect("a request")).await
    };
    let customer = json!({ "roles": ["customer"], "customer": ITEM });
    let response = as_caller("/v1/commands/ReceiveStock", customer.clone(), received("5")).await;
    assert_eq!((response.status, response.code().as_str()), (403, "FORBIDDEN"));
    let response = as_caller("/v1/commands/ExpireReservation", json!({}), "{}".into()).await;
    assert_eq!(response.code(), "FORBIDDEN");
    let response = as_caller("/v1/commands/BuyTheShop", json!({}), "{}".into()).await;
    assert_eq!((response.status, response.code().as_str()), (404, "UNKNOWN_COMMAND"));
    let response = as_caller("/v1/commands/..%2fReceiveStock", json!({}), "{}".into()).await;
    assert_eq!(response.code(), "UNKNOWN_COMMAND");
    let response =
        send(&engine, Request::post("/v1/commands/ReceiveStock?token=x").body(Body::empty()).expect("a request")).await;
    assert_eq!((response.status, response.code().as_str()), (401, "UNAUTHENTICATED"));
    let response =
        send(&engine, Request::get("/v1/commands/ReceiveStock").body(Body::empty()).expect("a request")).await;
    assert_eq!((response.status, response.code().as_str()), (405, "METHOD_NOT_ALLOWED"));
    let response = send(&engine, Request::get("/nowhere").body(Body::empty()).expect("a request")).await;
    assert_eq!((response.status, response.code().as_str()), (404, "NOT_FOUND"));
    assert!(engine.submitted.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn bodies_of_another_media_type_or_size_are_refused() {
    let engine = Arc::new(Engine::default());
    let response = receive(&engine, " ".repeat(300 * 1_024)).await;
    assert_eq!((response.status, response.code().as_str()), (413, "BODY_TOO_LARGE"));
    for kind in ["text/plain", "application/json; charset=utf-16"] {
        let request = post("/v1/commands/ReceiveStock", kind).body(received("5").into()).expect("a request");
        assert_eq!(send(&engine, request).await.code(), "UNSUPPORTED_MEDIA_TYPE");
    }
    let request = post("/v1/commands/ReceiveStock", JSON).header("Idempotency-Key", "a b");
    let response = send(&engine, request.body(received("5").into()).expect("a request")).await;
    assert_eq!((response.status, response.code().as_str()), (400, "INVALID_KEY"));
    let request = post("/v1/commands/ReceiveStock?id=a", JSON).header("Idempotency-Key", "b");
    assert_eq!(send(&engine, request.body(received("5").into()).expect("a request")).await.code(), "INVALID_KEY");
}

#[tokio::test]
async fn batch_answers_each_line_and_an_invalid_line_does_not_affect_the_others() {
    let engine = Arc::new(Engine::default());
    let line = |id: &str, body: &str| format!("{{\"id\":\"{id}\",\"name\":\"ReceiveStock\",\"body\":{body}}}");
    let lines = [
        line("one", &received("1")),
        "not json".into(),
        line("two", &received("-1")),
        line(&format!("{}ff", &ITEM[..34]), &received("1")),
        String::new(),
        " \t".into(),
        "\r".into(),
        line("three", &received("1")).replace("body", "command"),
        line("four", &received("1")).replace("name", "mane"),
    ];
    let request = post("/v1/commands", "application/x-ndjson").body(Body::from(lines.join("\n") + "\n"));
    let response = send(&engine, request.expect("a request")).await;
    assert_eq!(
        (response.status, &response.headers["content-type"]),
        (200, &HeaderValue::from_static("application/x-ndjson"))
    );
    let answers: Vec<Value> = response.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let outcomes: Vec<_> = answers.iter().map(|answer| answer["outcome"].as_str().expect("an outcome")).collect();
    assert_eq!(outcomes, ["accepted", "refused", "refused", "rejected", "accepted", "refused"]);
    let numbers: Vec<_> = answers.iter().map(|answer| answer["line"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 8, 9], "blank lines are counted and not answered");
    assert_eq!(answers[2]["problem"]["errors"][0]["field"], "units");
    assert_eq!(engine.submitted.lock().expect("not poisoned").len(), 3);

    for empty in ["", "\n", " \r\n\t\n", &"\n".repeat(1_001)] {
        let request = post("/v1/commands", "application/x-ndjson").body(Body::from(empty.to_owned()));
        let response = send(&engine, request.expect("a request")).await;
        assert_eq!((response.status, response.code().as_str()), (400, "EMPTY_BATCH"), "{empty:?}");
    }
    let many = (line("one", &received("1")) + "\n\n").repeat(1_001);
    let response =
        send(&engine, post("/v1/commands", "application/x-ndjson").body(many.into()).expect("a request")).await;
    assert_eq!((response.status, response.code().as_str()), (413, "TOO_MANY_LINES"));
}

#[tokio::test]
async fn repeat_of_a_command_that_an_earlier_version_decided_is_recognised_by_the_bytes_of_its_body() {
    let body = format!("{{ \"units\": 5, \"item\": \"{ITEM}\" }}");
    let line = format!("{{\"id\":\"{ITEM}\",\"name\":\"ReceiveStock\",\"body\":{body}}}");
    let mutation = format!(
        "mutation {{ receiveStock(commandId: \"{ITEM}\", input: {{ item: \"{ITEM}\", units: 5 }}) \
         {{ receipt {{ replayed }} userErrors {{ code }} }} }}"
    );
    let id = ITEM.parse().expect("an id");
    let decided = |fingerprint: String| Arc::new(Engine { decided: [(id, fingerprint)].into(), ..Engine::default() });
    let (compact, canonical) = (received("5"), format!("ReceiveStock\n{}", received("5")));
    // The stored fingerprint, the answers to one command and to a batch, and the code of a mutation.
    for (stored, expected, expected_of_mutation) in [
        (format!("1.ReceiveStock\n{body}"), "replayed", "COMMAND_ID_REUSED"),
        (format!("1.ReceiveStock\n{compact}"), "COMMAND_ID_REUSED", "replayed"),
        (format!("1.AdjustStock\n{body}"), "COMMAND_ID_REUSED", "COMMAND_ID_REUSED"),
        (format!("2.{canonical}"), "replayed", "replayed"),
        (format!("2.{}", canonical.replace('5', "6")), "COMMAND_ID_REUSED", "COMMAND_ID_REUSED"),
    ] {
        let engine = decided(stored.clone());
        let outcome = |answer: &Value, code: &Value| {
            if answer["receipt"]["replayed"] == true {
                "replayed".into()
            } else {
                code.as_str().unwrap_or("none").to_owned()
            }
        };
        let request = post(&format!("/v1/commands/ReceiveStock?id={ITEM}"), JSON).body(Body::from(body.clone()));
        let one = send(&engine, request.expect("a request")).await.json();
        assert_eq!(outcome(&one, &one["code"]), expected, "{stored}");
        let request = post("/v1/commands", "application/x-ndjson").body(Body::from(line.clone()));
        let batch = send(&engine, request.expect("a request")).await.json();
        assert_eq!(outcome(&batch, &batch["problem"]["code"]), expected, "{stored}");
        let answer = ask(&engine, &json!({ "query": mutation })).await.json()["data"]["receiveStock"].take();
        assert_eq!(outcome(&answer, &answer["userErrors"][0]["code"]), expected_of_mutation, "{stored}");
        assert!(engine.submitted.lock().expect("not poisoned").is_empty());
    }
}

#[tokio::test]
async fn health_routes_and_documents_are_served() {
    let engine = Arc::new(Engine { not_ready: true, ..Engine::default() });
    let get = async |path: &str| send(&engine, Request::get(path).body(Body::empty()).expect("a request")).await;
    assert_eq!((get("/live").await.status, get("/ready").await.status), (200, 503));
    assert_eq!(get("/openapi.json").await.json()["openapi"], "3.1.0");
    let page = Request::get("/graphql").header(ACCEPT, "text/html").body(Body::empty()).expect("a request");
    let page = send(&engine, page).await;
    assert!(page.text.contains("<title>") && !page.text.contains("://"), "the page loads nothing from other hosts");
    assert!(page.headers["content-security-policy"].to_str().expect("text").contains("script-src 'self'"));
    assert!(get("/graphql/schema.graphql").await.text.contains("type Mutation"));
}

/// The routers with all routes and with those of health answer alike.
#[tokio::test]
async fn reasons_and_metrics_are_for_operators_and_the_monitoring_system() {
    let engine = Arc::new(Engine { not_ready: true, ..Engine::default() });
    let get = async |router: fn(AppState) -> Router, path: &str, token: Option<String>| {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        send_over(router(engine.state()), request.body(Body::empty()).expect("a request")).await
    };
    let operator = Engine::token(&json!({ "roles": ["operator"], "tenant": TenantId::PLATFORM }));
    let customer = Engine::token(&json!({ "roles": ["customer"], "customer": ITEM }));
    for router in [router as fn(AppState) -> Router, health] {
        for path in ["/reason", "/metrics"] {
            assert_eq!(get(router, path, None).await.status, 401, "{path}");
            assert_eq!(get(router, path, Some("monitors".into())).await.status, 401, "{path}");
            assert_eq!(get(router, path, Some(customer.clone())).await.status, 403, "{path}");
            assert_eq!(get(router, path, Some(Engine::token(&json!({})))).await.status, 403, "{path} for an owner");
        }
        for token in ["monitor".to_owned(), operator.clone()] {
            let reason = get(router, "/reason", Some(token.clone())).await.json();
            assert_eq!(reason["reasons"][0], "the store cannot be reached");
            assert_eq!(get(router, "/metrics", Some(token)).await.text, "up 1\n");
        }
        assert_eq!(get(router, "/live", None).await.status, 200);
        let ready = get(router, "/ready", None).await;
        assert!(ready.status == 503 && !ready.text.contains("store"), "{}", ready.text);
    }
}

async fn ask(engine: &Arc<Engine>, body: &Value) -> Answer {
    let request = post("/graphql", JSON).header(ACCEPT, "application/graphql-response+json");
    send(engine, request.body(body.to_string().into()).expect("a request")).await
}

#[tokio::test]
async fn refusal_of_a_graphql_request_has_its_code() {
    let engine = Arc::new(Engine::default());
    for (body, code) in [
        (json!([{ "query": "{ __typename }" }]), "INVALID_REQUEST"),
        (json!({ "query": 1 }), "INVALID_REQUEST"),
        (json!({}), "INVALID_REQUEST"),
        (json!({ "query": "{ a", "variables": {} }), "SYNTAX"),
        (json!({ "query": "{ a b: }" }), "SYNTAX"),
        (json!({ "query": "{ a(x: 1 2) }" }), "SYNTAX"),
        (json!({ "query": "query A { __typename } query B { __typename }" }), "INVALID_QUERY"),
        (json!({ "query": format!("{{ a(x: {}1{}) }}", "[".repeat(1_600), "]".repeat(1_600)) }), "TOO_DEEP"),
        (json!({ "query": " ".repeat(100_000) }), "DOCUMENT_TOO_LARGE"),
        (json!({ "query": "subscription { a }" }), "SUBSCRIPTION"),
    ] {
        let response = ask(&engine, &body).await;
        assert_eq!(
            (response.status, &response.json()["errors"][0]["extensions"]["code"]),
            (400, &json!(code)),
            "{}",
            response.text
        );
    }
    let deep = format!("{{\"query\":\"{{ a }}\",\"variables\":{{\"v\":{}", "[".repeat(129));
    let response = send(&engine, post("/graphql", JSON).body(deep.into()).expect("a request")).await;
    assert_eq!((response.status, &response.json()["errors"][0]["extensions"]["code"]), (400, &json!("TOO_DEEP")));
    let anonymous = Request::post("/graphql").header(CONTENT_TYPE, JSON).body(Body::from("{}"));
    assert_eq!(send(&engine, anonymous.expect("a request")).await.status, 401);
}

#[tokio::test]
async fn forbidden_webhook_address_is_refused_before_the_command_is_decided() {
    let engine = Arc::new(Engine::default());
    let keyed = |host: &str, key: &str| {
        let url = format!("https://{host}/hook");
        let body = json!({ "subscription": ITEM, "url": url, "events": [], "description": null });
        let request = post("/v1/commands/Subscribe", JSON).header("idempotency-key", key);
        request.body(body.to_string().into()).expect("a request")
    };
    let response = send(&engine, keyed("refused.example.org", "hook-7")).await;
    assert_eq!((response.status, response.json()["errors"][0]["field"].as_str()), (422, Some("url")));
    assert!(engine.submitted.lock().expect("not poisoned").is_empty());
    assert_eq!(send(&engine, keyed("hooks.example.org", "hook-7")).await.status, 200);
    // A decided command keeps its answer, even if its host name resolves to a forbidden address by now.
    assert_eq!(send(&engine, keyed("refused.example.org", "hook-7")).await.status, 200);
    assert_eq!(send(&engine, keyed("refused.example.org", "hook-8")).await.status, 422);
    // A host name that cannot be resolved now is a temporary refusal.
    let response = send(&engine, keyed("away.example.org", "hook-9")).await;
    let (code, retry) = (&response.json()["code"], &response.json()["retry"]);
    assert_eq!((response.status, code, retry), (503, &json!("NAMES_AWAY"), &json!("SAME_ID")));
}

#[tokio::test]
async fn secrets_need_a_permission_and_showing_them_is_recorded() {
    let engine = Arc::new(Engine::default());
    let get = |path: &str, role: &str| {
        let get = request::Builder::new().uri(path);
        let token = Engine::token(&json!({ "roles": [role] }));
        get.header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).expect("a request")
    };
    let path = format!("/v1/webhooks/{ITEM}/secret");
    assert_eq!(send(&engine, get(&path, "manager")).await.code(), "FORBIDDEN");
    assert!(engine.submitted.lock().expect("not poisoned").is_empty());
    let response = send(&engine, get(&path, "owner")).await;
    assert_eq!((response.status, response.json()["secrets"][0]["secret"].as_str()), (200, Some("whsec_x")));
    assert_eq!(engine.submitted.lock().expect("not poisoned")[0].0, "ShowSecret");
    assert_eq!(send(&engine, get("/v1/webhooks/none/secret", "owner")).await.code(), "UNKNOWN_SUBSCRIPTION");

    let path = format!("/v1/webhooks/{ITEM}/deliveries");
    assert_eq!(send(&engine, get(&path, "staff")).await.code(), "FORBIDDEN");
    let response = send(&engine, get(&format!("{path}?first=2"), "owner")).await.json();
    assert_eq!(
        (response["deliveries"].as_array().map(Vec::len), response["next"].as_i64()),
        (Some(2), Some(2)),
        "{response}"
    );
    let response = send(&engine, get(&format!("{path}?first=2&before=2"), "owner")).await.json();
    assert_eq!(
        (response["deliveries"].as_array().map(Vec::len), &response["next"]),
        (Some(1), &Value::Null),
        "{response}"
    );
    for invalid in ["first=0", "first=201", "first=x", "before=x", "after=1"] {
        assert_eq!(
            send(&engine, get(&format!("{path}?{invalid}"), "owner")).await.code(),
            "INVALID_FIELD",
            "{invalid}"
        );
    }
    assert_eq!(send(&engine, get("/v1/events/7", "owner")).await.status, 200);
    for path in ["/v1/events/8", "/v1/events/x"] {
        assert_eq!(send(&engine, get(path, "owner")).await.code(), "UNKNOWN_EVENT");
    }
}

#[tokio::test]
async fn refusal_of_a_number_names_no_type_of_the_code() {
    let engine = Arc::new(Engine::default());
    let rules = r#"{"purchase":{"points":1,"per_minor":0},"signup":null}"#;
    let response =
        send(&engine, post("/v1/commands/SetEarningRules", JSON).body(rules.into()).expect("a request")).await;
    let error = &response.json()["errors"][0];
    assert_eq!((response.status, error["field"].as_str()), (422, Some("purchase.per_minor")));
    assert_eq!(error["message"], "invalid value: integer `0`, expected a whole number from 1 on");
    let line = format!("{{\"name\":7,\"body\":{rules}}}");
    let response =
        send(&engine, post("/v1/commands", "application/x-ndjson").body(line.into()).expect("a request")).await;
    assert_eq!(response.json()["problem"]["detail"], "invalid type: integer `7`, expected a text");
    let response = ask(&engine, &json!({ "query": 7 })).await;
    assert_eq!(response.json()["errors"][0]["message"], "invalid type: integer `7`, expected a text");
    let response = ask(&engine, &json!(7)).await;
    assert_eq!(response.json()["errors"][0]["message"], "invalid type: integer `7`, expected an object");
}
