//! One process with every role: HTTP, scribes, read models, policies and timers, put together and taken apart.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use api::auth::AuthConfig;
use api::front::Front;
use commands::kernel::{Commands, Kinds};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::kernel::Models;
use sqlx::PgPool;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::http_server;
use crate::policies::PolicyRunner;
use crate::reads::ReadSide;
use crate::scribe::{self, ScribeHandle, ScribeSettings};
use crate::settings::Settings;
use crate::vault::{OuterKey, Vault};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Connections of one process beside those of its scribes.
const CONNECTIONS_MOST: u32 = 16;

/// A process that serves.
pub struct Running {
    pub address: SocketAddr,
    pub pool: PgPool,
    pub scribe: ScribeHandle,
    stop: CancellationToken,
    http: JoinHandle<()>,
    roles: Vec<JoinHandle<()>>,
}

/// Opens the pool that everything but the scribes' own connections shares.
pub async fn connect(url: &str) -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(CONNECTIONS_MOST).test_before_acquire(false);
    options.connect(url).await.with_context(|| format!("cannot connect to {}", without_password(url)))
}

/// Brings the database's schema up to date.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    MIGRATIONS.run(pool).await.context("the database cannot be migrated")
}

/// Refuses a database that was not migrated.
pub async fn require_migrated(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let applied = connection.list_applied_migrations().await.unwrap_or_default();
    let missing =
        MIGRATIONS.iter().filter(|wanted| applied.iter().all(|known| known.version != wanted.version)).count();
    if missing > 0 {
        bail!("{missing} migrations are missing in the database; run `cartulary migrate`");
    }
    Ok(())
}

/// Takes the port; first of all, because everything after it is in vain if somebody else has it.
pub async fn listen(settings: &Settings) -> Result<TcpListener> {
    let listener = TcpListener::bind(settings.listen).await;
    let advice = "is another Cartulary running? Another address is set with CARTULARY_LISTEN";
    listener.with_context(|| format!("cannot listen on {}; {advice}", settings.listen))
}

impl Running {
    /// Starts every role on a migrated database and serves HTTP.
    pub async fn start(
        settings: &Settings,
        listener: TcpListener,
        url: &str,
        outer: &OuterKey,
        auth: AuthConfig,
    ) -> Result<Self> {
        let pool = connect(url).await?;
        require_migrated(&pool).await?;
        let stop = CancellationToken::new();
        let scribes = ScribeSettings {
            url: url.to_owned(),
            owner: settings.owner(),
            limits: settings.limits(),
            loops: settings.scribe_loops,
            data: settings.database_data.clone(),
        };
        let scribe = scribe::start(&scribes, &pool).await?;
        let vault = Arc::new(Vault::new(pool.clone(), outer));
        let reads = ReadSide::new(pool.clone(), Arc::new(Models::all()), scribe.written());
        reads.prepare().await?;
        let progress = reads.progress();
        let commands = Arc::new(Commands::all());
        let policies = PolicyRunner { pool: pool.clone(), scribe: scribe.clone(), vault: vault.clone(), commands };
        let engine = Engine {
            pool: pool.clone(),
            scribe: scribe.clone(),
            vault,
            kinds: Kinds::all(),
            progress,
            metrics: recorder(),
            stop: stop.clone(),
        };
        let front = api::front::Settings { introspection: settings.introspection, ..api::front::Settings::default() };
        let front = Front::new(Arc::new(engine), auth, front).context("the GraphQL schema cannot be built")?;
        let address = listener.local_addr()?;
        // Nothing runs before everything stands.
        let roles = vec![tokio::spawn(reads.run(stop.clone())), tokio::spawn(policies.run(stop.clone()))];
        let http = tokio::spawn(http_server::serve(listener, api::http::router(Arc::new(front)), stop.clone()));
        Ok(Self { address, pool, scribe, stop, http, roles })
    }

    /// Takes no more requests, answers those under way, and lets go of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        self.http.await.ok();
        self.scribe.stop().await;
        for role in self.roles {
            role.await.ok();
        }
        self.pool.close().await;
    }
}

/// Waits until somebody wants the process to end: Ctrl-C or SIGTERM.
pub async fn asked_to_stop() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The process has one recorder; a second start in the same process, as in tests, gets a view of its own.
fn recorder() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("metrics are recorded by an earlier start of this process");
    }
    handle
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.find('@')) {
        (Some(scheme), Some(host)) => format!("{}://…{}", &url[..scheme], &url[host..]),
        _ => url.to_owned(),
    }
}
