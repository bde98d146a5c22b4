//! Component builder: creates the components of one process, each from its part of the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::error::Problem;
use axum::response::{IntoResponse, Response};
use commands::kernel::{NotNow, StateRegistry};
use commands::scribe::LaneId;
use edge::redis::{self, Redis};
use event_log::walls::require_walls;
use event_log::{LaneCount, PgHistory, StoreFeed, require_migrated};
use outside::webhooks::{Guard, WebhookGateway};
use platform::clock_monitor::ClockMonitor;
use platform::connectivity::Connectivity;
use platform::health::Health;
use platform::{database, http_server, session_watch};
use projections::kernel::Models;
use scribe::forwarding::{self, Dispatch, ForwardingKey};
use scribe::presence::{self, Presence};
use scribe::{Owner, ScribeHandle, ScribeSettings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vault::Vault;
use views::follower::ReadModelFollower;
use views::live::{RowNotices, Subscriptions};
use work::{Lanes, PolicyRunner, Targets};

use crate::configuration::Configuration;
use crate::database_pools::DatabasePools;
use crate::settings::machine;

/// Creates the components of one process.
pub(crate) struct ComponentBuilder {
    pub(crate) config: Configuration,
    pub(crate) pools: DatabasePools,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    lanes: LaneCount,
    clock: ClockMonitor,
    connectivity: Connectivity,
}

impl ComponentBuilder {
    /// Connects to the database, which must be migrated and keep its tenants apart, and starts to monitor whether it answers and whether the clocks
    /// agree.
    pub(crate) async fn connect(config: Configuration) -> Result<Self> {
        let (url, connectivity) = (config.database.url.clone(), Connectivity::default());
        let login = database::connect(&url).await?;
        require_migrated(&login).await?;
        require_walls(&login).await?;
        let lanes = LaneCount::read(&login).await?;
        login.close().await;
        let pools = DatabasePools::open(&config.database, config.roles, &connectivity).await?;
        let (stop, health) = (CancellationToken::new(), Health::default());
        let clock = ClockMonitor::new(config.clock.clone(), health.clone());
        database::compare_clocks(&pools.login, &clock).await?;
        let reports = (health.clone(), clock.clone());
        tokio::spawn(session_watch::watch(url.clone(), health.clone(), stop.clone()));
        tokio::spawn(database::watch(pools.login.clone(), url, reports, connectivity.clone(), stop.clone()));
        Ok(Self { config, pools, health, stop, lanes, clock, connectivity })
    }

    /// Starts the client of the configured Redis, whether Redis answers or not; `None` if none is configured.
    pub(crate) async fn start_redis(&self) -> Result<Option<Redis>> {
        let edge = &self.config.edge;
        let Some(client) = edge.redis.clone() else { return Ok(None) };
        let unnamed = "the database has no name; set CARTULARY_REDIS_NAMESPACE";
        let namespace = match &edge.redis_namespace {
            Some(name) => name.clone(),
            None => redis::namespace_of(&self.pools.login).await.context(unnamed)?,
        };
        Ok(Some(Redis::start(client, &namespace, &self.config.outer_key, self.stop.clone()).await?))
    }

    /// Starts the scribe if this process has that role. Unless the process runs alone, a server for commands that other
    /// processes forward is started and added to `servers`.
    pub(crate) async fn start_scribe(&self, servers: &mut Vec<JoinHandle<()>>) -> Result<Option<ScribeHandle>> {
        if !self.config.roles.scribe {
            return Ok(None);
        }
        let config = &self.config.scribe;
        let listener = match self.config.roles.alone {
            true => None,
            false => Some(TcpListener::bind(config.peer_listen).await.with_context(|| {
                format!("cannot listen for other processes on {}; set CARTULARY_PEER_LISTEN", config.peer_listen)
            })?),
        };
        let database = &self.config.database;
        let address = match &listener {
            Some(listener) => config.advertised_address(listener.local_addr()?, &machine()),
            None => String::new(),
        };
        let settings = ScribeSettings {
            url: database.url.clone(),
            owner: Owner { name: database.owner.clone(), lease_ms: database.lease_ms, address },
            limits: config.limits.clone(),
            states: StateRegistry::clone(&self.config.registries.states),
            loops: config.loops,
            assigned_lanes: self.assigned_lanes("scribe").await?,
            data: config.data.clone(),
            clock: self.clock.clone(),
        };
        let scribe = scribe::start(&settings, &self.pools.scribe).await?;
        if let Some(listener) = listener {
            let (commands, key) = (self.config.registries.commands.clone(), ForwardingKey::new(&self.config.outer_key));
            let router = forwarding::router(scribe.clone(), commands, key);
            servers.push(tokio::spawn(http_server::serve(listener, router, at_capacity, self.stop.clone())));
        }
        Ok(Some(scribe))
    }

    /// Starts the dispatch, which submits commands to the process that writes their lane.
    pub(crate) async fn start_dispatch(&self, scribe: Option<ScribeHandle>) -> Result<Dispatch> {
        let key = ForwardingKey::new(&self.config.outer_key);
        let states = StateRegistry::clone(&self.config.registries.states);
        let (clock, stop) = (self.clock.clone(), self.stop.clone());
        let dispatch = Dispatch::start(self.pools.shared.clone(), scribe, key, states, clock, stop).await?;
        let roles = self.config.roles;
        // Read models and the relay do not need a process that writes lanes, so its absence does not make them unready.
        if roles.serve || roles.scribe || roles.policies {
            let dispatch = dispatch.clone();
            self.health.add_source(move || dispatch.problems());
        }
        Ok(dispatch)
    }

    /// Creates the follower of the read models and their tables. A process without the role `project` does not run the
    /// follower and creates no tables, but needs them and the row notices for queries and subscriptions.
    pub(crate) async fn build_follower(
        &self,
        models: &Arc<Models>,
        scribe: Option<&ScribeHandle>,
        dispatch: &Dispatch,
    ) -> Result<ReadModelFollower> {
        let roles = self.config.roles;
        let pool = if roles.project { &self.pools.worker } else { &self.pools.shared };
        let feed = StoreFeed::new(pool.clone(), scribe.map(|scribe| scribe.tail().clone()));
        let lanes = if roles.project { self.assigned_lanes("project").await? } else { presence::all_lanes(self.lanes) };
        let follower = ReadModelFollower::new(pool.clone(), models.clone(), feed, lanes, dispatch.written());
        // A process that runs the scribe reads its own tail, which is faster than Kafka.
        let kafka = self.config.kafka.clone().filter(|_| roles.project && !roles.scribe);
        let follower =
            follower.with_kafka(kafka).with_health(self.health.clone()).with_connectivity(self.connectivity.clone());
        let missing =
            "the tables of read models are created by `project` and by `cartulary migrate`: run one of them first";
        if roles.project {
            follower.prepare().await?;
        } else if roles.serve {
            follower.prepare().await.context(missing)?;
        }
        Ok(follower)
    }

    /// Creates the subscriptions to rows. Their recovery of missed changes reads rows of all tenants.
    pub(crate) fn build_subscriptions(
        &self,
        dispatch: &Dispatch,
        changes: &RowNotices,
        redis: Option<Redis>,
    ) -> Subscriptions {
        let pools = (self.pools.reader.clone(), self.pools.auditor.clone());
        let (models, routes) = (self.config.registries.models.clone(), dispatch.routes().clone());
        Subscriptions::new(pools, models, routes, changes.clone(), redis, self.config.roles.alone)
    }

    /// Creates the entry point to webhooks, for callers and for the policies.
    pub(crate) fn build_webhooks(&self, dispatch: &Dispatch) -> WebhookGateway {
        let addresses = &self.config.webhooks;
        let guard = Guard::new(addresses.allowed.clone(), addresses.refused.clone());
        WebhookGateway::open(&self.pools.reader, dispatch.routes(), guard, &self.config.outer_key)
    }

    /// Starts two tasks: one for policies, timers and effects, one for webhooks. Each is started again after a loss of
    /// the database.
    pub(crate) async fn start_policies(
        &self,
        scribe: Option<ScribeHandle>,
        dispatch: &Dispatch,
        vault: Arc<Vault>,
        webhooks: &WebhookGateway,
    ) -> Result<[JoinHandle<()>; 2]> {
        // A process that runs the scribe reads its own tail, which is faster than Kafka.
        let (lanes, kafka) = match scribe {
            Some(scribe) => (Lanes::Written(scribe), None),
            None => (Lanes::Assigned(self.assigned_lanes("policies").await?), self.config.kafka.clone()),
        };
        let policies = PolicyRunner {
            pool: self.pools.worker.clone(),
            dispatch: dispatch.clone(),
            lanes,
            kafka,
            health: self.health.clone(),
            vault,
            commands: self.config.registries.commands.clone(),
            targets: Targets::default().with("webhooks", webhooks.reconciler(&self.pools.worker)).into(),
            restore_hooks: webhooks.restore_hooks(),
            retention: self.config.retention,
        };
        let webhooks = webhooks.runner(&policies)?;
        let (connectivity, stop) = (self.connectivity.clone(), self.stop.clone());
        let policies = async move { connectivity.restart_after_loss(stop, |stop| policies.clone().run(stop)).await };
        let (connectivity, stop) = (self.connectivity.clone(), self.stop.clone());
        let webhooks = async move { connectivity.restart_after_loss(stop, |stop| webhooks.clone().run(stop)).await };
        Ok([tokio::spawn(policies), tokio::spawn(webhooks)])
    }

    /// Starts the relay. Its outages are reported as reasons for which the process is not ready.
    pub(crate) fn start_relay(&self) -> Result<JoinHandle<()>> {
        let kafka = self.config.kafka.clone().context("no Kafka: set CARTULARY_KAFKA_BROKERS=host:port")?;
        let leases = kafka::Leases::new(self.pools.worker.clone(), &self.config.database.owner);
        let relay = kafka::Relay::new(kafka, PgHistory::new(self.pools.worker.clone()), leases);
        let servers = relay.availability();
        self.health.add_source(move || {
            let reason =
                |server: &kafka::Availability| Some(format!("{}: {}", server.server(), server.outage_reason()?));
            servers.iter().filter_map(reason).collect()
        });
        Ok(tokio::spawn(relay.run(self.stop.clone())))
    }

    /// The lanes that are assigned to this process in one of its roles: all lanes if it runs alone.
    async fn assigned_lanes(&self, role: &'static str) -> Result<watch::Receiver<BTreeSet<LaneId>>> {
        if self.config.roles.alone {
            return Ok(presence::all_lanes(self.lanes));
        }
        let (name, lease_ms) = (self.config.database.owner.clone(), self.config.database.lease_ms);
        // Read models do not depend on the clock.
        let clock = if role == "project" { ClockMonitor::default() } else { self.clock.clone() };
        let pool = if role == "scribe" { &self.pools.scribe } else { &self.pools.worker };
        let presence = Presence { pool: pool.clone(), role, name, lease_ms, health: self.health.clone(), clock };
        presence.join(self.stop.clone()).await.with_context(|| format!("cannot join the processes of the role {role}"))
    }
}

/// Response to a request on a connection beyond the connection limit.
pub fn at_capacity() -> Response {
    Problem::from(NotNow::Overloaded { retry_after_s: 1 }).into_response()
}
