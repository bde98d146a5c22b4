//! Rules of the GraphQL over HTTP specification, in the order of the audits of the npm package `graphql-http`.

use std::sync::LazyLock;

use super::*;

const RESPONSE: &str = "application/graphql-response+json";
/// State of an engine that no test changes. Building it takes longer than a request.
static STATE: LazyLock<AppState> = LazyLock::new(|| Arc::new(Engine::default()).state());
/// A query with a variable.
const BY_NAME: &str = "query Type($name: String!) { __type(name: $name) { name } }";

/// `POST /graphql` with these headers.
async fn sent(headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::post("/graphql").header(AUTHORIZATION, bearer());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send_to(STATE.clone(), request.body(body.to_owned().into()).expect("a request")).await
}

async fn posted(accept: &str, body: &Value) -> Answer {
    sent(&[("content-type", JSON), ("accept", accept)], &body.to_string()).await
}

/// `GET /graphql` with these parameters.
async fn got(accept: Option<&str>, parameters: &[(&str, &str)]) -> Answer {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let mut request = Request::get(format!("/graphql?{}", pairs.join("&"))).header(AUTHORIZATION, bearer());
    if let Some(accept) = accept {
        request = request.header(ACCEPT, accept);
    }
    send_to(STATE.clone(), request.body(Body::empty()).expect("a request")).await
}

fn bearer() -> String {
    format!("Bearer {}", Engine::token(&json!({})))
}

fn media_type(answer: &Answer) -> &str {
    answer.headers["content-type"].to_str().expect("a media type")
}

