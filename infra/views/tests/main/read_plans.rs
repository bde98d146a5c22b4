//! Read plans answer every document of the schema as async-graphql does, byte for byte.
//!
//! A document is answered by async-graphql the first time and by its plan the second time. Random documents of the whole
//! schema are sent twice by callers of several roles.

mod random_document;

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{CustomerId, Role};
use lab::harness::{Engine, HttpRequest, Shop, caught_up, eventually, use_every_model};
use serde_json::{Value, json};

use random_document::{Document, Random, Samples, Schema};

/// Number of random documents. Each is sent twice by every caller.
const DOCUMENTS: u64 = 150;

/// Status, media type and body of an answer, without the state of the budget.
type Answer = (u16, String, String);

async fn ask(engine: &Engine, token: &str, document: &Document, text: &str) -> Result<Answer> {
    let body = json!({ "query": text, "variables": document.variables }).to_string();
    let got = engine.send(&HttpRequest::post("/graphql", token, "application/json", body)).await?;
    let body = String::from_utf8(got.body.to_vec())?;
    let body = body.split_once(",\"throttleStatus\"").map_or(body.as_str(), |(before, _)| before);
    Ok((got.status, got.kind, body.to_owned()))
}

/// Values of all columns, and cursors and tokens, from which arguments are drawn.
async fn samples(engine: &Engine, owner: &str, schema: &Schema, token: String) -> Result<Samples> {
    let mut samples = Samples { values: HashMap::new(), cursors: HashMap::new(), tokens: vec![token] };
    for (field, leaves) in schema.pages() {
        let query = format!("{{ {field}(first: 20) {{ edges {{ cursor node {{ {} }} }} }} }}", leaves.join(" "));
        let rows = engine.query(owner, &query).await?;
        let edges = rows[field]["edges"].as_array().with_context(|| format!("{field}: {rows}"))?;
        ensure!(!edges.is_empty(), "there are no {field}; `use_every_model` makes some");
        for edge in edges {
            samples.cursors.entry(field.to_owned()).or_default().push(edge["cursor"].clone());
            for (name, value) in edge["node"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                // A column is called `…Id` where a relation has its name, but not in arguments.
                let name = name.strip_suffix("Id").unwrap_or(name);
                samples.values.entry(name.to_owned()).or_default().push(value.clone());
            }
        }
    }
    Ok(samples)
}

/// Bearer tokens of all kinds of callers.
fn callers(engine: &Engine, shop: &Shop, customer: &Value) -> Result<Vec<String>> {
    let customer: CustomerId = serde_json::from_value(customer.clone())?;
    let mut bearers: Vec<_> =
        [Role::Owner, Role::Admin, Role::Manager, Role::Staff].map(|role| Bearer::of(shop.tenant, role)).into();
    bearers.push(Bearer::customer(shop.tenant, customer));
    bearers.iter().map(|bearer| engine.token(bearer)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_answers_equal_those_of_async_graphql() -> Result<()> {
    let settings =
        Settings { customer_query_points: 10_000_000, member_query_points: 10_000_000, ..Settings::default() };
    let engine = Engine::start_with(settings).await?;
    let (tenant, _) = engine.tenant().await?;
    let (shop, owner) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
    let mut last = Value::Null;
    for (name, body) in shop.setup_commands(60) {
        last = engine.execute(&owner, name, &body).await?;
    }
    use_every_model(async |name, body| engine.execute(&owner, name, &body).await.map(drop), engine.pool(), &shop)
        .await?;
    caught_up(engine.pool()).await?;
    let schema = Schema::published()?;
    let token = last["receipt"]["token"].as_str().context("a token")?.to_owned();
    let samples = samples(&engine, &owner, &schema, token).await?;
    // Policies that still run would change rows between two answers.
    eventually("the rows stay as they are", async || {
        let before = engine.query(&owner, "{ pointsEntries { totalCount } orderSteps { totalCount } }").await?;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        Ok(before == engine.query(&owner, "{ pointsEntries { totalCount } orderSteps { totalCount } }").await?)
    })
    .await?;
    let callers = callers(&engine, &shop, &samples.values["customer"][0])?;
    let (mut answered, mut planned) = (0, 0);
    for seed in 0..DOCUMENTS {
        let document = Document::random(&schema, &samples, &mut Random::new(seed));
        for (caller, token) in callers.iter().enumerate() {
            // Blanks make another document of it, which has no plan yet.
            let text = format!("{}{}", document.text, " ".repeat(caller));
            let first = ask(&engine, token, &document, &text).await?;
            let plans_before = engine.planned_answers();
            let second = ask(&engine, token, &document, &text).await?;
            ensure!(first == second, "seed {seed}, caller {caller}: {document:?}\n{first:?}\n{second:?}");
            if !first.2.contains("\"errors\"") {
                answered += 1;
                planned += engine.planned_answers() - plans_before;
            }
        }
    }
    ensure!(answered > 2 * DOCUMENTS, "only {answered} documents were answered without errors");
    ensure!(planned * 10 >= answered * 9, "only {planned} of {answered} answers were planned");
    engine.close().await;
    Ok(())
}
