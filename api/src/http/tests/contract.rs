//! The OpenAPI document and the routes: every status and media type of an answer is documented.

use super::*;

const NDJSON: &str = "application/x-ndjson";
const UNKNOWN: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4aff";

/// A request to one operation of the document.
#[derive(Clone)]
struct Sent {
    /// The path as the document names it.
    path: &'static str,
    method: Method,
    /// The address.
    uri: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Sent {
    fn new(method: Method, path: &'static str, uri: impl Into<String>) -> Self {
        let bearer = format!("Bearer {}", Engine::token(&json!({})));
        Self { path, method, uri: uri.into(), headers: vec![("authorization", bearer)], body: String::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, kind: &str, body: &str) -> Self {
        self.body = body.into();
        self.with("content-type", kind)
    }

    fn request(&self) -> Request {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(self.body.clone().into()).expect("a request")
    }
}

fn posts() -> Vec<Sent> {
    let (command, batch, graphql) = ("/v1/commands/ReceiveStock", "/v1/commands", "/graphql");
    let receive = Sent::new(Method::POST, command, command).body(JSON, &received("5"));
    let line = format!("{{\"name\":\"ReceiveStock\",\"body\":{}}}", received("5"));
    let batch = Sent::new(Method::POST, batch, batch).body(NDJSON, &line);
    let query = Sent::new(Method::POST, graphql, graphql).body(JSON, "{\"query\":\"{ __typename }\"}");
    let mut all = vec![receive.clone(), batch.clone(), query.clone()];
    for sent in [&receive, &batch, &query] {
        all.push(sent.clone().with("authorization", "Bearer x"));
        all.push(sent.clone().with("x-correlation-id", "x"));
        all.push(sent.clone().with("content-type", "text/plain"));
        all.extend(
            ["", "{", "[]", "[1]", "7", "null", "{}", "\n"].map(|body| Sent { body: body.into(), ..sent.clone() }),
        );
        all.push(Sent { body: " ".repeat(5_000_000), ..sent.clone() });
    }
    let keyed = |last: &str| Sent { uri: format!("{command}?id={}{last}", &ITEM[..34]), ..receive.clone() };
    all.extend(["aa", "ff", "fe", "fd"].map(keyed));
    all.push(receive.clone().with("idempotency-key", "a b"));
    all.push(receive.clone().with("idempotency-key", "\"\""));
    all.push(Sent { uri: format!("{command}?other=1"), ..receive.clone() });
    all.push(Sent { body: received("-1"), ..receive.clone() });
    let customer = format!("Bearer {}", Engine::token(&json!({ "roles": ["customer"], "customer": ITEM })));
    all.push(receive.with("authorization", &customer));
    for accept in
        [JSON, "application/graphql-response+json", "*/*", "text/html", "text/event-stream", "text/event-stream, */*"]
    {
        for document in [
            "{ __typename }",
            "{",
            "{ nothing }",
            "{ stockLevels(first: 0) { totalCount } }",
            "subscription { stockLevels { position } }",
            "mutation { enableProgram { receipt { token } } }",
            "query($n: Int = 100) { products(first: $n) { edges { node { stockLevels(first: 100) { edges { cursor } } } } } }",
        ] {
            let body = json!({ "query": document }).to_string();
            all.push(Sent { body, ..query.clone() }.with("accept", accept));
        }
    }
    all.push(
        query
            .with("accept", "text/event-stream")
            .with("origin", "https://evil.example")
            .body(JSON, "{\"query\":\"subscription { stockLevels { position } }\"}"),
    );
    all
}

fn gets() -> Vec<Sent> {
    let receipt = "/v1/receipts/{id}";
    let (secret, deliveries) = ("/v1/webhooks/{id}/secret", "/v1/webhooks/{id}/deliveries");
    let (event, graphql) = ("/v1/events/{position}", "/graphql");
    let get = |path, uri: String| Sent::new(Method::GET, path, uri);
    let mut all = vec![
        get(receipt, format!("/v1/receipts/{UNKNOWN}")),
        get(receipt, "/v1/receipts/%20".into()),
        get(secret, format!("/v1/webhooks/{ITEM}/secret")),
        get(secret, "/v1/webhooks/x/secret".into()),
        get(secret, format!("/v1/webhooks/{ITEM}/secret")).with("x-correlation-id", "x"),
        get(deliveries, format!("/v1/webhooks/{ITEM}/deliveries")),
        get(deliveries, "/v1/webhooks/x/deliveries".into()),
        get(event, "/v1/events/7".into()),
        get(event, "/v1/events/8".into()),
        get(event, "/v1/events/x".into()),
        get(graphql, "/graphql".into()),
        get(graphql, "/graphql".into()).with("accept", "text/html"),
        get(graphql, "/graphql".into()).with("upgrade", "websocket"),
        get(graphql, "/graphql?query=mutation%7BenableProgram%7Breceipt%7Btoken%7D%7D%7D".into()),
        get(graphql, "/graphql?query=%7B__typename%7D&variables=x".into()),
        get(graphql, "/graphql?query=%7B__typename%7D".into()).with("x-correlation-id", "x"),
        get(graphql, "/graphql?query=%7B__typename%7D".into()).with("accept", "image/png"),
    ];
    for wrong in ["first=0", "first=x", "first=201", "before=x", "other=1"] {
        all.push(get(deliveries, format!("/v1/webhooks/{ITEM}/deliveries?{wrong}")));
    }
    for accept in [JSON, "application/graphql-response+json", "*/*"] {
        for query in ["%7B__typename%7D", "%7B", "%7Bnothing%7D"] {
            all.push(get(graphql, format!("/graphql?query={query}")).with("accept", accept));
        }
    }
    let staff = format!("Bearer {}", Engine::token(&json!({ "roles": ["staff"] })));
    let known = all.clone();
    all.extend(known.iter().map(|sent| sent.clone().with("authorization", "Bearer x")));
    all.extend(known.into_iter().map(|sent| sent.with("authorization", &staff)));
    all
}

#[tokio::test]
async fn every_status_and_media_type_is_documented() {
    let document = crate::openapi::document(&::commands::kernel::Commands::all());
    let state = Arc::new(Engine::default()).state();
    let mut undocumented = Vec::new();
    let (sent, mut statuses) = ([posts(), gets()].concat(), std::collections::BTreeSet::new());
    for sent in &sent {
        let response = router(state.clone()).oneshot(sent.request()).await.expect("an answer");
        let status = response.status();
        let media_type = response.headers()["content-type"].to_str().expect("a media type").split(';').next();
        let operation = &document["paths"][sent.path][sent.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{} {} is not documented", sent.method, sent.path);
        let documented = &operation["responses"][status.as_str()]["content"][media_type.expect("a media type")];
        if !documented.is_object() {
            let body: String = sent.body.chars().take(80).collect();
            undocumented.push(format!("{} {} {body}: {status} {media_type:?}", sent.method, sent.uri));
        }
        statuses.insert(status.as_u16());
    }
    assert!(undocumented.is_empty(), "{} of {}\n{}", undocumented.len(), sent.len(), undocumented.join("\n"));
    let seen: Vec<_> = statuses.into_iter().collect();
    assert_eq!(seen, [200, 400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 500, 503]);
}

#[tokio::test]
async fn methods_that_a_path_allows_are_documented() {
    let document = crate::openapi::document(&::commands::kernel::Commands::all());
    let state = Arc::new(Engine::default()).state();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 30);
    for (path, operations) in paths {
        let uri = path.replace("{id}", ITEM).replace("{position}", "7");
        let request = Request::builder().method(Method::DELETE).uri(uri).body(Body::empty()).expect("a request");
        let response = router(state.clone()).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 405, "{path}");
        let mut allowed: Vec<_> =
            response.headers()["allow"].to_str().expect("text").split(',').map(str::to_lowercase).collect();
        // `HEAD` belongs to `GET` (RFC 9110) and is not documented on its own.
        allowed.retain(|method| method != "head");
        allowed.sort_unstable();
        let mut documented: Vec<_> = operations.as_object().expect("operations").keys().cloned().collect();
        documented.sort_unstable();
        assert_eq!(allowed, documented, "{path}");
    }
}
