//! Benchmark `graphql`: queries per second over HTTP, compared with PostGraphile on the same table: a page of 50 rows with
//! 8 fields, filter and order, and a single row.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cartulary::roles::Roles;
use cartulary::settings::Settings;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use projections::kernel::Models;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use vault::OuterKey;

use super::bench_engine::{BenchEngine, OUTER_KEY, on_any_port};
use super::http_connection::HttpConnection;
use super::load_generator::{Contender, RunLength};
use super::postgraphile::PostGraphile;
use super::progress::Progress;
use super::protocol::{ContenderSpec, RunningContender, report_contenders, run_contenders};
use super::report::Report;
use super::scratch_server::{ScratchDatabase, ScratchServer};

/// Number of connections.
const CLIENTS: &[usize] = &[64];
/// Rows of a page.
const ROWS: usize = 50;
/// Time limit for the read model to show all products.
const ROWS_WITHIN: Duration = Duration::from_secs(60);
/// Name of the field that every row has once.
const SKU: &str = "\"sku\":";
/// The selected fields of a row.
const FIELDS: &str = "product sku name priceMinor currency status createdAt changedAt";

const OUR_PAGE: ContenderSpec = ContenderSpec {
    name: "GraphQL page of 50 rows",
    clients: CLIENTS,
    start: |server, database| start(server, database, Query::Page, false).boxed(),
};

const THEIR_PAGE: ContenderSpec = ContenderSpec {
    name: "GraphQL page of 50 rows, PostGraphile",
    clients: CLIENTS,
    start: |server, database| start(server, database, Query::Page, true).boxed(),
};

const OUR_ROW: ContenderSpec = ContenderSpec {
    name: "GraphQL row by key",
    clients: CLIENTS,
    start: |server, database| start(server, database, Query::Row, false).boxed(),
};

const THEIR_ROW: ContenderSpec = ContenderSpec {
    name: "GraphQL row by key, PostGraphile",
    clients: CLIENTS,
    start: |server, database| start(server, database, Query::Row, true).boxed(),
};

pub(super) async fn run(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let entries = [OUR_PAGE, THEIR_PAGE, OUR_ROW, THEIR_ROW];
    let measured = run_contenders(server, &entries, length, progress).await?;
    let [our_page, their_page, our_row, their_row] = report_contenders(&entries, measured, report)?;
    report.at_least("GraphQL page of 50 rows: ours / PostGraphile", our_page.per_second / their_page.per_second, 3.0);
    report.at_least("GraphQL row by key: ours / PostGraphile", our_row.per_second / their_row.per_second, 3.0);
    Ok(())
}

#[derive(Clone, Copy)]
enum Query {
    Page,
    Row,
}

async fn start(
    server: &ScratchServer,
    database: ScratchDatabase,
    query: Query,
    by_postgraphile: bool,
) -> Result<RunningContender> {
    let clients = QueryClients::open(&database, query, by_postgraphile).await?;
    Ok(RunningContender::new(clients, database, server))
}

/// Clients that send one query, for one tenant after the other.
struct QueryClients {
    engine: Mutex<Option<BenchEngine>>,
    postgraphile: Mutex<Option<PostGraphile>>,
    connections: Vec<Mutex<(HttpConnection, usize)>>,
    requests: Vec<QueryRequest>,
    /// Number of rows in every answer.
    rows: usize,
}

/// Token and body of a request.
struct QueryRequest {
    token: String,
    body: Bytes,
}

