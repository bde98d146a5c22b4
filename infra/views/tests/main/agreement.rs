//! Filters in memory and in the database agree, so that subscriptions and queries show the same rows.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use domain::shared::CustomerId;
use lab::harness::{Backend, Shop, caught_up, database};
use projections::kernel::{Model, Models};
use projections::query::{Conditions, Filter, RowQuery, Test, filterable};
use serde_json::Value;
use views::store::PgReader;

use crate::rebuild::use_every_model;

/// Page size, larger than the number of rows that the test creates.
const ROWS: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_database_agree_on_which_rows_match() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    backend.run_read_models();
    backend.run_policies();
    let shop = backend.shop(40).await?;
    use_every_model(&backend, &shop).await?;
    caught_up(&backend.pool).await?;
    let reader = PgReader::new(backend.pool.clone());
    let mut compared = 0;
    for model in Models::all().iter() {
        compared += agree(&reader, model, &shop).await?;
    }
    ensure!(compared > 500, "only {compared} queries were compared");
    backend.close().await;
    Ok(())
}

/// Queries by every filterable field with values of the rows, and compares the results with the conditions in memory.
/// Returns the number of queries.
async fn agree(reader: &PgReader, model: &Model, shop: &Shop) -> Result<usize> {
    let everything = RowQuery::all(shop.tenant, ROWS);
    let rows = rows(reader, model, &everything).await?;
    ensure!(!rows.is_empty(), "there is no row of {}; `use_every_model` in rebuild.rs makes one of each", model.name);
    let mut queries = Vec::new();
    for field in model.columns.iter().filter(|column| filterable(model, &column.name).is_ok()) {
        let values: BTreeSet<String> = rows.iter().map(|row| row[&field.name].to_string()).collect();
        let values: Vec<Value> = values.iter().filter_map(|value| serde_json::from_str(value).ok()).collect();
        let known: Vec<Value> = values.into_iter().filter(|value| !value.is_null()).take(8).collect();
        let mut tests = vec![Test::In(vec![]), Test::In(known.clone())];
        for value in known {
            tests.extend([Test::Equals(value.clone()), Test::From(value.clone()), Test::To(value)]);
        }
        let filter = |test| vec![Filter { field: field.name.clone(), test }];
        queries.extend(tests.into_iter().map(|test| RowQuery { filters: filter(test), ..everything.clone() }));
    }
    if let Some(owner) = model.owner {
        let customer: CustomerId = serde_json::from_value(rows[0][owner].clone())?;
        queries.push(RowQuery { owner: Some(customer), ..everything.clone() });
    }
    for query in &queries {
        let conditions = Conditions::of(model, query)?;
        let in_memory: Vec<&Value> = rows.iter().filter(|row| conditions.matches(row)).collect();
        let in_store = self::rows(reader, model, query).await?;
        let in_store: Vec<&Value> = in_store.iter().collect();
        ensure!(in_memory == in_store, "{}: {:?}", model.name, query.filters);
    }
    Ok(queries.len())
}

async fn rows(reader: &PgReader, model: &Model, query: &RowQuery) -> Result<Vec<Value>> {
    let page = reader.page(model, query).await?;
    page.rows.iter().map(|row| serde_json::from_str(&row.json).context("a row")).collect()
}