#[tokio::test]
async fn media_type_of_the_answer_follows_the_accept_header() {
    let query = json!({ "query": "{ __typename }" });
    for (accept, expected) in [
        (RESPONSE, RESPONSE),
        (JSON, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("", JSON),
        ("application/graphql-response+json, application/json", RESPONSE),
        ("application/json;q=0.9, application/graphql-response+json", RESPONSE),
        ("application/graphql-response+json;q=0.5, */*", JSON),
        ("application/graphql-response+json;q=0.5, application/json;q=0.2", RESPONSE),
        ("text/html;q=0.9, */*;q=0.1", JSON),
    ] {
        let answer = posted(accept, &query).await;
        assert_eq!((answer.status, media_type(&answer)), (200, expected), "{accept}");
        assert_eq!(answer.json()["data"], json!({ "__typename": "Query" }));
        let answer = got(Some(accept), &[("query", "{ __typename }")]).await;
        assert_eq!(
            (answer.status, media_type(&answer)),
            if accept.contains("html") { (200, "text/html; charset=utf-8") } else { (200, expected) },
            "{accept}"
        );
    }
    let answer = sent(&[("content-type", JSON)], &query.to_string()).await;
    assert_eq!((answer.status, media_type(&answer)), (200, JSON), "a missing header accepts JSON");
    let answer = got(None, &[("query", "{ __typename }")]).await;
    assert_eq!((answer.status, media_type(&answer)), (200, JSON));
    for refused in ["text/html", "text/*", "application/json;q=0", "image/png, text/plain;q=0.5"] {
        assert_eq!(posted(refused, &query).await.code(), "NOT_ACCEPTABLE", "{refused}");
    }
    assert_eq!(got(Some("text/plain"), &[("query", "{ __typename }")]).await.code(), "NOT_ACCEPTABLE");
}

#[tokio::test]
async fn request_is_json_in_utf_8() {
    let query = r#"{"query":"{ __typename }"}"#;
    assert_eq!(sent(&[("content-type", "application/json; charset=utf-8")], query).await.status, 200);
    assert_eq!(sent(&[], query).await.status, 415);
    assert_eq!(sent(&[], "").await.status, 415);
    assert_eq!(sent(&[("content-type", JSON)], "").await.status, 400);
    for accept in [JSON, RESPONSE] {
        let headers = [("content-type", JSON), ("accept", accept)];
        for body in [r#"{ "not a JSON"#, r#"{"qeury":"{ __typename }"}"#, r#"{"notquery":"{ __typename }"}"#, "[]"] {
            let answer = sent(&headers, body).await;
            assert_eq!((answer.status, media_type(&answer)), (400, accept), "{body}");
            assert!(answer.json()["errors"][0]["message"].is_string() && answer.json().get("data").is_none());
        }
    }
}

#[tokio::test]
async fn parameters_have_their_types() {
    for accept in [JSON, RESPONSE] {
        for name in ["query", "operationName", "variables", "extensions"] {
            let text = matches!(name, "query" | "operationName");
            let other = if text { json!({ "obj": "ect" }) } else { json!("string") };
            for invalid in [other, json!(0), json!(false), json!(["array"])] {
                let mut body = json!({ "query": "{ __typename }" });
                body[name] = invalid;
                assert_eq!(posted(accept, &body).await.status, 400, "{accept} {body}");
            }
        }
        for valid in [
            json!({ "query": "{ __typename }", "variables": null, "operationName": null, "extensions": null }),
            json!({ "query": "query Query { __typename }", "operationName": "Query" }),
            json!({ "query": BY_NAME, "variables": { "name": "sometype" } }),
            json!({ "query": "{ __typename }", "extensions": { "some": "value" } }),
        ] {
            let answer = posted(accept, &valid).await;
            assert_eq!((answer.status, answer.json().get("errors")), (200, None), "{accept} {valid}");
        }
    }
}

#[tokio::test]
async fn invalid_document_is_400_or_200_by_the_media_type() {
    for (query, code) in [
        ("{", "SYNTAX"),
        ("{ 8f31403dfe404bccbb0e835f2629c6a7 }", "SYNTAX"),
        ("{ nothing }", "INVALID_QUERY"),
        (BY_NAME, "INVALID_QUERY"),
        ("subscription { a: stockLevels { position } b: stockLevels { position } }", "INVALID_QUERY"),
    ] {
        for (accept, status) in [(JSON, 200), ("*/*", 200), (RESPONSE, 400)] {
            let answers = [
                posted(accept, &json!({ "query": query, "variables": { "name": 5 } })).await,
                got(Some(accept), &[("query", query), ("variables", r#"{"name":5}"#)]).await,
            ];
            for answer in answers {
                let body = answer.json();
                assert_eq!(answer.status, status, "{accept} {query}");
                assert_eq!(body["errors"][0]["extensions"]["code"], code, "{accept} {query}: {body}");
                assert!(body.get("data").is_none(), "{body}");
            }
        }
    }
    // A limit of ours is no rule of the specification.
    let deep = json!({ "query": format!("{{ a(x: {}1{}) }}", "[".repeat(100), "]".repeat(100)) });
    assert_eq!([posted(JSON, &deep).await.status, posted(RESPONSE, &deep).await.status], [400, 400]);
}

#[tokio::test]
async fn query_in_an_address_is_executed_and_a_mutation_is_not() {
    for accept in [Some(RESPONSE), Some(JSON), Some("*/*"), None] {
        let answer = got(accept, &[("query", BY_NAME), ("variables", r#"{"name":"Query"}"#)]).await;
        assert_eq!((answer.status, &answer.json()["data"]["__type"]["name"]), (200, &json!("Query")), "{accept:?}");
        let answer =
            got(accept, &[("query", "query A { __typename } query B { b: __typename }"), ("operationName", "B")]).await;
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!({ "b": "Query" })), "{accept:?}");
        let answer = got(accept, &[("query", "mutation { enableProgram { receipt { token } } }")]).await;
        assert_eq!((answer.status, &answer.headers["allow"]), (405, &HeaderValue::from_static("POST")), "{accept:?}");
        assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "METHOD_NOT_ALLOWED");
        for (name, value) in
            [("variables", "["), ("variables", "[]"), ("extensions", "7"), ("token", "x"), ("query", "{}")]
        {
            let answer = got(accept, &[("query", "{ __typename }"), (name, value)]).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["extensions"]["code"]),
                (400, &json!("INVALID_REQUEST")),
                "{name}={value}"
            );
        }
        assert_eq!(got(accept, &[]).await.status, 400, "no query: {accept:?}");
    }
    let anonymous = Request::get("/graphql?query=%7B__typename%7D").body(Body::empty()).expect("a request");
    assert_eq!(send_to(STATE.clone(), anonymous).await.status, 401);
}

#[tokio::test]
async fn document_can_be_named_by_its_hash() {
    let text = "{ persisted: __typename }";
    // Computed by another implementation of SHA-256.
    let hash = "fba5df2a77512d3d47ab5b4ba4acbbb70abdb92fbee5b584133a16ce744a34de";
    let (id, apollo) = (format!("sha256:{hash}"), json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } }));
    for (accept, status) in [(JSON, 200), (RESPONSE, 400)] {
        let unknown = posted(
            accept,
            &json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } } }),
        )
        .await;
        let error = unknown.json()["errors"][0].clone();
        assert_eq!((unknown.status, &error["message"]), (status, &json!("PersistedQueryNotFound")));
        assert_eq!(error["extensions"]["code"], "PERSISTED_QUERY_NOT_FOUND");
        let wrong = posted(accept, &json!({ "query": "{ __typename }", "documentId": id })).await;
        assert_eq!(
            (wrong.status, wrong.json()["errors"][0]["extensions"]["code"].as_str()),
            (400, Some("PERSISTED_QUERY_MISMATCH"))
        );
        for request in [
            json!({ "query": text, "extensions": apollo }),
            json!({ "extensions": apollo }),
            json!({ "documentId": id }),
            json!({ "documentId": id, "query": null }),
        ] {
            let answer = posted(accept, &request).await;
            assert_eq!(answer.json()["data"], json!({ "persisted": "Query" }), "{request}");
        }
        let answer = got(Some(accept), &[("documentId", &id)]).await;
        assert_eq!(answer.json()["data"], json!({ "persisted": "Query" }));
        for malformed in [json!({}), json!({ "documentId": "" }), json!({ "extensions": { "persistedQuery": 5 } })] {
            let answer = posted(accept, &malformed).await;
            let code = answer.json()["errors"][0]["extensions"]["code"].clone();
            assert_eq!((answer.status, code), (400, json!("INVALID_REQUEST")), "{malformed}");
        }
    }
}

