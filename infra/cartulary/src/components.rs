//! The components of one process, each made from its own configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::error::Problem;
use axum::response::{IntoResponse, Response};
use commands::kernel::{Commands, NotNow};
use commands::scribe::LaneId;
use edge::redis::{self, Redis};
use event_log::{PgHistory, StoreFeed, require_migrated};
use outside::webhooks::WebhookGateway;
use platform::connectivity::Connectivity;
use platform::health::Health;
use platform::{database, http_server};
use projections::kernel::Models;
use scribe::forwarding::{self, Dispatch, ForwardingKey};
use scribe::presence::{self, Presence};
use scribe::{Owner, ScribeHandle, ScribeSettings};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vault::Vault;
use views::follower::ReadModelFollower;
use work::{Lanes, PolicyRunner, Targets};

use crate::configuration::Configuration;
use crate::settings::machine;

/// Makes the components of one process.
pub(crate) struct Components {
    pub(crate) config: Configuration,
    pub(crate) pool: PgPool,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    reach: Connectivity,
}

impl Components {
    /// Connects to a migrated database and watches whether it answers.
    pub(crate) async fn connect(config: Configuration) -> Result<Self> {
        let (url, reach) = (config.database.url.clone(), Connectivity::default());
        let pool = database::connect_with(&url, config.database.connections_most, &reach).await?;
        require_migrated(&pool).await?;
        let (stop, health) = (CancellationToken::new(), Health::default());
        tokio::spawn(database::watch(pool.clone(), url, health.clone(), reach.clone(), stop.clone()));
        Ok(Self { config, pool, health, stop, reach })
    }

    /// The configured Redis, whether it answers or not.
    pub(crate) async fn redis(&self) -> Result<Option<Redis>> {
        let edge = &self.config.edge;
        let Some(client) = edge.redis.clone() else { return Ok(None) };
        let unnamed = "the database has no name; set CARTULARY_REDIS_NAMESPACE";
        let namespace = match &edge.redis_namespace {
            Some(name) => name.clone(),
            None => redis::namespace_of(&self.pool).await.context(unnamed)?,
        };
        Ok(Some(Redis::start(client, &namespace, &self.config.outer_key, self.stop.clone()).await?))
    }

    /// The scribe, where this process has that role, and beside other processes the port on which it takes commands that
    /// they forward.
    pub(crate) async fn scribe(&self, servers: &mut Vec<JoinHandle<()>>) -> Result<Option<ScribeHandle>> {
        if !self.config.roles.scribe {
            return Ok(None);
        }
        let config = &self.config.scribe;
        let port = match self.config.roles.alone {
            true => None,
            false => Some(TcpListener::bind(config.peer_listen).await.with_context(|| {
                format!("cannot listen for other processes on {}; set CARTULARY_PEER_LISTEN", config.peer_listen)
            })?),
        };
        let database = &self.config.database;
        let address = match &port {
            Some(port) => config.advertised(port.local_addr()?, &machine()),
            None => String::new(),
        };
        let settings = ScribeSettings {
            url: database.url.clone(),
            owner: Owner { name: database.owner.clone(), lease_ms: database.lease_ms, address },
            limits: config.limits.clone(),
            loops: config.loops,
            assigned_lanes: self.assigned_lanes("scribe").await?,
            data: config.data.clone(),
        };
        let scribe = scribe::start(&settings, &self.pool).await?;
        if let Some(port) = port {
            let router = forwarding::router(scribe.clone(), ForwardingKey::new(&self.config.outer_key));
            servers.push(tokio::spawn(http_server::serve(port, router, at_capacity, self.stop.clone())));
        }
        Ok(Some(scribe))
    }

    /// Routes commands to the process that writes their lane.
    pub(crate) async fn dispatch(&self, scribe: Option<ScribeHandle>) -> Result<Dispatch> {
        let seal = ForwardingKey::new(&self.config.outer_key);
        let dispatch = Dispatch::start(self.pool.clone(), scribe, seal, self.stop.clone()).await?;
        let roles = self.config.roles;
        // Read models and the relay work without a process that writes.
        if roles.front || roles.scribe || roles.policies {
            let dispatch = dispatch.clone();
            self.health.add_source(move || dispatch.problems());
        }
        Ok(dispatch)
    }

