//! Null and empty conditions: in every filter of every read model, over literals and variables, in queries and
//! subscriptions, they are refused and do not widen the filter.

use domain::shared::TenantId;
use futures::StreamExt;

use super::*;
use crate::state::AppState;

/// Filters of one read model, as the schema publishes them.
struct Filterable {
    /// `stockLevels`.
    field: String,
    /// `StockLevelFilter`.
    kind: String,
    columns: Vec<ColumnFilter>,
    /// Claims of a caller who may read the model.
    claims: Json,
}

/// The filter of one column.
struct ColumnFilter {
    name: String,
    /// `UUIDFilter`.
    kind: String,
    /// Each operator with its type, such as `[UUID!]`.
    operators: Vec<(String, String)>,
}

/// A document and its variables.
struct Case {
    filter: String,
    /// Definition of the variable of the filter, such as `($v: UUID)`.
    definition: String,
    variables: Json,
}

impl Case {
    fn literal(filter: String) -> Self {
        Self { filter, definition: String::new(), variables: json!({}) }
    }

    /// A filter with a variable `$v` of this type that is null, and one in which it has no value.
    fn without_value(filter: &str, kind: &str) -> [Self; 2] {
        let case = |variables| Self { filter: filter.to_owned(), definition: format!("($v: {kind})"), variables };
        [case(json!({ "v": null })), case(json!({}))]
    }
}

impl Filterable {
    async fn all(state: &AppState) -> Vec<Self> {
        let mut all = Vec::new();
        for model in Models::all().iter() {
            let kind = format!("{}Filter", model.name);
            let query = format!(
                "{{ __type(name: \"{kind}\") {{ inputFields {{ name type {{ name inputFields {{ name type {{ name kind \
                 ofType {{ name ofType {{ name }} }} }} }} }} }} }} }}"
            );
            let answer = query_of(state, &json!({}), &query, json!({})).await;
            let columns = answer["data"]["__type"]["inputFields"].as_array().map(Vec::as_slice).unwrap_or_default();
            let columns: Vec<_> = columns.iter().map(column).collect();
            let operator = json!({ "roles": ["operator"], "tenant": TenantId::PLATFORM });
            let (field, mut claims) = (model.fields(), json!({}));
            let answer = query_of(state, &claims, &format!("{{ {field} {{ totalCount }} }}"), json!({})).await;
            if answer["errors"][0]["extensions"]["code"] == "FORBIDDEN" {
                claims = operator;
            }
            all.push(Self { field, kind, columns, claims });
        }
        all.retain(|filterable| !filterable.columns.is_empty());
        all
    }

    /// Every way to give the filter, a column or an operator no value.
    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![Case::literal("null".into()), Case::literal("{}".into())];
        let whole = format!("($v: {})", self.kind);
        cases.extend([json!({ "v": null }), json!({ "v": {} })].map(|variables| Case {
            filter: "$v".into(),
            definition: whole.clone(),
            variables,
        }));
        for ColumnFilter { name: column, kind, operators } in &self.columns {
            cases.extend(["null", "{}"].map(|empty| Case::literal(format!("{{ {column}: {empty} }}"))));
            cases.extend(Case::without_value(&format!("{{ {column}: $v }}"), kind));
            for (operator, kind) in operators {
                cases.push(Case::literal(format!("{{ {column}: {{ {operator}: null }} }}")));
                cases.extend(Case::without_value(&format!("{{ {column}: {{ {operator}: $v }} }}"), kind));
            }
        }
        cases
    }
}

fn column(column: &Json) -> ColumnFilter {
    let text = |value: &Json| value.as_str().expect("a name").to_owned();
    let operator = |operator: &Json| {
        let kind = &operator["type"];
        let kind = match kind["kind"].as_str() {
            Some("LIST") => format!("[{}!]", text(&kind["ofType"]["ofType"]["name"])),
            Some("NON_NULL") => text(&kind["ofType"]["name"]),
            _ => text(&kind["name"]),
        };
        (text(&operator["name"]), kind)
    };
    let operators = column["type"]["inputFields"].as_array().into_iter().flatten().map(operator);
    ColumnFilter { name: text(&column["name"]), kind: text(&column["type"]["name"]), operators: operators.collect() }
}

