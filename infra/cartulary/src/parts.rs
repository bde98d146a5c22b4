//! The parts of one process, each made from its settings and roles.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use commands::kernel::Commands;
use commands::scribe::LaneId;
use projections::kernel::Models;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::running::{Roles, at_capacity};
use crate::settings::Settings;
use edge::redis::{self, Redis};
use event_log::PgHistory;
use event_log::StoreFeed;
use outside::webhooks::WebhookDesk;
use platform::connectivity::Reach;
use platform::database;
use platform::health::Health;
use platform::http_server;
use scribe::peers::{self, Dispatch, PeerSeal};
use scribe::presence::{self, Presence};
use scribe::{ScribeHandle, ScribeSettings};
use vault::{OuterKey, Vault};
use views::reads::ReadSide;
use work::{Lanes, PolicyRunner, Targets};

/// What every part of a process needs.
pub(crate) struct Process<'a> {
    settings: &'a Settings,
    roles: Roles,
    url: &'a str,
    outer: &'a OuterKey,
    pub(crate) pool: PgPool,
    pub(crate) health: Health,
    reach: Reach,
    pub(crate) stop: CancellationToken,
}

impl<'a> Process<'a> {
    /// Connects to a migrated database.
    pub(crate) async fn open(
        settings: &'a Settings,
        roles: Roles,
        url: &'a str,
        outer: &'a OuterKey,
    ) -> Result<Process<'a>> {
        let reach = Reach::default();
        let pool = database::connect_with(url, settings.connections_most, &reach).await?;
        event_log::require_migrated(&pool).await?;
        let (stop, health) = (CancellationToken::new(), Health::default());
        let watched = database::watch(pool.clone(), url.to_owned(), health.clone(), reach.clone(), stop.clone());
        tokio::spawn(watched);
        Ok(Self { settings, roles, url, outer, pool, health, reach, stop })
    }

    /// The Redis that is configured, whether it answers or not.
    pub(crate) async fn redis(&self) -> Result<Option<Redis>> {
        let Some(client) = self.settings.redis()? else { return Ok(None) };
        let unnamed = "the database has no name; set CARTULARY_REDIS_NAMESPACE";
        let namespace = match &self.settings.redis_namespace {
            Some(name) => name.clone(),
            None => redis::namespace_of(&self.pool).await.context(unnamed)?,
        };
        Ok(Some(Redis::start(client, &namespace, self.outer, self.stop.clone()).await?))
    }

    /// The scribe, where this process has one, and beside other processes the door through which they send it commands.
    pub(crate) async fn scribe(&self, servers: &mut Vec<JoinHandle<()>>) -> Result<Option<ScribeHandle>> {
        if !self.roles.scribe {
            return Ok(None);
        }
        let settings = self.settings;
        let door = match self.roles.alone {
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
            url: self.url.to_owned(),
            owner: settings.owner(address),
            limits: settings.limits(),
            loops: settings.scribe_loops,
            share: self.share("scribe").await?,
            data: settings.database_data.clone(),
        };
        let scribe = scribe::start(&scribes, &self.pool).await?;
        if let Some(door) = door {
            let router = peers::router(scribe.clone(), PeerSeal::new(self.outer));
            servers.push(tokio::spawn(http_server::serve(door, router, at_capacity, self.stop.clone())));
        }
        Ok(Some(scribe))
    }

    /// The way of commands to whoever writes their lane.
    pub(crate) async fn dispatch(&self, scribe: Option<ScribeHandle>) -> Result<Dispatch> {
        let dispatch = Dispatch::start(self.pool.clone(), scribe, PeerSeal::new(self.outer), self.stop.clone()).await?;
        // Read models and the relay are of use without anybody who writes.
        if self.roles.front || self.roles.scribe || self.roles.policies {
            let dispatch = dispatch.clone();
            self.health.ask(move || dispatch.troubles());
        }
        Ok(dispatch)
    }

    /// The read models, which can be asked even where another process keeps them.
    pub(crate) async fn reads(
        &self,
        models: &Arc<Models>,
        scribe: Option<&ScribeHandle>,
        dispatch: &Dispatch,
    ) -> Result<ReadSide> {
        let feed = StoreFeed::new(self.pool.clone(), scribe.map(|scribe| scribe.tail().clone()));
        let lanes = if self.roles.reads { self.share("project").await? } else { presence::alone() };
        let reads = ReadSide::new(self.pool.clone(), models.clone(), feed, lanes, dispatch.written());
        // Who writes lanes has their end in memory, which no wire is faster than.
        let kafka = if self.roles.reads && !self.roles.scribe { self.settings.kafka()? } else { None };
        let reads = reads.through(kafka).telling(self.health.clone()).while_in(self.reach.clone());
        reads.prepare().await?;
        Ok(reads)
    }

    /// Starts what must follow from events and from the time, and what addresses outside are told.
    pub(crate) async fn policies(
        &self,
        scribe: Option<ScribeHandle>,
        dispatch: &Dispatch,
        vault: Arc<Vault>,
        webhooks: &WebhookDesk,
    ) -> Result<[JoinHandle<()>; 2]> {
        // Who writes lanes has their end in memory, which no wire is faster than.
        let (lanes, kafka) = match scribe {
            Some(scribe) => (Lanes::Written(scribe), None),
            None => (Lanes::Shared(self.share("policies").await?), self.settings.kafka()?),
        };
        let policies = PolicyRunner {
            pool: self.pool.clone(),
            scribe: dispatch.clone(),
            lanes,
            kafka,
            health: self.health.clone(),
            vault,
            commands: Arc::new(Commands::all()),
            targets: Targets::default().with("webhooks", webhooks.keeper()).into(),
        };
        let webhooks = webhooks.runner(&policies)?;
        let (reach, stop) = (self.reach.clone(), self.stop.clone());
        let policies = async move { reach.begin_anew(stop, |stop| policies.clone().run(stop)).await };
        let (reach, stop) = (self.reach.clone(), self.stop.clone());
        let webhooks = async move { reach.begin_anew(stop, |stop| webhooks.clone().run(stop)).await };
        Ok([tokio::spawn(policies), tokio::spawn(webhooks)])
    }

    /// Starts the relay, which says by itself in the log what it waits for.
    pub(crate) fn relay(&self) -> Result<JoinHandle<()>> {
        let kafka = self.settings.kafka()?.context("no Kafka: set CARTULARY_KAFKA_BROKERS=host:port")?;
        let leases = kafka::Leases::new(self.pool.clone(), &self.settings.owner);
        let relay = kafka::Relay::new(kafka, PgHistory::new(self.pool.clone()), leases);
        let outages = relay.outages();
        self.health.ask(move || {
            let told = |outage: &kafka::Outage| Some(format!("{}: {}", outage.what(), outage.reason()?));
            outages.iter().filter_map(told).collect()
        });
        Ok(tokio::spawn(relay.run(self.stop.clone())))
    }

    /// The lanes that fall to this process in one of its roles.
    async fn share(&self, role: &'static str) -> Result<watch::Receiver<BTreeSet<LaneId>>> {
        if self.roles.alone {
            return Ok(presence::alone());
        }
        let (name, lease_ms) = (self.settings.owner.clone(), self.settings.lease_ms);
        let presence = Presence { pool: self.pool.clone(), role, name, lease_ms, health: self.health.clone() };
        presence.join(self.stop.clone()).await.with_context(|| format!("cannot join the processes of the role {role}"))
    }
}
