//! Benchmark `http`: orders per second over HTTP with every role, compared with the same server without the scribe.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use api::registries::Registries;
use api::state::AppState;
use bytes::Bytes;
use cartulary::edge_protection::EdgeProtection;
use cartulary::engine::Engine;
use cartulary::roles::Roles;
use domain::tenancy::Tenant;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use outside::webhooks::{Guard, WebhookGateway};
use platform::clock::{Clock, new_id};
use platform::health::Health;
use platform::http_server;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use vault::{MonitorToken, Vault};
use views::live::{RowNotices, Subscriptions};
use work::Operations;

use super::bench_engine::BenchEngine;
use super::http_connection::HttpConnection;
use super::load_generator::{Contender, RunLength};
use super::null_backend::NullBackend;
use super::progress::Progress;
use super::protocol::{ContenderSpec, RunningContender, report_contenders, run_contenders};
use super::report::Report;
use super::scratch_server::{ScratchDatabase, ScratchServer};

/// Numbers of connections to calibrate with.
const CONNECTIONS: &[usize] = &[64, 128, 256];
const CONNECTIONS_MOST: usize = 256;

const ALL_ROLES: ContenderSpec = ContenderSpec {
    name: "PlaceOrder over HTTP",
    clients: CONNECTIONS,
    start: |server, database| {
        async move { Ok(RunningContender::new(OrderClients::open(&database, Backing::AllRoles).await?, database, server)) }.boxed()
    },
};

/// Without read models and policies, to measure their cost. This ratio has no bar.
const LOG_ONLY: ContenderSpec = ContenderSpec {
    name: "PlaceOrder over HTTP without read models and policies",
    clients: CONNECTIONS,
    start: |server, database| {
        async move { Ok(RunningContender::new(OrderClients::open(&database, Backing::LogOnly).await?, database, server)) }.boxed()
    },
};

const NO_SCRIBE: ContenderSpec = ContenderSpec {
    name: "PlaceOrder over HTTP without the scribe",
    clients: CONNECTIONS,
    start: |server, database| {
        async move { Ok(RunningContender::new(OrderClients::open(&database, Backing::NoScribe).await?, database, server)) }.boxed()
    },
};

pub(super) async fn run(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let entries = [ALL_ROLES, LOG_ONLY, NO_SCRIBE];
    let [all_roles, log_only, no_scribe] =
        report_contenders(&entries, run_contenders(server, &entries, length, progress).await?, report)?;
    let ratio = log_only.per_second / no_scribe.per_second;
    report.figure("PlaceOrder over HTTP without read models and policies: with / without the scribe", ratio, "");
    report.at_least(
        "PlaceOrder over HTTP: with / without the scribe",
        all_roles.per_second / no_scribe.per_second,
        0.50,
    );
    Ok(())
}

/// The part of the engine behind the HTTP layer.
#[derive(PartialEq)]
enum Backing {
    AllRoles,
    LogOnly,
    NoScribe,
}

/// Clients that place orders of one line.
struct OrderClients {
    shops: Mutex<Option<BenchEngine>>,
    stop: CancellationToken,
    connections: Vec<Mutex<(HttpConnection, usize)>>,
    orders: Vec<OrderTemplate>,
}

/// Token and constant part of the body of the orders of one tenant for one product.
struct OrderTemplate {
    token: String,
    rest: String,
}

impl OrderClients {
    async fn open(database: &ScratchDatabase, backing: Backing) -> Result<Self> {
        let with_followers = backing != Backing::LogOnly;
        let shops = BenchEngine::open_with(
            database,
            Roles { project: with_followers, policies: with_followers, ..Roles::ALONE },
        )
        .await?;
        let stop = CancellationToken::new();
        let address = match backing {
            Backing::NoScribe => serve_without_scribe(&shops, stop.clone()).await?,
            Backing::AllRoles | Backing::LogOnly => shops.running.address,
        };
        let mut connections = Vec::with_capacity(CONNECTIONS_MOST);
        for number in 0..CONNECTIONS_MOST {
            connections.push(Mutex::new((HttpConnection::open(address).await?, number)));
        }
        let template = |number| {
            let (tenant, token, product) = shops.round_robin(number);
            let lines = json!([{ "product": product, "quantity": 1 }]);
            let store = Tenant::first_store(tenant);
            let rest = json!({ "customer": shops.workload.customer, "store": store, "lines": lines }).to_string();
            OrderTemplate { token: format!("Bearer {token}"), rest: rest[1..].to_owned() }
        };
        let orders = (0..1_000).map(template).collect();
        Ok(Self { shops: Mutex::new(Some(shops)), stop, connections, orders })
    }
}

impl Contender for OrderClients {
    async fn call(&self, client: usize) -> Result<()> {
        let mut entry = self.connections.get(client).context("there are fewer connections than clients")?.lock().await;
        let (connection, number) = &mut *entry;
        *number += self.connections.len() + 1;
        let order = &self.orders[*number % self.orders.len()];
        let request = Request::post("/v1/commands/PlaceOrder")
            .header("host", "bench")
            .header("authorization", &order.token)
            .header("content-type", "application/json")
            .header("idempotency-key", new_id().to_string())
            .body(Full::new(Bytes::from(format!("{{\"order\":\"{}\",{}", new_id(), order.rest))))?;
        let (status, body) = connection.send(request).await?;
        ensure!(status == StatusCode::OK, "answered with {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {
            self.stop.cancel();
            if let Some(shops) = self.shops.lock().await.take() {
                shops.close().await;
            }
        }
        .boxed()
    }
}

/// Starts a second HTTP server on the same engine, with a backend that decides nothing.
async fn serve_without_scribe(shops: &BenchEngine, stop: CancellationToken) -> Result<SocketAddr> {
    let pool = shops.pool().clone();
    let registries = Registries::all();
    let engine = Engine {
        vault: Arc::new(Vault::new(pool.clone(), &shops.outer)),
        webhooks: WebhookGateway::open(&pool, shops.running.dispatch.routes(), Guard::default(), &shops.outer),
        live: Subscriptions::new(
            (pool.clone(), pool.clone()),
            registries.models.clone(),
            shops.running.dispatch.routes().clone(),
            RowNotices::default(),
            None,
            false,
        ),
        operations: Operations::new(pool.clone(), registries.commands.clone()),
        readers: pool,
        clock: Clock::default(),
        dispatch: shops.running.dispatch.clone(),
        states: registries.states.clone(),
        progress: watch::channel(0).1,
        redis: None,
        edge: EdgeProtection::none(),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        monitor: MonitorToken::new(&shops.outer),
        health: Health::default(),
        stop: stop.clone(),
    };
    let backend = Arc::new(NullBackend { engine });
    let state = AppState::new(backend, shops.auth()?, registries, api::state::Settings::default())?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    tokio::spawn(http_server::serve(listener, api::http::router(state), cartulary::at_capacity, stop));
    Ok(address)
}