#[tokio::test]
async fn browser_gets_the_console_and_nothing_else_does() {
    let page = async |path: &str, accept: &str| {
        let request = Request::get(path).header(ACCEPT, accept).body(Body::empty()).expect("a request");
        let answer = send_to(STATE.clone(), request).await;
        (answer.status, answer.headers["content-type"].to_str().expect("a media type").to_owned())
    };
    let html = (200, "text/html; charset=utf-8".to_owned());
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
    for path in ["/graphql", "/graphql?query=%7B__typename%7D"] {
        assert_eq!(page(path, browser).await, html);
        assert_eq!(page(path, "text/html").await, html);
        for other in ["*/*", JSON, RESPONSE, "text/html;q=0.5, application/json", "text/html, application/json"] {
            assert_eq!(page(path, other).await, (401, "application/problem+json".to_owned()), "{path} {other}");
        }
    }
}

#[tokio::test]
async fn console_loads_only_files_of_this_server_and_evaluates_no_text() {
    let fetch = async |path: &str| {
        let request = Request::get(path).header(ACCEPT, "text/html").body(Body::empty()).expect("a request");
        send_to(STATE.clone(), request).await
    };
    let page = fetch("/graphql").await;
    let policy = page.headers["content-security-policy"].to_str().expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = &page.text;
    let paths: Vec<_> = text.split(['"', '\'']).filter(|part| part.starts_with("/graphql/console/")).collect();
    assert_eq!(paths.len(), 6, "{text}");
    for path in paths {
        let file = fetch(path).await;
        assert_eq!(file.status, 200, "{path}");
        for forbidden in ["eval(", "new Function(", "@import", "src=\"http", "url(http"] {
            assert!(!file.text.contains(forbidden), "{path}: {forbidden}");
        }
    }
    assert_eq!(fetch("/graphql/console/other.js").await.status, 404);
}
