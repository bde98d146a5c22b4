//! Deployment under test: every role of docs/running.md on three nodes, and the servers that they share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::cli::sign;
use cartulary::settings::Settings;
use futures::future::try_join_all;
use scribe::presence;
use servers::{ALL, Server, Servers};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::network::{Machine, Network};
use crate::demo::Deployment;
use crate::fleet::{self, EngineProcess, Fleet};

/// One process: its node, role and port.
struct ProcessSpec {
    name: &'static str,
    node: usize,
    role: &'static str,
    port: u16,
}

const fn process(name: &'static str, node: usize, role: &'static str, port: u16) -> ProcessSpec {
    ProcessSpec { name, node, role, port }
}

const PROCESSES: [ProcessSpec; 14] = [
    process("scribe-1", 0, "scribe", 8482),
    process("scribe-2", 1, "scribe", 8482),
    process("scribe-3", 2, "scribe", 8482),
    process("relay-1", 0, "relay", 8485),
    process("relay-2", 1, "relay", 8485),
    process("project-1", 0, "project", 8483),
    process("project-2", 1, "project", 8483),
    process("project-3", 2, "project", 8483),
    process("policies-1", 0, "policies", 8484),
    process("policies-2", 1, "policies", 8484),
    process("policies-3", 2, "policies", 8484),
    process("serve-1", 0, "serve", 8480),
    process("serve-2", 1, "serve", 8480),
    process("serve-3", 2, "serve", 8480),
];
/// Port on which the scribe of each node receives forwarded commands.
const FORWARDING_PORT: u16 = 8481;
/// Database connections of each process.
const CONNECTIONS: u32 = 5;
/// Least number of lanes of a scribe: sixteen lanes are assigned in pairs, so each of three scribes gets four or six.
const LANES_LEAST: i64 = 4;
/// Interval between two checks of an awaited condition.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit for an awaited condition.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// All processes of all nodes, by name.
pub(super) struct Installation {
    pub(super) pool: PgPool,
    fleet: Fleet,
    processes: BTreeMap<&'static str, EngineProcess>,
}

/// Starts PostgreSQL, Redis and Kafka on their machine.
pub(super) async fn start_servers(machine: Machine, servers: Servers) -> Result<Vec<Server>> {
    machine.run_inside(move || servers.up(&ALL)).await
}

impl Installation {
    pub(super) async fn start(network: &Network, folder: &Path, servers: Vec<Server>) -> Result<Self> {
        let addresses = servers.into_iter().map(|Server { variable, address, .. }| (variable, address));
        let more = ("CARTULARY_CONNECTIONS_MOST".to_owned(), CONNECTIONS.to_string());
        let fleet = Fleet::new(&folder.join("fleet"), addresses.chain([more]).collect())?;
        let pool = platform::database::connect(fleet.database_url()?).await?;
        event_log::migrate(&pool).await?;
        let mut installation = Self { pool, fleet, processes: BTreeMap::new() };
        installation.start_where(network, |_| true).await?;
        Ok(installation)
    }

    /// Starts these processes and waits until they are ready.
    async fn start_where(&mut self, network: &Network, wanted: impl Fn(&ProcessSpec) -> bool) -> Result<()> {
        let specs = || PROCESSES.iter().filter(|spec| wanted(spec));
        let started = specs().map(|spec| self.start_one(&network.nodes[spec.node], spec));
        let started = try_join_all(started).await?;
        for (spec, process) in specs().zip(started) {
            self.processes.insert(spec.name, process);
        }
        try_join_all(specs().filter_map(|spec| self.processes.get(spec.name)).map(EngineProcess::ready)).await?;
        Ok(())
    }

    /// Starts one process. A scribe listens for forwarded commands on all addresses, as in a container that does not know
    /// its own address; the address that it publishes is set separately.
    async fn start_one(&self, node: &Machine, spec: &ProcessSpec) -> Result<EngineProcess> {
        let at = |port: u16| format!("{}:{port}", node.address);
        let mut variables = vec![("CARTULARY_LISTEN", at(spec.port))];
        if spec.role == "scribe" {
            variables.push(("CARTULARY_PEER_LISTEN", format!("0.0.0.0:{FORWARDING_PORT}")));
            variables.push(("CARTULARY_PEER_ADDRESS", at(FORWARDING_PORT)));
        }
        let command = node.command(&fleet::product()?);
        self.fleet.start_command(command, spec.role, spec.name, &variables).await
    }

