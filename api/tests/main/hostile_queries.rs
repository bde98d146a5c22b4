//! GraphQL documents that are known to exhaust servers: each is refused, and the process continues to work.

use std::fmt::Write;

use anyhow::{Context, Result};
use cartulary::cli::Bearer;
use domain::shared::Role;
use lab::harness::{Engine, HttpRequest, HttpResponse, WAIT_TIMEOUT};
use serde_json::{Value, json};
use tokio::time::timeout;

/// A request with a name.
struct Hostile {
    name: String,
    body: String,
    kind: &'static str,
}

fn document(name: impl Into<String>, query: impl Into<String>) -> Hostile {
    Hostile { name: name.into(), body: json!({ "query": query.into() }).to_string(), kind: "application/json" }
}

fn body(name: &str, body: impl Into<String>) -> Hostile {
    Hostile { name: name.into(), body: body.into(), kind: "application/json" }
}

fn repeated(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().join(" ")
}

fn nested() -> Vec<Hostile> {
    let list =
        |depth: usize| format!("{{ products(filter: {}1{}) {{ totalCount }} }}", "[".repeat(depth), "]".repeat(depth));
    let object =
        |depth: usize| format!("{{ products(filter: {}1{}) {{ a }} }}", "{a:".repeat(depth), "}".repeat(depth));
    let fields = |depth: usize| format!("{{ {} a {} }}", "order { ".repeat(depth), "} ".repeat(depth));
    let types = |depth: usize| format!("query Q($v: {}Int{}) {{ __typename }}", "[".repeat(depth), "]".repeat(depth));
    let mut all: Vec<_> = [1_600, 5_000].map(|depth| document(format!("a list nested {depth}"), list(depth))).into();
    all.push(document("an object nested 1,500", object(1_500)));
    all.push(document("fields nested 1,000", fields(1_000)));
    all.push(document("an unused variable whose type is nested 400", types(400)));
    all.push(document("brackets that never close", "{".repeat(5_000)));
    let deep = format!("{}1{}", "[".repeat(129), "]".repeat(129));
    all.push(body("a variable nested 129", format!(r#"{{"query":"{{__typename}}","variables":{{"v":{deep}}}}}"#)));
    all
}

/// A document whose fragments each spread the next one twice: its size doubles with every level.
fn bomb(levels: usize) -> String {
    let mut text = String::from("{ products { edges { node { ...f0 } } } }");
    for level in 0..levels {
        let next = level + 1;
        write!(text, " fragment f{level} on Product {{ ...f{next} ...f{next} }}").expect("a string");
    }
    write!(text, " fragment f{levels} on Product {{ name }}").expect("a string");
    text
}

fn fragments() -> Vec<Hostile> {
    let mut all: Vec<_> =
        [15, 20, 25, 28, 40, 60].map(|levels| document(format!("a bomb of {levels} fragments"), bomb(levels))).into();
    all.push(document("a fragment that spreads itself", "{ ...a } fragment a on Query { ...a }"));
    let ring = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...c } fragment c on Query { ...a }";
    all.push(document("a ring of three fragments", ring));
    all.push(document(
        "introspection through fragments",
        "{ ...a } fragment a on Query { __schema { types { name } } }",
    ));
    all.push(document("introspection of one type", "{ __type(name: \"Query\") { fields { name } } }"));
    all
}

fn floods() -> Vec<Hostile> {
    vec![
        document("1,000 aliases", format!("{{ {} }}", repeated(1_000, |n| format!("a{n}: __typename")))),
        document("100,000 aliases", format!("{{ {} }}", repeated(100_000, |n| format!("a{n}: __typename")))),
        document("200,000 repeated fields", format!("{{ {} }}", repeated(200_000, |_| "__typename".into()))),
        document("a flood of __typename", format!("{{ {} }}", repeated(1_500, |_| "__typename".into()))),
        document("20,000 directives", format!("{{ __typename {} }}", repeated(20_000, |_| "@skip(if: false)".into()))),
        document("1,000 directives", format!("{{ __typename {} }}", repeated(1_000, |_| "@skip(if: false)".into()))),
        document(
            "1,000 variables",
            format!("query Q({}) {{ __typename }}", repeated(1_000, |n| format!("$v{n}: Int"))),
        ),
        document("2 MB of blanks", format!("{{ __typename {} }}", " ".repeat(2_000_000))),
        document("200 KB of blanks", format!("{{ __typename {} }}", " ".repeat(200_000))),
        body("a list of 100 operations", Value::from(vec![json!({ "query": "{ __typename }" }); 100]).to_string()),
        document("many operations and no name", "query A { __typename } query B { __typename }"),
        document("a string that never ends", format!("{{ a(b: \"{}", "x".repeat(10_000))),
        document("a block string that never ends", format!("{{ a(b: \"\"\"{}", "x\\\"\"\"".repeat(1_000))),
        document("comments only", "#".repeat(16_000)),
        document("nothing", ""),
    ]
}

fn arguments() -> Vec<Hostile> {
    let orders = |arguments: &str| format!("{{ orders({arguments}) {{ edges {{ node {{ order }} }} }} }}");
    let mut all: Vec<_> =
        ["first: -1", "first: 1000000000", "first: 1.0", "first: \"1\"", "first: 99999999999999999999"]
            .map(|arguments| document(arguments, orders(arguments)))
            .into();
    all.push(document("first and last", orders("first: 1, last: 1")));
    all.push(document("an edited cursor", orders("first: 1, after: \"AAAA\"")));
    all.push(document("a cursor of another kind", orders("first: 1, after: \"' OR 1=1 --\"")));
    all.push(document("an id as a number", "{ order(order: 5) { status } }"));
    all.push(document("a token that is none", orders("minPosition: \"x\"")));
    all.push(document("a subscription", "subscription { orders { edges { node { order } } } }"));
    all.push(document("a wrong name with a near one", "{ ordres { edges { node { order } } } }"));
    let page = "stores(first: 100) { edges { node { orders(first: 100) { edges { node { timeline(first: 100) { edges { node { kind } } } } } } } } }";
    all.push(document("a million rows at once", format!("{{ {page} }}")));
    let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } });
    all.push(body("a persisted hash without its text", json!({ "extensions": persisted }).to_string()));
    all.push(body("two queries in one body", r#"{"query":"{__typename}","query":"{__typename}"}"#));
    let parts = "--x\r\ncontent-disposition: form-data; name=\"0\"\r\n\r\n1\r\n".repeat(3_000) + "--x--\r\n";
    all.push(Hostile { name: "multipart".into(), body: parts, kind: "multipart/form-data; boundary=x" });
    all
}

/// Sends a request. An answer that does not come in time is an error: a server that expanded the exponential documents
/// would never answer.
async fn ask(engine: &Engine, token: &str, hostile: &Hostile) -> Result<HttpResponse> {
    let mut request = HttpRequest::post("/graphql", token, hostile.kind, hostile.body.clone());
    request.headers.push(("accept".into(), "application/graphql-response+json".into()));
    let response = timeout(WAIT_TIMEOUT, engine.send(&request)).await;
    let response = response.with_context(|| format!("{} hangs", hostile.name))?;
    response.with_context(|| format!("{} breaks the connection", hostile.name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_documents_are_refused_without_details_and_the_process_lives_on() -> Result<()> {
    let engine = Engine::start().await?;
    let (tenant, _) = engine.tenant().await?;
    let token = engine.token(&Bearer::of(tenant, Role::Owner))?;
    let mut wrong = vec![];
    for hostile in [nested(), fragments(), floods(), arguments()].into_iter().flatten() {
        let got = ask(&engine, &token, &hostile).await?;
        let text = String::from_utf8_lossy(&got.body).into_owned();
        let leaks = ["panicked", ".rs:", "SELECT", "sqlx", "async-graphql", "Did you mean"]
            .iter()
            .any(|word| text.contains(word));
        if !(400..500).contains(&got.status) || leaks {
            let text: String = text.chars().take(300).collect();
            wrong.push(format!("{}: {}: {text}", hostile.name, got.status));
        }
    }
    let alive = engine.query(&token, "{ stores(first: 1) { edges { node { name } } } }").await?;
    assert_eq!(alive["stores"]["edges"][0]["node"]["name"], "Corner shop");
    engine.close().await;
    assert!(wrong.is_empty(), "{} documents were not refused\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_needs_post_a_token_and_json() -> Result<()> {
    let engine = Engine::start().await?;
    let (tenant, _) = engine.tenant().await?;
    let token = engine.token(&Bearer::of(tenant, Role::Owner))?;
    let query = json!({ "query": "{ __typename }" }).to_string();
    let sent = |method: &str, path: &str, headers: &[(&str, &str)]| HttpRequest {
        method: method.into(),
        path: path.into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: query.clone().into(),
    };
    let bearer = format!("Bearer {token}");
    let json = ("content-type", "application/json");
    for (name, sent, status) in [
        ("no token", sent("POST", "/graphql", &[json]), 401),
        ("a token in the address", sent("POST", &format!("/graphql?access_token={token}"), &[json]), 401),
        ("two tokens", sent("POST", "/graphql", &[json, ("authorization", &bearer), ("authorization", &bearer)]), 401),
        (
            "another media type",
            sent("POST", "/graphql", &[("content-type", "text/plain"), ("authorization", &bearer)]),
            415,
        ),
        ("another method", sent("PUT", "/graphql", &[json, ("authorization", &bearer)]), 405),
    ] {
        assert_eq!(engine.send(&sent).await?.status, status, "{name}");
    }
    let (before, _) = engine.written(tenant.uuid()).await?;
    let mutation = "/graphql?query=mutation%7BenableProgram%7Breceipt%7Btoken%7D%7D%7D";
    let got = engine.send(&sent("GET", mutation, &[("authorization", &bearer)])).await?;
    assert_eq!(got.status, 405, "a GET changes nothing: {}", got.json());
    assert_eq!(engine.written(tenant.uuid()).await?.0, before, "and changes nothing");
    engine.close().await;
    Ok(())
}
