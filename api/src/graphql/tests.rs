//! Tests of the GraphQL API against an engine in memory.

mod empty_conditions;
mod search;
mod work;

use std::sync::Arc;

use axum::extract::FromRef;
use serde_json::{Value as Json, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::auth::Authenticator;
use crate::testing::Engine;

const ITEM: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";

fn id(number: u128) -> Json {
    json!(Uuid::from_u128(number))
}

fn level(item: u128, product: u128, available: i64) -> Json {
    json!({
        "stock_item": id(item), "product": id(product), "store": id(8), "on_hand": available, "reserved": 0,
        "available": available, "low_at": 0, "status": "ok", "changed_at": "2026-11-20T12:00:00Z",
    })
}

fn product(number: u128, name: &str) -> Json {
    json!({
        "product": id(number), "sku": "SKU-1", "name": name, "description": null, "price_minor": 4200,
        "currency": "EUR", "status": "published", "created_at": "2026-11-20T12:00:00Z",
        "changed_at": "2026-11-20T12:00:00Z",
    })
}

fn customer(number: u128) -> Json {
    json!({
        "customer": id(number), "name": "sealed.v1.ada", "email": null, "phone": null, "email_index": "email/ada@x.org",
        "registered": true, "source": null, "known_since": "2026-11-20T12:00:00Z",
        "changed_at": "2026-11-20T12:00:00Z",
    })
}

fn engine() -> Arc<Engine> {
    let mut engine = Engine::default();
    engine.rows.insert(
        "StockLevel",
        (1..=5).map(|n| level(n, 100 + n % 2, i64::try_from(n).expect("a small number"))).collect(),
    );
    let mut draft = product(102, "Pot");
    draft["status"] = json!("draft");
    engine.rows.insert("Product", vec![product(100, "Tea"), product(101, "Cup"), draft]);
    engine.rows.insert("Customer", vec![customer(1), customer(2)]);
    Arc::new(engine)
}

async fn ask_as(engine: &Arc<Engine>, claims: &Json, query: &str, variables: Json) -> Json {
    let state = engine.state();
    let (service, auth) = (Arc::<GraphqlExecutor>::from_ref(&state), Arc::<Authenticator>::from_ref(&state));
    let mut headers = axum::http::HeaderMap::new();
    let token = format!("Bearer {}", Engine::token(claims));
    headers.insert("authorization", token.parse().expect("a header"));
    let caller = auth.caller(&headers, service.backend.now()).expect("a caller");
    let answer_once = async || {
        let request = GraphqlRequest {
            query: Some(query.into()),
            document_id: None,
            operation: None,
            variables: variables.clone(),
        };
        let answered = match check(&service, request) {
            Ok(checked) => answer(&service, caller.clone(), None, checked).await,
            Err(refusal) => Err(refusal),
        };
        answered.map_or_else(|(_, body)| body, |body| serde_json::from_str(&body).expect("JSON"))
    };
    let first = answer_once().await;
    if !query.starts_with("mutation") {
        // The second time, the document has a plan if it is known to be valid.
        let reads = engine.reads.lock().expect("not poisoned").clone();
        let second = answer_once().await;
        assert_eq!((&second["data"], &second["errors"]), (&first["data"], &first["errors"]), "{query}");
        *engine.reads.lock().expect("not poisoned") = reads;
    }
    first
}

async fn ask(engine: &Arc<Engine>, query: &str) -> Json {
    ask_as(engine, &json!({}), query, json!({})).await
}

fn code(answer: &Json) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code: {answer}"))
}

