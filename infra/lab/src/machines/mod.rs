//! `cartulary machines`: the installation of docs/running.md on three machines and a fourth one with the servers, which are
//! network namespaces of this kernel. Two nodes are cut off for a while, one is killed; what must hold then is checked.

mod installation;
mod judged;
mod load;
mod network;
mod scenes;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use servers::{ALL, Server, Servers};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::demo::Claim;
use cartulary::cli::say;
use installation::{Installation, start_servers};
use load::{Market, Order};
use network::{DELAY_MS, Network};

/// Three nodes on a network of their own, two of them cut off and one killed, with every claim checked. Takes two minutes.
///
/// Makes network namespaces, so it needs root, and takes them away again. One holds PostgreSQL, Kafka and Redis; on each of
/// three others run `serve`, `scribe`, `project` and `policies`, on two of them `relay` as well: this very binary, told by
/// variables where everything is. Callers in a fifth one buy through the doors of all nodes. Meanwhile the cable of node-1 is
/// out for 15 seconds, for 15 more all packets of node-3 are lost without a word, and all processes of node-2 are killed and
/// started again. In the end the log is held against what callers were told, and read models against a rebuild. Exits 0 only
/// if every claim holds.
#[derive(Debug, Args)]
pub struct MachinesArgs {
    /// Write figures and claims as JSON to standard output; what happens meanwhile goes to standard error.
    #[arg(long)]
    json: bool,
    /// The folder whose `.cartulary` holds Kafka's jars; `cargo xtask machines` and `cargo xtask up kafka` fetch them.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    house: PathBuf,
}

/// What was found out.
#[derive(Debug, Serialize)]
struct Findings {
    figures: Vec<Figure>,
    claims: Vec<Claim>,
    #[serde(skip)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Findings {
    /// Tells what happens.
    fn says(&self, text: impl AsRef<str>) {
        match self.json {
            true => tracing::info!("{}", text.as_ref()),
            false => say(text),
        }
    }

    fn figure(&mut self, name: String, value: f64, unit: &'static str) {
        self.says(format!("    {name}: {value:.2} {unit}"));
        self.figures.push(Figure { name, value, unit });
    }

    /// That something took no longer than it may.
    fn within(&mut self, name: String, took: Duration, most: Duration) {
        self.claims.push(Claim::that(&format!("{name}, within {most:?}"), took <= most, format!("{took:.1?}")));
        self.figure(name, took.as_secs_f64(), "s");
    }

    fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }
}

pub async fn run(args: MachinesArgs) -> Result<ExitCode> {
    // Heard from now on, so that nothing stays behind.
    let asked = tokio::spawn(cartulary::process::stop_requested());
    let network = Arc::new(Network::make()?);
    let folder = std::env::temp_dir().join(format!("cartulary-machines-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    let servers = Servers::in_folder(&folder, &args.house)?.at(network.servers.address);
    let findings = Findings { figures: Vec::new(), claims: Vec::new(), json: args.json };
    // Where the callers are, with threads of its own: whoever calls from there reaches the nodes and nothing else.
    let (there, in_folder, with_servers) = (network.clone(), folder.clone(), servers.clone());
    let found = network.callers.inside(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(until_asked(asked, &there, &in_folder, &with_servers, findings))
    });
    let found = found.await;
    // Whatever ended it, nothing stays behind; why it ended matters more than what became of that.
    let cleared = tokio::task::spawn_blocking(move || servers.down(&ALL)).await?.map(drop);
    drop(network);
    let kept = found.as_ref().is_err().then(|| format!("; logs are in {}", folder.display()));
    let findings = found.with_context(|| format!("the machines could not be shown{}", kept.unwrap_or_default()))?;
    cleared?;
    let holds = findings.claims.iter().all(|claim| claim.holds);
    if holds {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    } else {
        findings.says(format!("the logs of all processes are in {}", folder.display()));
    }
    if args.json {
        say(serde_json::to_string_pretty(&findings)?);
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn until_asked(
    asked: JoinHandle<Result<()>>,
    network: &Network,
    folder: &Path,
    servers: &Servers,
    findings: Findings,
) -> Result<Findings> {
    let mut starting = tokio::spawn(start_servers(network.servers.clone(), servers.clone()));
    let shown = tokio::select! {
        shown = show(network, folder, &mut starting, findings) => shown,
        asked = asked => asked?.and_then(|()| bail!("stopped before the end")),
    };
    // A server that is started after all others were ended would stay behind.
    if !starting.is_finished() {
        starting.await.ok();
    }
    shown
}

/// All of it, one scene after the other.
async fn show(
    network: &Network,
    folder: &Path,
    starting: &mut JoinHandle<Result<Vec<Server>>>,
    mut findings: Findings,
) -> Result<Findings> {
    findings.says(format!(
        "A network of {} nodes; PostgreSQL, Redis and Kafka start on a machine of theirs",
        network.nodes.len()
    ));
    let addresses = starting.await??;
    match network.delay() {
        Ok(()) => findings.says(format!("Every cable holds back for {DELAY_MS} ms what goes into either end")),
        Err(error) => findings.says(format!("Cables without delay, because this kernel cannot make any ({error:#})")),
    }
    scenes::round_trip(network, &addresses, &mut findings).await?;
    let mut installation = Installation::start(network, folder, addresses).await?;
    let fronts = installation.fronts();
    findings.says(format!("{} processes are ready; the front doors are {}", installation.count(), fronts.join(" ")));
    let market = Arc::new(Market::open(&installation.stage(fronts.clone()), &fronts).await?);
    let enough = CancellationToken::new();
    let mut callers = market.callers(&enough);
    let played = scenes::play(network, &mut installation, &market, &mut findings);
    let (scenes, alone) = tokio::select! {
        played = played => played?,
        // A caller only ends early where an answer was wrong or never came.
        Some(ended) = callers.join_next() => return ended?.and_then(|_| bail!("a caller has ended by itself")),
    };
    enough.cancel();
    let mut orders: Vec<Order> = Vec::new();
    while let Some(caller) = callers.join_next().await {
        orders.extend(caller??);
    }
    scenes::tell_waits(&scenes, &orders, &mut findings);
    orders.extend(alone);
    judged::log(&mut installation, &market, &orders, &mut findings).await?;
    findings.claims.iter().for_each(|claim| findings.says(claim.line()));
    Ok(findings)
}
