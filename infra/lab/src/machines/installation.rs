//! Every role of docs/running.md, spread over three nodes, and the servers that they share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use servers::{ALL, Server, Servers};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::network::{Machine, Network};
use crate::demo::Stage;
use crate::fleet::{self, Fleet, Member};
use cartulary::cli::sign;
use cartulary::settings::Settings;
use scribe::presence;

/// A process: on which node, in which role, and where it listens there.
struct Post {
    name: &'static str,
    node: usize,
    role: &'static str,
    port: u16,
}

const fn post(name: &'static str, node: usize, role: &'static str, port: u16) -> Post {
    Post { name, node, role, port }
}

const POSTS: [Post; 14] = [
    post("scribe-1", 0, "scribe", 8482),
    post("scribe-2", 1, "scribe", 8482),
    post("scribe-3", 2, "scribe", 8482),
    post("relay-1", 0, "relay", 8485),
    post("relay-2", 1, "relay", 8485),
    post("project-1", 0, "project", 8483),
    post("project-2", 1, "project", 8483),
    post("project-3", 2, "project", 8483),
    post("policies-1", 0, "policies", 8484),
    post("policies-2", 1, "policies", 8484),
    post("policies-3", 2, "policies", 8484),
    post("serve-1", 0, "serve", 8480),
    post("serve-2", 1, "serve", 8480),
    post("serve-3", 2, "serve", 8480),
];
/// Where the scribe of each node takes letters.
const LETTERS: u16 = 8481;
/// Connections of each process to the one PostgreSQL.
const CONNECTIONS: u32 = 5;
/// Of sixteen lanes each of three scribes has four or six.
const LEAST_SHARE: i64 = 4;
/// How often somebody looks whether something has happened.
const LOOK: Duration = Duration::from_millis(50);
/// How long anything may take that must come by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// All processes of all nodes, by name.
pub(super) struct Installation {
    pub(super) pool: PgPool,
    fleet: Fleet,
    members: BTreeMap<&'static str, Member>,
}

/// Starts the servers on their machine.
pub(super) async fn start_servers(machine: Machine, servers: Servers) -> Result<Vec<Server>> {
    machine.inside(move || servers.up(&ALL)).await
}

impl Installation {
    pub(super) async fn start(network: &Network, folder: &Path, servers: Vec<Server>) -> Result<Self> {
        let addresses = servers.into_iter().map(|Server { variable, address, .. }| (variable, address));
        let more = ("CARTULARY_CONNECTIONS_MOST".to_owned(), CONNECTIONS.to_string());
        let fleet = Fleet::new(&folder.join("fleet"), addresses.chain([more]).collect())?;
        let pool = platform::database::connect(fleet.database_url()?).await?;
        event_log::migrate(&pool).await?;
        let mut installation = Self { pool, fleet, members: BTreeMap::new() };
        installation.start_where(network, |_| true).await?;
        Ok(installation)
    }

    /// Starts these processes and waits until they are ready.
    async fn start_where(&mut self, network: &Network, wanted: impl Fn(&Post) -> bool) -> Result<()> {
        let posts = || POSTS.iter().filter(|post| wanted(post));
        let started = posts().map(|post| self.start_one(&network.nodes[post.node], post));
        let started = try_join_all(started).await?;
        for (post, member) in posts().zip(started) {
            self.members.insert(post.name, member);
        }
        try_join_all(posts().filter_map(|post| self.members.get(post.name)).map(Member::ready)).await?;
        Ok(())
    }

    /// A scribe listens for letters everywhere, as one would that does not know its address, and is told what others are
    /// to call it.
    async fn start_one(&self, node: &Machine, post: &Post) -> Result<Member> {
        let at = |port: u16| format!("{}:{port}", node.address);
        let mut variables = vec![("CARTULARY_LISTEN", at(post.port))];
        if post.role == "scribe" {
            variables.push(("CARTULARY_PEER_LISTEN", format!("0.0.0.0:{LETTERS}")));
            variables.push(("CARTULARY_PEER_ADDRESS", at(LETTERS)));
        }
        let command = node.command(&fleet::product()?);
        self.fleet.start_by(command, post.role, post.name, &variables).await
    }

    pub(super) fn database_url(&self) -> Result<&str> {
        self.fleet.database_url()
    }

    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// The processes of a node.
    pub(super) fn of_node(&self, node: usize) -> Vec<&Member> {
        POSTS.iter().filter(|post| post.node == node).filter_map(|post| self.members.get(post.name)).collect()
    }

    /// All of a role.
    pub(super) fn in_role(&self, role: &str) -> Vec<&Member> {
        POSTS.iter().filter(|post| post.role == role).filter_map(|post| self.members.get(post.name)).collect()
    }

    /// The front doors, in the order of the nodes.
    pub(super) fn fronts(&self) -> Vec<String> {
        self.in_role("serve").into_iter().map(|front| front.url.clone()).collect()
    }

    /// What callers see who come in by these doors.
    pub(super) fn stage(&self, fronts: Vec<String>) -> Stage<'_> {
        let defaults = Settings::default();
        Stage::new(fronts, &self.pool, move |bearer| sign(&self.fleet.key, bearer, &defaults))
    }

    /// Kills everything on a node, all at once.
    pub(super) async fn kill(&mut self, node: usize) -> Result<usize> {
        let names = || POSTS.iter().filter(|post| post.node == node).map(|post| post.name);
        let killed: Vec<_> = names().filter_map(|name| self.members.remove(name)).collect();
        try_join_all(killed.into_iter().map(Member::kill)).await.map(|killed| killed.len())
    }

    pub(super) async fn start_again(&mut self, network: &Network, node: usize) -> Result<()> {
        self.start_where(network, |post| post.node == node).await
    }

    /// Waits until every lane is written by somebody else than the scribe of this node; how long that took.
    pub(super) async fn taken_over(&self, node: usize) -> Result<Duration> {
        let gone = scribe_of(node)?;
        let text = "SELECT NOT EXISTS (SELECT FROM log.lanes WHERE owner = $1 OR lease < clock_timestamp())";
        when("its lanes are written by others", async || {
            Ok(sqlx::query_scalar(text).bind(gone).fetch_one(&self.pool).await?)
        })
        .await
    }

    /// Waits until the scribe of this node writes the lanes that fall to it; how long that took.
    pub(super) async fn has_its_share(&self, node: usize) -> Result<Duration> {
        let (name, share) =
            (scribe_of(node)?, "SELECT count(*) FROM log.lanes WHERE owner = $1 AND lease > clock_timestamp()");
        when("it writes its share of the lanes", async || {
            let scribes = presence::members(&self.pool, "scribe").await?.len();
            let held: i64 = sqlx::query_scalar(share).bind(name).fetch_one(&self.pool).await?;
            Ok(scribes == self.in_role("scribe").len() && held >= LEAST_SHARE)
        })
        .await
    }

    /// Stops everybody in good order.
    pub(super) async fn stop(&mut self) -> Result<()> {
        fleet::stop(std::mem::take(&mut self.members).into_values().collect()).await
    }
}

fn scribe_of(node: usize) -> Result<&'static str> {
    let scribe = POSTS.iter().find(|post| post.node == node && post.role == "scribe");
    Ok(scribe.context("a node has a scribe")?.name)
}

/// Waits for something, and tells how long it took.
pub(super) async fn when(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    let begun = Instant::now();
    while !holds().await? {
        ensure!(begun.elapsed() < PATIENCE, "never came: {what}");
        sleep(LOOK).await;
    }
    Ok(begun.elapsed())
}