#[tokio::test]
async fn mutation_returns_a_receipt_a_rejection_or_user_errors() {
    let engine = engine();
    let mutation = |id: &str, units: &str| {
        format!(
            "mutation {{ receiveStock(input: {{item: \"{ITEM}\", units: {units}}}, commandId: \"{id}\") {{ \
             commandId receipt {{ token tenantPosition replayed changed {{ type id version }} }} \
             rejection {{ code message details retry }} userErrors {{ field message code }} }} }}"
        )
    };
    let answer = ask(&engine, &mutation("delivery-7", "5")).await;
    let payload = &answer["data"]["receiveStock"];
    assert_eq!(payload["receipt"]["changed"][0]["version"], 4, "{answer}");
    assert_eq!((&payload["rejection"], &payload["userErrors"]), (&Json::Null, &json!([])));

    let answer = ask(&engine, &mutation(&format!("{}ff", &ITEM[..34]), "5")).await;
    let rejection = json!({ "code": "OUT_OF_STOCK", "message": "there is none left", "details": { "available": 0 }, "retry": "NEW_ID" });
    assert_eq!(answer["data"]["receiveStock"]["rejection"], rejection, "{answer}");

    let answer = ask(&engine, &mutation("delivery-8", "0")).await;
    let error = &answer["data"]["receiveStock"]["userErrors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!(["units"]), &json!("INVALID_FIELD")), "{answer}");
    assert_eq!(answer["data"]["receiveStock"]["receipt"], Json::Null);

    let answer = ask(&engine, &mutation(&format!("{}fe", &ITEM[..34]), "5")).await;
    assert_eq!((code(&answer), &answer["errors"][0]["extensions"]["retry"]), ("OVERLOADED", &json!("SAME_ID")));
    let answer = ask(&engine, &mutation(&format!("{}fd", &ITEM[..34]), "5")).await;
    assert!(code(&answer) == "INTERNAL" && !answer.to_string().contains("relation"), "{answer}");
    let answer = ask_as(&engine, &json!({ "roles": ["staff"] }), &mutation("delivery-9", "5"), json!({})).await;
    assert_eq!(code(&answer), "FORBIDDEN");
    assert_eq!(engine.submitted.lock().expect("not poisoned").len(), 4);
}

#[tokio::test]
async fn variables_are_converted_to_the_json_of_the_command() {
    let engine = engine();
    let query = "mutation($input: AdjustStockInput!) { adjustStock(input: $input) { userErrors { field code } receipt { token } } }";
    let input = json!({ "input": { "item": ITEM, "change": -3, "reason": "broken \u{1f6d2}", "force": null } });
    let answer = ask_as(&engine, &json!({}), query, input).await;
    assert_eq!(answer["data"]["adjustStock"]["userErrors"], json!([]), "{answer}");
    for (name, value) in [("item", json!("5")), ("change", json!(1.5)), ("change", json!("1")), ("extra", json!(1))] {
        let mut input = json!({ "input": { "item": ITEM, "change": -3, "reason": "broken" } });
        input["input"][name] = value;
        let answer = ask_as(&engine, &json!({}), query, input).await;
        assert_eq!(code(&answer), "INVALID_QUERY", "{answer}");
    }
    let names: Vec<_> = engine.submitted.lock().expect("not poisoned").iter().map(|(name, _)| name.clone()).collect();
    assert!(names.iter().all(|name| name == "AdjustStock"), "{names:?}");
}

#[tokio::test]
async fn rows_are_paged_by_cursor_and_invalid_arguments_are_refused() {
    let engine = engine();
    let page = |more: &str| {
        format!(
            "{{ stockLevels(first: 2, order: {{by: AVAILABLE}}{more}) {{ totalCount edges {{ cursor node {{ available }} }} \
             pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}"
        )
    };
    let first = ask(&engine, &page("")).await;
    let levels = &first["data"]["stockLevels"];
    assert_eq!((&levels["totalCount"], &levels["pageInfo"]["hasNextPage"]), (&json!(5), &json!(true)), "{first}");
    let end = levels["pageInfo"]["endCursor"].as_str().expect("a cursor");
    assert_eq!(levels["edges"][1]["cursor"], end);
    let second = ask(&engine, &page(&format!(", after: \"{end}\""))).await;
    assert_eq!(second["data"]["stockLevels"]["edges"][0]["node"]["available"], 3, "{second}");
    assert_eq!(second["data"]["stockLevels"]["pageInfo"]["hasPreviousPage"], true);

    for invalid in [
        page(&format!(", after: \"{end}\"")).replace("AVAILABLE", "PRODUCT"),
        page(&format!(", after: \"{end}\"")).replace("}, after", ", direction: DESC}, after"),
        page(", after: \"x\""),
        page("").replace("first: 2", "first: 0"),
        page("").replace("first: 2", "first: -1"),
        page("").replace("first: 2", "first: 1000000000"),
        page(&format!(", filter: {{available: {{in: [{}]}}}}", "1, ".repeat(101))),
        page(", filter: {status: {eq: \"fine\"}}"),
        page(", filter: {status: {in: [\"ok\", \"OK\"]}}"),
    ] {
        assert_eq!(code(&ask(&engine, &invalid).await), "INVALID_ARGUMENT", "{invalid}");
    }
    let filtered = ask(&engine, &page(", filter: {available: {gte: 4}, status: {eq: \"ok\"}}")).await;
    assert_eq!(filtered["data"]["stockLevels"]["totalCount"], 2, "{filtered}");
    for invalid in [", filter: {onHand: {eq: 1}}", ", filter: {available: {eq: \"1\"}}", ", last: 2"] {
        assert_eq!(code(&ask(&engine, &page(invalid)).await), "INVALID_QUERY", "{invalid}");
    }
}

#[tokio::test]
async fn row_is_found_by_its_key_in_any_spelling() {
    let engine = engine();
    let key = Uuid::from_u128(3).to_string();
    for key in [key.clone(), key.to_uppercase()] {
        let answer = ask(&engine, &format!("{{ stockLevel(stockItem: \"{key}\") {{ available status }} }}")).await;
        assert_eq!(answer["data"]["stockLevel"], json!({ "available": 3, "status": "ok" }), "{answer}");
    }
    let answer = ask(&engine, &format!("{{ stockLevel(stockItem: \"{ITEM}\") {{ available }} }}")).await;
    assert_eq!(answer["data"], json!({ "stockLevel": null }));
    assert_eq!(code(&ask(&engine, "{ stockLevel(stockItem: 5) { available } }").await), "INVALID_QUERY");
}

#[tokio::test]
async fn relation_is_loaded_in_one_batch_for_all_rows() {
    let engine = engine();
    let query = "{ stockLevels { edges { node { productId product { name stockLevels(first: 1) { edges { node { available } } } } } } } }";
    let answer = ask(&engine, query).await;
    let edges = answer["data"]["stockLevels"]["edges"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(edges.len(), 5);
    for edge in edges {
        let node = &edge["node"];
        let name = if node["productId"] == id(100) { "Tea" } else { "Cup" };
        assert_eq!(node["product"]["name"], name);
        assert_eq!(node["product"]["stockLevels"]["edges"].as_array().map(Vec::len), Some(1));
    }
    let reads = engine.reads.lock().expect("not poisoned").clone();
    assert_eq!(
        reads,
        [("StockLevel".into(), 1), ("Product".into(), 1), ("StockLevel".into(), 2)],
        "one read per level"
    );
}

#[tokio::test]
async fn personal_fields_are_decrypted_for_the_owner_and_the_customer_concerned() {
    let engine = engine();
    let query = "{ customers { edges { node { customer name email } } } }";
    let names = |answer: &Json| -> Vec<Json> {
        let edges = answer["data"]["customers"]["edges"].as_array().unwrap_or_else(|| panic!("{answer}"));
        edges.iter().map(|edge| edge["node"]["name"].clone()).collect()
    };
    assert_eq!(names(&ask(&engine, query).await), ["name:ada", "name:ada"]);
    let customer_claims = json!({ "roles": ["customer"], "customer": id(2) });
    let answer = ask_as(&engine, &customer_claims, query, json!({})).await;
    assert_eq!(names(&answer), ["name:ada"], "a customer sees only their own row");
    assert_eq!(answer["data"]["customers"]["edges"][0]["node"]["customer"], id(2));
    let staff = json!({ "roles": ["staff"] });
    assert_eq!(code(&ask_as(&engine, &staff, query, json!({})).await), "FORBIDDEN");
    assert!(!answer.to_string().contains("sealed.v1"));

    let answer = ask(&engine, "{ customers(filter: {email: {eq: \"Ada@X.org\"}}) { totalCount } }").await;
    assert_eq!(answer["data"]["customers"]["totalCount"], 2, "{answer}");
    assert_eq!(
        code(&ask(&engine, "{ customers(filter: {email: {eq: \"ada\"}}) { totalCount } }").await),
        "INVALID_ARGUMENT"
    );
    assert_eq!(code(&ask(&engine, "{ customers(order: {by: EMAIL_INDEX}) { totalCount } }").await), "INVALID_QUERY");
}

#[tokio::test]
async fn customer_sees_published_products_and_no_drafts() {
    let engine = engine();
    let customer_claims = json!({ "roles": ["customer"], "customer": id(2) });
    let answer = ask_as(&engine, &customer_claims, "{ products { edges { node { name } } } }", json!({})).await;
    assert_eq!(answer["data"]["products"]["edges"].as_array().map(Vec::len), Some(2), "no draft: {answer}");
    let draft = format!("{{ product(product: {}) {{ name }} }}", id(102));
    assert_eq!(ask_as(&engine, &customer_claims, &draft, json!({})).await["data"]["product"], Json::Null);
    assert_eq!(ask(&engine, &draft).await["data"]["product"]["name"], "Pot");
    let movements = ask_as(&engine, &customer_claims, "{ stockMovements { edges { cursor } } }", json!({})).await;
    assert_eq!((&movements["data"]["stockMovements"], code(&movements)), (&Json::Null, "FORBIDDEN"));
}

#[tokio::test]
async fn caller_without_the_permission_sees_public_fields_only() {
    let engine = engine();
    let customer = json!({ "roles": ["customer"], "customer": id(2) });
    let staff = json!({ "roles": ["staff"] });
    for claims in [&customer, &staff] {
        let query = "{ stockLevels(filter: {available: {gte: 4}}) { edges { node { stockItem productId storeId available } } } }";
        let answer = ask_as(&engine, claims, query, json!({})).await;
        let edges = answer["data"]["stockLevels"]["edges"].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(edges.len(), 2, "{answer}");
        for hidden in ["onHand", "reserved", "lowAt", "status", "changedAt"] {
            for query in [
                format!("{{ stockLevels {{ edges {{ node {{ {hidden} }} }} }} }}"),
                format!("{{ stockLevel(stockItem: {}) {{ {hidden} }} }}", id(3)),
                format!("{{ product(product: {}) {{ stockLevels {{ edges {{ node {{ {hidden} }} }} }} }} }}", id(100)),
            ] {
                let null = format!("\"{hidden}\":null");
                let answer = ask_as(&engine, claims, &query, json!({})).await;
                assert_eq!(
                    answer.to_string().matches(hidden).count(),
                    answer.to_string().matches(&null).count(),
                    "{answer}"
                );
                let answer = ask(&engine, &query).await;
                assert!(answer.to_string().contains(hidden) && !answer.to_string().contains(&null), "{answer}");
            }
        }
        for arguments in ["filter: {status: {eq: \"ok\"}}", "order: {by: STATUS}"] {
            let query = format!("{{ stockLevels({arguments}) {{ edges {{ cursor }} }} }}");
            assert_eq!(code(&ask_as(&engine, claims, &query, json!({})).await), "FORBIDDEN", "{query}");
            assert!(ask(&engine, &query).await["errors"].is_null(), "{query}");
        }
    }
}

#[tokio::test]
async fn min_position_waits_for_all_selected_read_models() {
    let engine = engine();
    let token = |tenant_position, epoch| crate::port::Freshness { tenant_position, epoch }.to_token();
    let ask_at = async |token: &str| {
        let query = "query($at: String) { stockLevels(minPosition: $at) { edges { node { product { name } } } } }";
        ask_as(&engine, &json!({}), query, json!({ "at": token })).await
    };
    assert!(ask_at(&token(8, 3)).await["data"]["stockLevels"].is_object());
    let behind = ask_at(&token(9, 3)).await;
    assert_eq!(code(&behind), "BEHIND");
    let message = behind["errors"][0]["message"].as_str().expect("a message");
    assert!(message.contains("Product, StockLevel"), "the wait includes the read model of the relation: {message}");
    assert_eq!(code(&ask_at(&token(1, 4)).await), "OTHER_HISTORY");
    assert_eq!(code(&ask_at("8").await), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn query_cost_is_charged_and_limited() {
    let engine = engine();
    let answer = ask(&engine, "{ stockLevels(first: 10) { edges { node { available } } } }").await;
    let cost = &answer["extensions"]["cost"];
    assert_eq!((&cost["requestedQueryCost"], &cost["actualQueryCost"]), (&json!(10), &json!(5)), "{answer}");
    assert_eq!(
        cost["throttleStatus"],
        json!({ "maximumAvailable": 100_000, "currentlyAvailable": 99_995, "restoreRate": 5_000 })
    );
    let expensive = "query($n: Int = 100) { products(first: $n) { edges { node { stockLevels(first: 100) { edges { cursor } } } } } }";
    assert_eq!(code(&ask_as(&engine, &json!({}), expensive, json!({ "n": 100 })).await), "TOO_COSTLY");

    let aliased = "{ a: stockLevels(first: 3) { totalCount } b: product(product: \"0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b\") { stockLevels(first: 7) { totalCount } } c: __typename }";
    let cost = ask(&engine, aliased).await["extensions"]["cost"].clone();
    assert_eq!((&cost["requestedQueryCost"], &cost["actualQueryCost"]), (&json!(3 + 8 + 1), &json!(3)), "{cost}");
    // A customer has a smaller budget.
    let customer = json!({ "roles": ["customer"], "customer": id(2) });
    let cost = ask_as(&engine, &customer, "{ __typename }", json!({})).await["extensions"]["cost"].clone();
    assert_eq!((&cost["throttleStatus"]["maximumAvailable"], &cost["actualQueryCost"]), (&json!(10_000), &json!(1)));
}

#[tokio::test]
async fn command_without_fields_takes_no_input() {
    let answer = ask(&engine(), "mutation { enableProgram { receipt { token } userErrors { code } } }").await;
    assert!(answer["data"]["enableProgram"]["receipt"]["token"].is_string(), "{answer}");
}

#[tokio::test]
async fn introspection_and_suggestions_are_off_by_default() {
    let graph = Graph::new(&Commands::all(), &Models::all(), crate::relations(), false).expect("a schema");
    for query in [
        "{ __schema { types { name } } }",
        "{ __type(name: \"Order\") { name } }",
        "{ ...F } fragment F on Query { ... { __schema { types { name } } } }",
    ] {
        let response = graph.schema.execute(query).await;
        let text = serde_json::to_string(&response).expect("JSON");
        assert!(!text.contains("Order\"") && !text.contains("StockLevel"), "{text}");
    }
    let response = graph.schema.execute("{ stockLevell { x } }").await;
    let text = serde_json::to_string(&response.errors).expect("JSON");
    assert!(!text.contains("Did you mean"), "{text}");
}

#[tokio::test]
async fn example_query_of_the_console_page_is_answered_without_errors() {
    let engine = engine();
    let request = axum::http::Request::get("/graphql").header("accept", "text/html");
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let response = crate::http::router(engine.state()).oneshot(request).await.expect("a response");
    let page = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    let page = String::from_utf8(page.into()).expect("UTF-8");
    let (_, template) = page.split_once("<template id=\"query\">").expect("a template");
    let (query, _) = template.split_once("</template>").expect("the end of the template");
    let answer = ask(&engine, query).await;
    assert_eq!(answer["errors"], Json::Null, "{query}\n{answer}");
    let field = answer["data"].as_object().and_then(|data| data.values().next()).expect("a field");
    assert!(field["edges"].as_array().is_some_and(|edges| !edges.is_empty()), "{query}\n{answer}");
}

#[tokio::test]
async fn example_query_of_every_read_model_is_valid() {
    let (engine, models) = (Arc::new(Engine::default()), Models::all());
    for model in models.iter() {
        let query = example::query_of(model, &models, &crate::relations());
        let answer = ask(&engine, &query).await;
        // An invalid query is not executed and has no data.
        assert!(answer["data"].is_object(), "{query}\n{answer}");
    }
}

#[test]
fn schema_is_built_from_the_catalogues() {
    let sdl = sdl().expect("a schema");
    for line in ["type Query {", "type Mutation {", "scalar Long", "input AdjustStockInput {"] {
        assert!(sdl.contains(line), "{line} is missing");
    }
}

#[tokio::test]
async fn document_that_was_answered_without_errors_has_a_plan() {
    let engine = engine();
    let state = engine.state();
    let service = Arc::<GraphqlExecutor>::from_ref(&state);
    let caller = async |document: &str| {
        let auth = Arc::<Authenticator>::from_ref(&state);
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", Engine::token(&json!({}))).parse().expect("a header"));
        let caller = auth.caller(&headers, service.backend.now()).expect("a caller");
        let request =
            GraphqlRequest { query: Some(document.into()), document_id: None, operation: None, variables: json!({}) };
        let Ok(checked) = check(&service, request) else { return false };
        _ = answer(&service, caller, None, checked).await;
        service.plans.find(&document.to_owned(), None).is_some()
    };
    for document in [
        "{ __typename products { __typename edges { __typename cursor node { __typename name } } } }",
        "query Named($n: Int = 2) { a: products(first: $n) { totalCount } b: products { ...F } } \
         fragment F on ProductConnection { edges { node { sku ... on Product { name } ... { name } } } }",
        "{ customers { edges { node { name orders { edges { node { lines { product quantity __typename } } } } } } } }",
        "{ stockLevels { pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }",
    ] {
        assert!(caller(document).await, "{document}");
    }
    for document in [
        "{ __schema { queryType { name } } }",
        "{ products @include(if: true) { totalCount } }",
        "{ products { edges { cursor } edges { node { name } } } }",
        "query A { products { totalCount } } query B { products { totalCount } }",
        "{ stockLevels(first: 0) { totalCount } }",
        "mutation { enableProgram { receipt { token } } }",
    ] {
        assert!(!caller(document).await, "{document}");
    }
}