async fn query_of(state: &AppState, claims: &Json, query: &str, variables: Json) -> Json {
    let (service, caller) = caller(state, claims);
    let request = GraphqlRequest { query: Some(query.into()), document_id: None, operation: None, variables };
    let answered = match check(&service, request) {
        Ok(checked) => answer(&service, caller, None, checked).await,
        Err(refusal) => Err(refusal),
    };
    answered.map_or_else(|(_, body)| body, |body| serde_json::from_str(&body).expect("JSON"))
}

/// The errors of a subscription; null if it begins.
async fn subscription_errors(state: &AppState, claims: &Json, query: &str, variables: Json) -> Json {
    let (service, caller) = caller(state, claims);
    let request = GraphqlRequest { query: Some(query.into()), document_id: None, operation: None, variables };
    let started = check(&service, request).and_then(|checked| subscribe(&service, caller, None, checked));
    match started {
        Err((_, body)) => body["errors"].clone(),
        Ok(mut messages) => match messages.next().await {
            Some(SubscriptionMessage::Error(errors)) => errors,
            _ => Json::Null,
        },
    }
}

pub(super) fn caller(state: &AppState, claims: &Json) -> (Arc<GraphqlExecutor>, crate::port::Caller) {
    let (service, auth) = (Arc::<GraphqlExecutor>::from_ref(state), Arc::<Authenticator>::from_ref(state));
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", Engine::token(claims)).parse().expect("a header"));
    let caller = auth.caller(&headers, service.backend.now()).expect("a caller");
    (service, caller)
}

#[tokio::test]
async fn null_or_empty_condition_is_refused_in_every_filter() {
    let state = engine().unlimited_state();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for model in Filterable::all(&state).await {
        for Case { filter, definition, variables } in model.cases() {
            let field = format!("{}(filter: {filter})", model.field);
            let query = format!("query{definition} {{ {field} {{ totalCount }} }}");
            let answer = query_of(&state, &model.claims, &query, variables.clone()).await;
            let subscription = format!("subscription{definition} {{ {field} {{ position }} }}");
            let errors = subscription_errors(&state, &model.claims, &subscription, variables.clone()).await;
            for (document, errors) in [(query, &answer["errors"]), (subscription, &errors)] {
                let code = errors[0]["extensions"]["code"].as_str().unwrap_or("accepted");
                // An exact value of a personal field is required by the type of the filter.
                if !matches!(code, "INVALID_ARGUMENT" | "INVALID_QUERY") {
                    wrong.push(format!("{code}: {document} {variables}"));
                }
                count += 1;
            }
        }
    }
    assert!(count > 1_000, "only {count} cases");
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn refusal_names_the_condition_and_other_conditions_do_not_make_up_for_it() {
    let engine = engine();
    let query =
        "query($s: UUID) { stockLevels(filter: { product: { eq: $s }, available: { gte: 0 } }) { totalCount } }";
    for variables in [json!({}), json!({ "s": null })] {
        let answer = ask_as(&engine, &json!({}), query, variables).await;
        let error = &answer["errors"][0];
        assert_eq!((code(&answer), &error["extensions"]["field"]), ("INVALID_ARGUMENT", &json!("filter.product.eq")));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("null or empty")), "{answer}");
    }
}

#[tokio::test]
async fn filter_that_is_left_out_lets_every_row_through() {
    let engine = engine();
    let query = "query($f: StockLevelFilter) { stockLevels(filter: $f) { totalCount } }";
    for (query, variables, rows) in [
        ("{ stockLevels { totalCount } }", json!({}), 5),
        (query, json!({}), 5),
        (query, json!({ "f": { "available": { "gte": 4 } } }), 2),
        (&query.replace("Filter)", "Filter = { available: { gte: 5 } })"), json!({}), 1),
    ] {
        let answer = ask_as(&engine, &json!({}), query, variables).await;
        assert_eq!(answer["data"]["stockLevels"]["totalCount"], rows, "{query}: {answer}");
    }
}
