//! Line 4: orders over HTTP, with every role running, beside the same server without the scribe.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use api::state::AppState;
use bytes::Bytes;
use commands::kernel::StateRegistry;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use domain::tenancy::Tenant;

use super::arena::{Arena, Database};
use super::clients::{Contender, Pace};
use super::connection::HttpConnection;
use super::contest::{Entry, contest, stage, told};
use super::progress::Progress;
use super::report::Report;
use super::shops::Shops;
use super::without_scribe::WithoutScribe;
use cartulary::edge_protection::EdgeProtection;
use cartulary::engine::Engine;
use cartulary::roles::Roles;
use outside::webhooks::{Guard, WebhookGateway};
use platform::clock::new_id;
use platform::health::Health;
use platform::http_server;
use vault::Vault;
use views::live::{RowNotices, Subscriptions};

const CONNECTIONS: &[usize] = &[64, 128, 256];
const CONNECTIONS_MOST: usize = 256;

const OURS: Entry = Entry {
    name: "PlaceOrder over HTTP",
    clients: CONNECTIONS,
    start: |arena, database| {
        async move { Ok(stage(Orders::open(&database, Behind::Everything).await?, database, arena)) }.boxed()
    },
};

/// What is left of the time when nobody follows the log: no bar, but it tells what read models and policies cost.
const LOG_ALONE: Entry = Entry {
    name: "the same without read models and policies",
    clients: CONNECTIONS,
    start: |arena, database| {
        async move { Ok(stage(Orders::open(&database, Behind::LogAlone).await?, database, arena)) }.boxed()
    },
};

const HOLLOW: Entry = Entry {
    name: "the same without the scribe",
    clients: CONNECTIONS,
    start: |arena, database| {
        async move { Ok(stage(Orders::open(&database, Behind::Nothing).await?, database, arena)) }.boxed()
    },
};

pub(super) async fn line(arena: &Arena, pace: Pace, progress: &Progress, report: &mut Report) -> Result<()> {
    let entries = [OURS, LOG_ALONE, HOLLOW];
    let [ours, log_alone, hollow] = told(&entries, contest(arena, &entries, pace, progress).await?, report)?;
    let told = log_alone.per_second / hollow.per_second;
    report.figure("PlaceOrder over HTTP without read models and policies: with / without the scribe", told, "");
    report.at_least("PlaceOrder over HTTP: with / without the scribe", ours.per_second / hollow.per_second, 0.50);
    Ok(())
}

/// What is behind the front door.
#[derive(PartialEq)]
enum Behind {
    Everything,
    LogAlone,
    Nothing,
}

/// Clients that place orders of one line.
struct Orders {
    shops: Mutex<Option<Shops>>,
    hollow: CancellationToken,
    connections: Vec<Mutex<(HttpConnection, usize)>>,
    requests: Vec<Wish>,
}

/// What stays the same in the orders of one tenant for one product.
struct Wish {
    token: String,
    rest: String,
}

impl Orders {
    async fn open(database: &Database, behind: Behind) -> Result<Self> {
        let followed = behind != Behind::LogAlone;
        let shops = Shops::open_with(database, Roles { reads: followed, policies: followed, ..Roles::ALONE }).await?;
        let hollow = CancellationToken::new();
        let address = match behind {
            Behind::Nothing => serve_without_scribe(&shops, hollow.clone()).await?,
            Behind::Everything | Behind::LogAlone => shops.running.address,
        };
        let mut connections = Vec::with_capacity(CONNECTIONS_MOST);
        for number in 0..CONNECTIONS_MOST {
            connections.push(Mutex::new((HttpConnection::open(address).await?, number)));
        }
        let wish = |number| {
            let (tenant, token, product) = shops.turn(number);
            let lines = json!([{ "product": product, "quantity": 1 }]);
            let store = Tenant::first_store(tenant);
            let rest = json!({ "customer": shops.facts.customer, "store": store, "lines": lines }).to_string();
            Wish { token: format!("Bearer {token}"), rest: rest[1..].to_owned() }
        };
        let requests = (0..1_000).map(wish).collect();
        Ok(Self { shops: Mutex::new(Some(shops)), hollow, connections, requests })
    }
}

impl Contender for Orders {
    async fn call(&self, client: usize) -> Result<()> {
        let mut place = self.connections.get(client).context("a connection for each client")?.lock().await;
        let (connection, turn) = &mut *place;
        *turn += self.connections.len() + 1;
        let wish = &self.requests[*turn % self.requests.len()];
        let request = Request::post("/v1/commands/PlaceOrder")
            .header("host", "bench")
            .header("authorization", &wish.token)
            .header("content-type", "application/json")
            .header("idempotency-key", new_id().to_string())
            .body(Full::new(Bytes::from(format!("{{\"order\":\"{}\",{}", new_id(), wish.rest))))?;
        let (status, body) = connection.send(request).await?;
        ensure!(status == StatusCode::OK, "answered with {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {
            self.hollow.cancel();
            if let Some(shops) = self.shops.lock().await.take() {
                shops.close().await;
            }
        }
        .boxed()
    }
}

/// A second front door on the same engine; behind it nobody decides anything.
async fn serve_without_scribe(shops: &Shops, stop: CancellationToken) -> Result<SocketAddr> {
    let pool = shops.pool().clone();
    let engine = Engine {
        vault: Arc::new(Vault::new(pool.clone(), &shops.outer)),
        webhooks: WebhookGateway::open(&pool, shops.running.dispatch.routes(), Guard::default(), &shops.outer),
        live: Subscriptions::new(
            pool.clone(),
            shops.running.dispatch.routes().clone(),
            RowNotices::default(),
            None,
            false,
        ),
        pool,
        scribe: shops.running.dispatch.clone(),
        kinds: StateRegistry::all(),
        progress: watch::channel(0).1,
        redis: None,
        edge: EdgeProtection::none(),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        health: Health::default(),
        stop: stop.clone(),
    };
    let backend = Arc::new(WithoutScribe { engine });
    let state = AppState::new(backend, shops.auth()?, api::state::Settings::default())?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    tokio::spawn(http_server::serve(listener, api::http::router(state), cartulary::at_capacity, stop));
    Ok(address)
}
