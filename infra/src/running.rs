//! One process with every role: HTTP, scribes, read models, policies and timers, put together and taken apart.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::auth::AuthConfig;
use api::front::Front;
use commands::kernel::{Commands, Kinds};
use commands::scribe::LaneId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::kernel::Models;
use sqlx::PgPool;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::feed::StoreFeed;
use crate::http_server;
use crate::peers::{self, Dispatch, PeerSeal};
use crate::policies::{Lanes, PolicyRunner};
use crate::postgres::PgHistory;
use crate::presence::{self, Presence};
use crate::reads::ReadSide;
use crate::redis::{self, Redis};
use crate::relief::Relief;
use crate::scribe::{self, ScribeHandle, ScribeSettings};
use crate::settings::Settings;
use crate::vault::{OuterKey, Vault};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Connections of one process beside those of its scribes.
pub const CONNECTIONS_MOST: u32 = 16;
/// Whoever waits longer for a connection is told that the store is away.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API.
    pub front: bool,
    /// Writes lanes.
    pub scribe: bool,
    /// Keeps read models.
    pub reads: bool,
    /// Reacts to events, and to the time.
    pub policies: bool,
    /// Puts the log on Kafka.
    pub relay: bool,
    /// Nobody else is there to share the lanes with, so nobody is told.
    pub alone: bool,
}

impl Roles {
    /// All of them, for a laptop.
    pub const ALONE: Self = Self { alone: true, ..Self::ALL };
    /// All of them, beside other processes.
    pub const ALL: Self = Self { front: true, scribe: true, reads: true, policies: true, relay: false, alone: false };
}

/// A process that runs.
pub struct Running {
    pub address: SocketAddr,
    pub pool: PgPool,
    pub dispatch: Dispatch,
    scribe: Option<ScribeHandle>,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    roles: Vec<JoinHandle<()>>,
}

/// Opens the pool that everything but the scribes' own connections shares.
pub async fn connect(url: &str) -> Result<PgPool> {
    connect_with(url, CONNECTIONS_MOST).await
}

async fn connect_with(url: &str, connections_most: u32) -> Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(connections_most)
        .acquire_timeout(CONNECTED_WITHIN)
        .test_before_acquire(false);
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
    /// Starts these roles on a migrated database. All of them answer on the listener, if only to say how they are.
    pub async fn start(
        settings: &Settings,
        listener: TcpListener,
        roles: Roles,
        url: &str,
        outer: &OuterKey,
        auth: AuthConfig,
    ) -> Result<Self> {
        let pool = connect_with(url, settings.connections_most).await?;
        require_migrated(&pool).await?;
        let stop = CancellationToken::new();
        let redis = start_redis(settings, &pool, outer, &stop).await?;
        let seal = PeerSeal::new(outer);
        let mut servers = Vec::new();
        let scribe = match roles.scribe {
            true => Some(start_scribe(settings, roles, url, &pool, &seal, &stop, &mut servers).await?),
            false => None,
        };
        let dispatch = Dispatch::start(pool.clone(), scribe.clone(), seal, stop.clone()).await?;
        let vault = Arc::new(Vault::new(pool.clone(), outer));
        let feed = StoreFeed::new(pool.clone(), scribe.as_ref().map(|scribe| scribe.tail().clone()));
        let lanes =
            if roles.reads { share(settings, roles, "project", &pool, &stop).await? } else { presence::alone() };
        let models = Arc::new(Models::all());
        let reads = ReadSide::new(pool.clone(), models.clone(), feed, lanes, dispatch.written());
        // Who writes lanes has their end in memory, which no wire is faster than.
        let reads = reads.through(settings.kafka().filter(|_| !roles.scribe));
        reads.prepare().await?;
        let relief = Relief::new(settings, redis.as_ref());
        relief.follow(&reads.changes(), &models, &stop);
        let engine = Engine {
            pool: pool.clone(),
            scribe: dispatch.clone(),
            vault: vault.clone(),
            kinds: Kinds::all(),
            progress: reads.progress(),
            redis,
            relief,
            metrics: recorder(),
            stop: stop.clone(),
        };
        let front = api::front::Settings { introspection: settings.introspection, ..api::front::Settings::default() };
        let front = Front::new(Arc::new(engine), auth, front).context("the GraphQL schema cannot be built")?;
        let address = listener.local_addr()?;
        // Nothing runs before everything stands.
        let mut running = Vec::new();
        if roles.reads {
            running.push(tokio::spawn(reads.run(stop.clone())));
        }
        if roles.policies {
            let lanes = match &scribe {
                Some(scribe) => Lanes::Written(scribe.clone()),
                None => Lanes::Shared(share(settings, roles, "policies", &pool, &stop).await?),
            };
            let policies = PolicyRunner {
                pool: pool.clone(),
                scribe: dispatch.clone(),
                lanes,
                vault,
                commands: Arc::new(Commands::all()),
                targets: Arc::default(),
            };
            running.push(tokio::spawn(policies.run(stop.clone())));
        }
        if roles.relay {
            let kafka = settings.kafka().context("no Kafka: set CARTULARY_KAFKA_BROKERS=host:port")?;
            let leases = kafka::Leases::new(pool.clone(), &settings.owner);
            let relay = kafka::Relay::new(kafka, PgHistory::new(pool.clone()), leases);
            running.push(tokio::spawn(run_relay(relay, stop.clone())));
        }
        let front = Arc::new(front);
        let router = if roles.front { api::http::router(front) } else { api::http::health(front) };
        servers.push(tokio::spawn(http_server::serve(listener, router, stop.clone())));
        Ok(Self { address, pool, dispatch, scribe, stop, servers, roles: running })
    }

    /// Takes no more requests, answers those under way, and lets go of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for server in self.servers {
            server.await.ok();
        }
        if let Some(scribe) = &self.scribe {
            scribe.stop().await;
        }
        for role in self.roles {
            role.await.ok();
        }
        self.pool.close().await;
    }
}

