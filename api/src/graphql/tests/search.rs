//! Search by the words of personal fields: who may search, and what a caller learns.

use domain::shared::Role;
use projections::kernel::Models;

use super::*;
use crate::port::Backend as _;

/// A caller of each role; a customer is one of the rows.
fn claims(role: Role) -> Json {
    let mut claims = json!({ "roles": [role] });
    if role == Role::Customer {
        claims["customer"] = id(1);
    }
    claims
}

fn searched_engine() -> Arc<Engine> {
    let mut engine = Engine::default();
    engine.rows.insert("Customer", vec![customer(1), customer(2)]);
    for (number, words) in [(1, ["ada", "king"]), (2, ["ada", "byron"])] {
        let id = Uuid::from_u128(number).to_string();
        let tenant = domain::shared::TenantId::new(Uuid::from_u128(crate::testing::TENANT));
        let tokens = words.iter().map(|word| engine.search_token(tenant, word)).collect();
        engine.search_tokens.insert(id, tokens);
    }
    Arc::new(engine)
}

#[tokio::test]
async fn only_callers_who_see_the_personal_fields_may_search_them() {
    let (engine, mut refused) = (searched_engine(), 0);
    for model in Models::all().iter().filter(|model| !model.searched.is_empty()) {
        for role in [Role::Customer, Role::Staff, Role::Manager, Role::Admin, Role::Owner] {
            let (_, caller) = empty_conditions::caller(&engine.unlimited_state(), &claims(role));
            let query = format!("{{ {}(filter: {{ text: \"ada\" }}) {{ totalCount }} }}", model.fields());
            let answer = ask_as(&engine, &claims(role), &query, json!({})).await;
            let is_refused = answer["errors"][0]["extensions"]["code"] == "FORBIDDEN";
            assert_eq!(is_refused, !caller.sees_personal(model), "{} as {role:?}: {answer}", model.name);
            refused += u32::from(is_refused);
        }
    }
    assert!(refused > 0, "no caller was refused");
}

#[tokio::test]
async fn every_word_must_be_found_in_rows_that_the_caller_sees() {
    let engine = searched_engine();
    let count = async |claims: Json, text: &str| {
        let query = "query($text: String) { customers(filter: { text: $text }) { totalCount } }";
        ask_as(&engine, &claims, query, json!({ "text": text })).await["data"]["customers"]["totalCount"].clone()
    };
    assert_eq!(count(json!({}), "ADA").await, 2);
    assert_eq!(count(json!({}), "Ada, Byrón").await, 1);
    assert_eq!(count(json!({}), "ada eve").await, 0);
    assert_eq!(count(claims(Role::Customer), "ada").await, 1);
    assert_eq!(count(claims(Role::Customer), "byron").await, 0);
}

#[tokio::test]
async fn text_without_words_or_with_too_many_is_refused() {
    let engine = searched_engine();
    let many = (0..13).map(|number| format!("word{number} ")).collect::<String>();
    for text in ["", " -@ ", &many] {
        let query = format!("{{ customers(filter: {{ text: \"{text}\" }}) {{ totalCount }} }}");
        let answer = ask(&engine, &query).await;
        assert_eq!(code(&answer), "INVALID_ARGUMENT", "{text}: {answer}");
    }
}
