//! `cartulary-lab machines`: fault scenarios on the deployment of docs/running.md, with three nodes and a server
//! machine as network namespaces of this kernel. Two nodes are isolated for a while and one is killed; each recovery is
//! checked.

mod checks;
mod fault_scenarios;
mod installation;
mod load;
mod network;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cartulary::cli::say;
use clap::Args;
use serde::Serialize;
use servers::{ALL, Server, Servers};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::demo::Check;
use installation::{Installation, start_servers};
use load::{LoadShops, OrderRequest};
use network::{DELAY_MS, Network};

/// Run fault scenarios on three nodes in network namespaces, and check every recovery. Takes two minutes and needs
/// root.
///
/// Five network namespaces are created, and deleted at the end. One holds PostgreSQL, Kafka and Redis. Each of three
/// nodes runs `serve`, `scribe`, `project` and `policies`, two of them `relay` as well, configured by environment
/// variables only. Callers in the fifth namespace place orders through all nodes. Meanwhile the link of node-1 is down
/// for 15 seconds, all packets of node-3 are dropped for 15 seconds, and all processes of node-2 are killed and
/// restarted. At the end the log is compared with the answers that callers received, and the read models with a
/// rebuild. Exits with 0 only if every check passes.
#[derive(Debug, Args)]
pub struct MachinesArgs {
    /// Write figures and checks as JSON to standard output, and progress to standard error.
    #[arg(long)]
    json: bool,
    /// Folder with the `.cartulary` folder that holds the jars of Kafka. `cargo xtask up kafka` downloads them.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

/// Figures and checks of one run.
#[derive(Debug, Serialize)]
struct ScenarioReport {
    figures: Vec<ScenarioFigure>,
    #[serde(rename = "claims")]
    checks: Vec<Check>,
    #[serde(skip)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct ScenarioFigure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl ScenarioReport {
    /// Reports progress.
    fn log(&self, text: impl AsRef<str>) {
        match self.json {
            true => tracing::info!("{}", text.as_ref()),
            false => say(text),
        }
    }

    fn figure(&mut self, name: String, value: f64, unit: &'static str) {
        self.log(format!("    {name}: {value:.2} {unit}"));
        self.figures.push(ScenarioFigure { name, value, unit });
    }

    /// Adds a duration as a figure, and the check that it is at most `most`.
    fn within(&mut self, name: String, took: Duration, most: Duration) {
        self.checks.push(Check::that(&format!("{name}, within {most:?}"), took <= most, format!("{took:.1?}")));
        self.figure(name, took.as_secs_f64(), "s");
    }

    fn check(&mut self, check: Check) {
        self.checks.push(check);
    }
}

pub async fn run(args: MachinesArgs) -> Result<ExitCode> {
    // Signals are handled before anything is created, so that everything is removed when one arrives.
    let stop_signal = tokio::spawn(cartulary::process::stop_requested());
    let network = Arc::new(Network::create()?);
    let folder = std::env::temp_dir().join(format!("cartulary-machines-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    let servers = Servers::in_folder(&folder, &args.project)?.at(network.servers.address);
    let report = ScenarioReport { figures: Vec::new(), checks: Vec::new(), json: args.json };
    // The callers need a runtime whose threads are in their namespace.
    let (scenario_network, scenario_folder, scenario_servers) = (network.clone(), folder.clone(), servers.clone());
    let result = network.callers.run_inside(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run_until_stopped(stop_signal, &scenario_network, &scenario_folder, &scenario_servers, report))
    });
    let result = result.await;
    // Servers and namespaces are removed after an error of the scenarios too; that error then takes precedence.
    let servers_stopped = tokio::task::spawn_blocking(move || servers.down(&ALL)).await?.map(drop);
    drop(network);
    let logs = result.as_ref().is_err().then(|| format!("; logs are in {}", folder.display()));
    let report = result.with_context(|| format!("the scenarios did not complete{}", logs.unwrap_or_default()))?;
    servers_stopped?;
    let passed = report.checks.iter().all(|check| check.holds);
    if passed {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    } else {
        report.log(format!("the logs of all processes are in {}", folder.display()));
    }
    if args.json {
        say(serde_json::to_string_pretty(&report)?);
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_until_stopped(
    stop_signal: JoinHandle<Result<()>>,
    network: &Network,
    folder: &Path,
    servers: &Servers,
    report: ScenarioReport,
) -> Result<ScenarioReport> {
    let mut starting = tokio::spawn(start_servers(network.servers.clone(), servers.clone()));
    let result = tokio::select! {
        result = run_all(network, folder, &mut starting, report) => result,
        stopped = stop_signal => stopped?.and_then(|()| bail!("stopped before the end")),
    };
    // The caller stops the servers. It must not do so while one of them is still starting, which would then run on.
    if !starting.is_finished() {
        starting.await.ok();
    }
    result
}

/// Starts the deployment, runs the scenarios under load and checks the results.
async fn run_all(
    network: &Network,
    folder: &Path,
    starting: &mut JoinHandle<Result<Vec<Server>>>,
    mut report: ScenarioReport,
) -> Result<ScenarioReport> {
    report.log(format!(
        "A network of {} nodes; PostgreSQL, Redis and Kafka start on a fourth machine",
        network.nodes.len()
    ));
    let addresses = starting.await??;
    match network.delay() {
        Ok(()) => report.log(format!("Every link delays packets by {DELAY_MS} ms in each direction")),
        Err(error) => report.log(format!("Links have no delay, because this kernel does not support it ({error:#})")),
    }
    fault_scenarios::round_trip(network, &addresses, &mut report).await?;
    let mut installation = Installation::start(network, folder, addresses).await?;
    let urls = installation.urls();
    report.log(format!("{} processes are ready; API URLs: {}", installation.count(), urls.join(" ")));
    let shops = Arc::new(LoadShops::open(&installation.deployment(urls.clone()), &urls).await?);
    let stop_load = CancellationToken::new();
    let mut callers = shops.callers(&stop_load);
    let scenarios = fault_scenarios::run_scenarios(network, &mut installation, &shops, &mut report);
    let (phases, isolated_orders) = tokio::select! {
        done = scenarios => done?,
        // A caller ends early only after a wrong or a missing answer.
        Some(ended) = callers.join_next() => return ended?.and_then(|_| bail!("a caller ended early")),
    };
    stop_load.cancel();
    let mut orders: Vec<OrderRequest> = Vec::new();
    while let Some(caller) = callers.join_next().await {
        orders.extend(caller??);
    }
    fault_scenarios::report_waits(&phases, &orders, &mut report);
    orders.extend(isolated_orders);
    checks::check_results(&mut installation, &shops, &orders, &mut report).await?;
    report.checks.iter().for_each(|check| report.log(check.line()));
    Ok(report)
}