/// Starts the scribe of this process, and beside other processes the door through which they send it commands.
async fn start_scribe(
    settings: &Settings,
    roles: Roles,
    url: &str,
    pool: &PgPool,
    seal: &PeerSeal,
    stop: &CancellationToken,
    servers: &mut Vec<JoinHandle<()>>,
) -> Result<ScribeHandle> {
    let door = match roles.alone {
        true => None,
        false => Some(TcpListener::bind(settings.peer_listen).await.with_context(|| {
            format!("cannot listen for other processes on {}; set CARTULARY_PEER_LISTEN", settings.peer_listen)
        })?),
    };
    let address = match &door {
        Some(door) => settings.peer_address_of(door.local_addr()?),
        None => String::new(),
    };
    let scribes = ScribeSettings {
        url: url.to_owned(),
        owner: settings.owner(address),
        limits: settings.limits(),
        loops: settings.scribe_loops,
        share: share(settings, roles, "scribe", pool, stop).await?,
        data: settings.database_data.clone(),
    };
    let scribe = scribe::start(&scribes, pool).await?;
    if let Some(door) = door {
        let router = peers::router(scribe.clone(), seal.clone());
        servers.push(tokio::spawn(http_server::serve(door, router, stop.clone())));
    }
    Ok(scribe)
}

/// The Redis that is configured, whether it answers or not.
async fn start_redis(
    settings: &Settings,
    pool: &PgPool,
    outer: &OuterKey,
    stop: &CancellationToken,
) -> Result<Option<Redis>> {
    let Some(url) = &settings.redis_url else { return Ok(None) };
    let namespace = match &settings.redis_namespace {
        Some(name) => name.clone(),
        None => redis::namespace_of(pool).await.context("the database has no name; set CARTULARY_REDIS_NAMESPACE")?,
    };
    Ok(Some(Redis::start(url, &namespace, outer, stop.clone()).await?))
}

/// Runs until it is cancelled, or until the topic turns out to be one that lanes do not fit into.
async fn run_relay(relay: kafka::Relay<PgHistory>, stop: CancellationToken) {
    if let Err(error) = relay.run(stop).await {
        tracing::error!(%error, "the relay cannot go on; events wait in the log");
    }
}

/// The lanes that fall to this process in one of its roles.
async fn share(
    settings: &Settings,
    roles: Roles,
    role: &'static str,
    pool: &PgPool,
    stop: &CancellationToken,
) -> Result<watch::Receiver<BTreeSet<LaneId>>> {
    if roles.alone {
        return Ok(presence::alone());
    }
    let presence = Presence { pool: pool.clone(), role, name: settings.owner.clone(), lease_ms: settings.lease_ms };
    presence.join(stop.clone()).await.with_context(|| format!("cannot join the processes of the role {role}"))
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
