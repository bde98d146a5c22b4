//! Filters in memory and in the database agree, so that subscriptions and queries show the same rows.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use domain::shared::{CustomerId, TenantId};
use lab::harness::{Backend, Shop, caught_up, database, use_every_model};
use platform::clock::new_id;
use projections::kernel::{Model, Models};
use projections::query::{Conditions, Filter, Parents, RowQuery, SortOrder, Test, filterable};
use serde_json::Value;
use views::store::PgReader;

/// Page size, larger than the number of rows that the test creates.
const ROWS: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_database_agree_on_which_rows_match() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    backend.run_read_models();
    backend.run_policies();
    let shop = backend.shop(40).await?;
    let done = async |name, body| backend.execute(shop.tenant, name, &body).await.map(drop);
    use_every_model(done, &backend.pool, &shop).await?;
    caught_up(&backend.pool).await?;
    let reader = PgReader::new(backend.pool.clone());
    let mut compared = 0;
    for model in Models::all().iter() {
        compared += agree(&reader, model, &shop).await?;
        pages_agree(&reader, model, &shop).await.with_context(|| format!("pages of {}", model.name))?;
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
    ensure!(!rows.is_empty(), "there is no row of {}; `use_every_model` makes one of each", model.name);
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

/// Reads the pages of all values of every filterable field with one statement each, and compares them with the pages of
/// single queries.
async fn pages_agree(reader: &PgReader, model: &Model, shop: &Shop) -> Result<()> {
    let everything = RowQuery::all(shop.tenant, ROWS);
    let rows = rows(reader, model, &everything).await?;
    for field in model.columns.iter().filter(|column| filterable(model, &column.name).is_ok()) {
        let values = rows.iter().map(|row| vec![row[&field.name].clone()]).filter(|values| !values[0].is_null());
        let parents = Parents { columns: vec![field.name.clone()], values: values.take(20).collect() };
        let order = Some(SortOrder { field: field.name.clone(), descending: true });
        for query in [
            RowQuery { first: 2, ..everything.clone() },
            RowQuery { first: 1, count: true, order, ..everything.clone() },
        ] {
            let pages = reader.pages(model, &query, &parents).await?;
            ensure!(pages.len() == parents.values.len(), "one page per parent");
            for (page, values) in pages.iter().zip(&parents.values) {
                let single = reader.page(model, &query.of_parent(&parents.columns, values)).await?;
                ensure!((&page.rows, page.more, page.count) == (&single.rows, single.more, single.count), "{values:?}");
                ensure!(!page.rows.is_empty(), "the row of the value is on the page");
            }
        }
    }
    let key = model.key.iter().map(|field| (*field).to_owned()).collect();
    let unknown = model.key.iter().map(|field| rows[0][*field].clone()).collect();
    let query = RowQuery { tenant: TenantId::new(new_id()), count: true, ..everything };
    let foreign = reader.pages(model, &query, &Parents { columns: key, values: vec![unknown] }).await?;
    ensure!(foreign.len() == 1 && foreign[0].rows.is_empty(), "another tenant has no rows");
    Ok(())
}

async fn rows(reader: &PgReader, model: &Model, query: &RowQuery) -> Result<Vec<Value>> {
    let page = reader.page(model, query).await?;
    page.rows.iter().map(|row| serde_json::from_str(&row.json).context("a row")).collect()
}