impl QueryClients {
    async fn open(database: &ScratchDatabase, query: Query, by_postgraphile: bool) -> Result<Self> {
        // No budget ends during the run.
        let settings = Settings { member_query_points: u32::MAX, ..on_any_port() };
        let outer = OuterKey::from_base64(OUTER_KEY)?;
        let engine = BenchEngine::open_as(database, settings, Roles::ALONE, outer).await?;
        let models = Models::all();
        let table = models.get("Product").context("there is no read model of products")?.table();
        wait_for_rows(database, &table, engine.workload.tenants.len() * ROWS).await?;
        let (postgraphile, document) = if by_postgraphile {
            (Some(PostGraphile::start(&database.url).await?), their_document(query))
        } else {
            (None, our_document(query))
        };
        let address = postgraphile.as_ref().map_or(engine.running.address, |running| running.address);
        let mut connections = Vec::with_capacity(CLIENTS[0]);
        for number in 0..CLIENTS[0] {
            connections.push(Mutex::new((HttpConnection::open(address).await?, number)));
        }
        let request = |number| {
            let (tenant, token, product) = engine.round_robin(number);
            let variables = match (by_postgraphile, query) {
                (true, Query::Page) => json!({ "tenant": tenant }),
                (true, Query::Row) => json!({ "tenant": tenant, "product": product }),
                (false, Query::Page) => json!({}),
                (false, Query::Row) => json!({ "product": product }),
            };
            let body = json!({ "query": document, "variables": variables }).to_string().into();
            QueryRequest { token: format!("Bearer {token}"), body }
        };
        let requests = (0..1_000).map(request).collect();
        let rows = match query {
            Query::Page => ROWS,
            Query::Row => 1,
        };
        let (engine, postgraphile) = (Mutex::new(Some(engine)), Mutex::new(postgraphile));
        Ok(Self { engine, postgraphile, connections, requests, rows })
    }
}

fn our_document(query: Query) -> String {
    match query {
        Query::Page => format!(
            "query {{ products(first: {ROWS}, filter: {{ status: {{ eq: \"published\" }} }}, \
             order: {{ by: PRICE_MINOR, direction: DESC }}) {{ edges {{ node {{ {FIELDS} }} }} }} }}"
        ),
        Query::Row => format!("query($product: UUID!) {{ product(product: $product) {{ {FIELDS} }} }}"),
    }
}

/// The same query in the schema that PostGraphile derives from the table.
fn their_document(query: Query) -> String {
    match query {
        Query::Page => format!(
            "query($tenant: UUID!) {{ allBenchProducts(first: {ROWS}, condition: {{ tenant: $tenant, status: \"published\" }}, \
             orderBy: PRICE_MINOR_DESC) {{ edges {{ node {{ {FIELDS} }} }} }} }}"
        ),
        Query::Row => format!(
            "query($tenant: UUID!, $product: UUID!) {{ \
             benchProductByTenantAndProduct(tenant: $tenant, product: $product) {{ {FIELDS} }} }}"
        ),
    }
}

/// Waits until every tenant has its products in the read model, and prepares the table. The connections are
/// those of the server's superuser, which sees the rows of all tenants.
async fn wait_for_rows(database: &ScratchDatabase, table: &str, expected: usize) -> Result<()> {
    let pool = PgPool::connect(&database.url).await?;
    let count = format!("SELECT count(*) FROM reads.{table} WHERE status = 'published'");
    let until = Instant::now() + ROWS_WITHIN;
    loop {
        let rows: i64 = sqlx::query_scalar(&count).fetch_one(&pool).await?;
        if usize::try_from(rows)? == expected {
            // The comment is the name under which PostGraphile shows the table.
            let prepare = format!("ANALYZE reads.{table}; COMMENT ON TABLE reads.{table} IS '@name bench_product'");
            sqlx::raw_sql(&prepare).execute(&pool).await?;
            pool.close().await;
            return Ok(());
        }
        ensure!(Instant::now() < until, "the read model has {rows} of {expected} products");
        sleep(Duration::from_millis(100)).await;
    }
}

impl Contender for QueryClients {
    async fn call(&self, client: usize) -> Result<()> {
        let mut entry = self.connections.get(client).context("there are fewer connections than clients")?.lock().await;
        let (connection, number) = &mut *entry;
        *number += self.connections.len() + 1;
        let QueryRequest { token, body } = &self.requests[*number % self.requests.len()];
        let request = Request::post("/graphql")
            .header("host", "bench")
            .header("authorization", token)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let (status, body) = connection.send(request).await?;
        let rows = body.windows(SKU.len()).filter(|part| part == &SKU.as_bytes()).count();
        ensure!(status == StatusCode::OK && rows == self.rows, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {
            drop(self.postgraphile.lock().await.take());
            if let Some(engine) = self.engine.lock().await.take() {
                engine.close().await;
            }
        }
        .boxed()
    }
}