    pub(super) fn database_url(&self) -> Result<&str> {
        self.fleet.database_url()
    }

    pub(super) fn count(&self) -> usize {
        self.processes.len()
    }

    /// Running processes of a node.
    pub(super) fn of_node(&self, node: usize) -> Vec<&EngineProcess> {
        PROCESSES.iter().filter(|spec| spec.node == node).filter_map(|spec| self.processes.get(spec.name)).collect()
    }

    /// Running processes with a role.
    pub(super) fn in_role(&self, role: &str) -> Vec<&EngineProcess> {
        PROCESSES.iter().filter(|spec| spec.role == role).filter_map(|spec| self.processes.get(spec.name)).collect()
    }

    /// API URLs, in the order of the nodes.
    pub(super) fn urls(&self) -> Vec<String> {
        self.in_role("serve").into_iter().map(|process| process.url.clone()).collect()
    }

    /// The deployment, reached through these API URLs.
    pub(super) fn deployment(&self, urls: Vec<String>) -> Deployment<'_> {
        let defaults = Settings::default();
        Deployment::new(urls, &self.pool, move |bearer| sign(&self.fleet.key, bearer, &defaults))
    }

    /// Kills all processes of a node at once. Returns their number.
    pub(super) async fn kill(&mut self, node: usize) -> Result<usize> {
        let names = || PROCESSES.iter().filter(|spec| spec.node == node).map(|spec| spec.name);
        let killed: Vec<_> = names().filter_map(|name| self.processes.remove(name)).collect();
        try_join_all(killed.into_iter().map(EngineProcess::kill)).await.map(|killed| killed.len())
    }

    pub(super) async fn restart(&mut self, network: &Network, node: usize) -> Result<()> {
        self.start_where(network, |spec| spec.node == node).await
    }

    /// Waits until every lane is owned by a scribe of another node. Returns how long that took.
    pub(super) async fn wait_for_takeover(&self, node: usize) -> Result<Duration> {
        let lost = scribe_of(node)?;
        let text = "SELECT NOT EXISTS (SELECT FROM log.lanes WHERE owner = $1 OR lease < clock_timestamp())";
        wait_for("its lanes are written by others", async || {
            Ok(sqlx::query_scalar(text).bind(lost).fetch_one(&self.pool).await?)
        })
        .await
    }

    /// Waits until all scribes are present and the scribe of this node owns at least `LANES_LEAST` lanes. Returns how
    /// long that took.
    pub(super) async fn wait_for_assigned_lanes(&self, node: usize) -> Result<Duration> {
        let (name, owned) =
            (scribe_of(node)?, "SELECT count(*) FROM log.lanes WHERE owner = $1 AND lease > clock_timestamp()");
        wait_for("it writes its assigned lanes", async || {
            let scribes = presence::members(&self.pool, "scribe").await?.len();
            let held: i64 = sqlx::query_scalar(owned).bind(name).fetch_one(&self.pool).await?;
            Ok(scribes == self.in_role("scribe").len() && held >= LANES_LEAST)
        })
        .await
    }

    /// Stops all processes gracefully.
    pub(super) async fn stop(&mut self) -> Result<()> {
        fleet::stop_all(std::mem::take(&mut self.processes).into_values().collect()).await
    }
}

fn scribe_of(node: usize) -> Result<&'static str> {
    let scribe = PROCESSES.iter().find(|spec| spec.node == node && spec.role == "scribe");
    Ok(scribe.context("the node has no scribe")?.name)
}

/// Polls a condition until it holds. Returns how long that took.
pub(super) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    let begun = Instant::now();
    while !condition().await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "not within {WAIT_TIMEOUT:?}: {what}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(begun.elapsed())
}