    /// The read models. They can be queried even where another process keeps them up to date.
    pub(crate) async fn reads(
        &self,
        models: &Arc<Models>,
        scribe: Option<&ScribeHandle>,
        dispatch: &Dispatch,
    ) -> Result<ReadModelFollower> {
        let roles = self.config.roles;
        let feed = StoreFeed::new(self.pool.clone(), scribe.map(|scribe| scribe.tail().clone()));
        let lanes = if roles.reads { self.assigned_lanes("project").await? } else { presence::all_lanes() };
        let reads = ReadModelFollower::new(self.pool.clone(), models.clone(), feed, lanes, dispatch.written());
        // A process that runs the scribe reads its own tail; Kafka would only be slower.
        let kafka = self.config.kafka.clone().filter(|_| roles.reads && !roles.scribe);
        let reads = reads.with_kafka(kafka).with_health(self.health.clone()).with_connectivity(self.reach.clone());
        reads.prepare().await?;
        Ok(reads)
    }

    /// Starts policies, timers and effects, and webhook deliveries.
    pub(crate) async fn policies(
        &self,
        scribe: Option<ScribeHandle>,
        dispatch: &Dispatch,
        vault: Arc<Vault>,
        webhooks: &WebhookGateway,
    ) -> Result<[JoinHandle<()>; 2]> {
        // A process that runs the scribe reads its own tail; Kafka would only be slower.
        let (lanes, kafka) = match scribe {
            Some(scribe) => (Lanes::Written(scribe), None),
            None => (Lanes::Shared(self.assigned_lanes("policies").await?), self.config.kafka.clone()),
        };
        let policies = PolicyRunner {
            pool: self.pool.clone(),
            scribe: dispatch.clone(),
            lanes,
            kafka,
            health: self.health.clone(),
            vault,
            commands: Arc::new(Commands::all()),
            targets: Targets::default().with("webhooks", webhooks.reconciler()).into(),
            restore_hooks: webhooks.restore_hooks(),
        };
        let webhooks = webhooks.runner(&policies)?;
        let (reach, stop) = (self.reach.clone(), self.stop.clone());
        let policies = async move { reach.restart_after_loss(stop, |stop| policies.clone().run(stop)).await };
        let (reach, stop) = (self.reach.clone(), self.stop.clone());
        let webhooks = async move { reach.restart_after_loss(stop, |stop| webhooks.clone().run(stop)).await };
        Ok([tokio::spawn(policies), tokio::spawn(webhooks)])
    }

    /// Starts the relay, which logs by itself what it waits for.
    pub(crate) fn relay(&self) -> Result<JoinHandle<()>> {
        let kafka = self.config.kafka.clone().context("no Kafka: set CARTULARY_KAFKA_BROKERS=host:port")?;
        let leases = kafka::Leases::new(self.pool.clone(), &self.config.database.owner);
        let relay = kafka::Relay::new(kafka, PgHistory::new(self.pool.clone()), leases);
        let servers = relay.availability();
        self.health.add_source(move || {
            let reason =
                |server: &kafka::Availability| Some(format!("{}: {}", server.server(), server.outage_reason()?));
            servers.iter().filter_map(reason).collect()
        });
        Ok(tokio::spawn(relay.run(self.stop.clone())))
    }

    /// The lanes that fall to this process in one of its roles.
    async fn assigned_lanes(&self, role: &'static str) -> Result<watch::Receiver<BTreeSet<LaneId>>> {
        if self.config.roles.alone {
            return Ok(presence::all_lanes());
        }
        let (name, lease_ms) = (self.config.database.owner.clone(), self.config.database.lease_ms);
        let presence = Presence { pool: self.pool.clone(), role, name, lease_ms, health: self.health.clone() };
        presence.join(self.stop.clone()).await.with_context(|| format!("cannot join the processes of the role {role}"))
    }
}

/// Answers a request for which the process has no capacity.
pub fn at_capacity() -> Response {
    Problem::from(NotNow::Overloaded { retry_after_s: 1 }).into_response()
}
