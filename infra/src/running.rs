//! One process with every role: HTTP, scribes, read models, policies and timers, put together and taken apart.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::auth::AuthConfig;
use api::front::Front;
use commands::kernel::{Commands, Kinds};
use commands::scribe::LaneId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::kernel::Models;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database;
pub use crate::database::{CONNECTIONS_MOST, connect, migrate, require_migrated};
use crate::engine::Engine;
use crate::feed::StoreFeed;
use crate::health::Health;
use crate::http_server;
use crate::live::{self, Live};
use crate::peers::{self, Dispatch, PeerSeal};
use crate::policies::{Lanes, PolicyRunner, Targets};
use crate::postgres::PgHistory;
use crate::presence::{self, Presence};
use crate::reads::ReadSide;
use crate::redis::{self, Redis};
use crate::scribe::{self, ScribeHandle, ScribeSettings};
use crate::settings::Settings;
use crate::vault::{OuterKey, Vault};
use crate::webhooks::WebhookDesk;

/// Sockets are told goodbye; who does not answer is not waited for any longer.
const SOCKETS_CLOSED_WITHIN: Duration = Duration::from_secs(2);

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
    front: Arc<Front>,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    roles: Vec<JoinHandle<()>>,
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
        let pool = database::connect_with(url, settings.connections_most).await?;
        require_migrated(&pool).await?;
        let (stop, health) = (CancellationToken::new(), Health::default());
        tokio::spawn(database::watch(pool.clone(), url.to_owned(), health.clone(), stop.clone()));
        let redis = start_redis(settings, &pool, outer, &stop).await?;
        let seal = PeerSeal::new(outer);
        let mut servers = Vec::new();
        let scribe = match roles.scribe {
            true => Some(start_scribe(settings, roles, url, &pool, &seal, (&health, &stop), &mut servers).await?),
            false => None,
        };
        let dispatch = Dispatch::start(pool.clone(), scribe.clone(), seal, stop.clone()).await?;
        // Read models and the relay are of use without anybody who writes.
        if roles.front || roles.scribe || roles.policies {
            let dispatch = dispatch.clone();
            health.ask(move || dispatch.troubles());
        }
        let vault = Arc::new(Vault::new(pool.clone(), outer));
        let feed = StoreFeed::new(pool.clone(), scribe.as_ref().map(|scribe| scribe.tail().clone()));
        let lanes = if roles.reads {
            share(settings, roles, "project", &pool, &health, &stop).await?
        } else {
            presence::alone()
        };
        let reads = ReadSide::new(pool.clone(), Arc::new(Models::all()), feed, lanes, dispatch.written());
        // Who writes lanes has their end in memory, which no wire is faster than.
        let reads = reads.through(settings.kafka().filter(|_| !roles.scribe)).telling(health.clone());
        reads.prepare().await?;
        let webhooks = WebhookDesk::open(&pool, dispatch.routes(), settings.guard()?, outer);
        let (routes, changes) = (dispatch.routes().clone(), reads.changes());
        let live = Live::new(pool.clone(), routes, changes.clone(), redis.clone(), roles.alone);
        let engine = Engine {
            pool: pool.clone(),
            scribe: dispatch.clone(),
            vault: vault.clone(),
            webhooks: webhooks.clone(),
            kinds: Kinds::all(),
            progress: reads.progress(),
            redis: redis.clone(),
            live: live.clone(),
            metrics: recorder(),
            health: health.clone(),
            stop: stop.clone(),
        };
        let front = api::front::Settings { introspection: settings.introspection, ..api::front::Settings::default() };
        let front = Front::new(Arc::new(engine), auth, front).context("the GraphQL schema cannot be built")?;
        let address = listener.local_addr()?;
        // Nothing runs before everything stands.
        let mut running = Vec::new();
        if roles.front {
            running.push(tokio::spawn(live.run(stop.clone())));
        }
        if roles.reads {
            running.push(tokio::spawn(reads.run(stop.clone())));
            // Who is alone has nobody to tell.
            let redis = redis.filter(|_| !roles.alone);
            running.extend(redis.map(|redis| tokio::spawn(live::publish(redis, changes, stop.clone()))));
        }
        if roles.policies {
            let watched = (&health, &stop);
            running.push(start_policies(settings, roles, &pool, scribe.clone(), &dispatch, vault, watched).await?);
        }
        if roles.relay {
            running.push(start_relay(settings, &pool, &health, &stop)?);
        }
        let front = Arc::new(front);
        let serve = if roles.front { api::http::router } else { api::http::health };
        servers.push(tokio::spawn(http_server::serve(listener, serve(Arc::clone(&front)), stop.clone())));
        Ok(Self { address, pool, dispatch, scribe, front, stop, servers, roles: running })
    }

    /// Takes no more requests, answers those under way, and lets go of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for server in self.servers {
            server.await.ok();
        }
        tokio::time::timeout(SOCKETS_CLOSED_WITHIN, self.front.sockets_closed()).await.ok();
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
    (health, stop): (&Health, &CancellationToken),
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
        share: share(settings, roles, "scribe", pool, health, stop).await?,
        data: settings.database_data.clone(),
    };
    let scribe = scribe::start(&scribes, pool).await?;
    if let Some(door) = door {
        let router = peers::router(scribe.clone(), seal.clone());
        servers.push(tokio::spawn(http_server::serve(door, router, stop.clone())));
    }
    Ok(scribe)
}

/// Starts what must follow from events and from the time.
async fn start_policies(
    settings: &Settings,
    roles: Roles,
    pool: &PgPool,
    scribe: Option<ScribeHandle>,
    dispatch: &Dispatch,
    vault: Arc<Vault>,
    (health, stop): (&Health, &CancellationToken),
) -> Result<JoinHandle<()>> {
    let lanes = match scribe {
        Some(scribe) => Lanes::Written(scribe),
        None => Lanes::Shared(share(settings, roles, "policies", pool, health, stop).await?),
    };
    let policies = PolicyRunner {
        pool: pool.clone(),
        scribe: dispatch.clone(),
        lanes,
        vault,
        commands: Arc::new(Commands::all()),
        targets: Arc::default(),
    };
    Ok(tokio::spawn(policies.run(stop.clone())))
}

/// Starts the relay, which says by itself in the log what it waits for.
fn start_relay(
    settings: &Settings,
    pool: &PgPool,
    health: &Health,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>> {
    let kafka = settings.kafka().context("no Kafka: set CARTULARY_KAFKA_BROKERS=host:port")?;
    let leases = kafka::Leases::new(pool.clone(), &settings.owner);
    let relay = kafka::Relay::new(kafka, PgHistory::new(pool.clone()), leases);
    let outages = relay.outages();
    health.ask(move || {
        let told = |outage: &kafka::Outage| Some(format!("{}: {}", outage.what(), outage.reason()?));
        outages.iter().filter_map(told).collect()
    });
    Ok(tokio::spawn(relay.run(stop.clone())))
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

/// The lanes that fall to this process in one of its roles.
async fn share(
    settings: &Settings,
    roles: Roles,
    role: &'static str,
    pool: &PgPool,
    health: &Health,
    stop: &CancellationToken,
) -> Result<watch::Receiver<BTreeSet<LaneId>>> {
    if roles.alone {
        return Ok(presence::alone());
    }
    let (name, lease_ms, health) = (settings.owner.clone(), settings.lease_ms, health.clone());
    let presence = Presence { pool: pool.clone(), role, name, lease_ms, health };
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
