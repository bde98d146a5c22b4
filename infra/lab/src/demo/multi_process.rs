//! `demo --full`: the demo on separate processes with real PostgreSQL, Kafka and Redis, then again on one process, with
//! a comparison of the read models of both.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cartulary::cli::{Bearer, say, sign};
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;
use domain::shared::Role;
use servers::{ALL, Server, Servers};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::cdnow::purchases;
use super::deployment::Deployment;
use super::read_model_comparison::{compare_outlines, compare_with_rebuild, wait_until_settled};
use super::{Check, DemoArgs, play, tenant};
use crate::fleet::{self, EngineProcess, Fleet};

/// Role and name of each process, in the order of their start. `serve` comes last, because it forwards commands to
/// scribes.
const PROCESSES: [(&str, &str); 8] = [
    ("scribe", "scribe-1"),
    ("scribe", "scribe-2"),
    ("relay", "relay-1"),
    ("project", "project-1"),
    ("project", "project-2"),
    ("policies", "policies-1"),
    ("serve", "serve-1"),
    ("serve", "serve-2"),
];

/// Seed of the ids in the flash sale, the same in both runs.
const SEED: Uuid = Uuid::from_u128(0x0193_e0a5_7c00_7000_8000_00f1_a540_0001);

/// All processes, and the database of their log.
struct RunningFleet {
    fleet: Fleet,
    processes: Vec<EngineProcess>,
    pool: PgPool,
}

/// Task that starts the servers. It cannot be cancelled.
type Starting = JoinHandle<Result<Vec<Server>>>;

pub(super) async fn run(args: DemoArgs, settings: Settings) -> Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("cartulary-full-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    let servers = Servers::in_folder(&folder, &args.project)?;
    let result = run_in(&folder, &servers, &args, &settings).await;
    // Servers and folder are removed after an error of the demo too; that error then takes precedence.
    let removed = remove(&folder, servers).await;
    let checks = result?;
    removed?;
    Ok(if checks.iter().all(|check| check.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_in(folder: &Path, servers: &Servers, args: &DemoArgs, settings: &Settings) -> Result<Vec<Check>> {
    say("Starting PostgreSQL, Redis and Kafka");
    let up = servers.clone();
    let mut starting = tokio::task::spawn_blocking(move || up.up(&ALL));
    let result = tokio::select! {
        result = run_both(folder, &mut starting, args, settings) => result,
        stopped = cartulary::process::stop_requested() => stopped.and_then(|()| bail!("stopped before the end")),
    };
    // The caller stops the servers. It must not do so while one of them is still starting, which would then run on.
    if !starting.is_finished() {
        starting.await.ok();
    }
    let (fleet, checks) = result?;
    if !args.once {
        fleet.run_until_stopped().await?;
    }
    fleet.stop().await?;
    Ok(checks)
}

/// Runs the demo on both deployments and compares them. With `--once` all processes are stopped afterwards.
async fn run_both(
    folder: &Path,
    starting: &mut Starting,
    args: &DemoArgs,
    settings: &Settings,
) -> Result<(RunningFleet, Vec<Check>)> {
    let mut fleet = RunningFleet::start(folder, starting.await??).await?;
    say(format!("{} processes are ready; API URLs: {}", PROCESSES.len(), fleet.urls().join(" ")));
    let pool = fleet.pool.clone();
    let mut checks = play(&fleet.deployment(), SEED).await?;
    wait_until_settled(&pool).await?;
    let from_kafka = fleet.metric_sum("project", "cartulary_events_from_kafka_total").await?;
    let imported = u64::try_from(purchases()?.len())?;
    let name = format!("events that read models received over Kafka, at least {imported}");
    checks.push(Check::that(&name, from_kafka >= imported, from_kafka));
    let with_redis = fleet.metric_sum("", "cartulary_redis_up").await?;
    checks.push(Check::equal("processes connected to Redis", with_redis, PROCESSES.len() as u64));
    say("\nThe same demo again, in one process");
    checks.extend(run_embedded(folder, settings, &pool).await?);
    if args.once {
        // While processes update the rows, a rebuild may be ahead of them.
        fleet::stop_all(std::mem::take(&mut fleet.processes)).await?;
        checks.extend(compare_with_rebuild(&pool).await?);
    }
    checks.iter().for_each(Check::show);
    Ok((fleet, checks))
}

/// Stops the servers and removes the folder.
async fn remove(folder: &Path, servers: Servers) -> Result<()> {
    tokio::task::spawn_blocking(move || servers.down(&ALL)).await??;
    fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))
}

/// Runs the demo in one process on a database of its own and compares its read models with those of the fleet. Of the
/// settings only the folder of the PostgreSQL programs is used; the others may configure a developer's own engine.
async fn run_embedded(folder: &Path, settings: &Settings, full: &PgPool) -> Result<Vec<Check>> {
    let project = folder.join("embedded");
    fs::create_dir(&project)?;
    let postgres_binaries = settings.postgres_binaries.clone();
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), postgres_binaries, ..Settings::default() };
    let engine = EmbeddedEngine::start(&project, settings).await?;
    let pool = engine.running.pool.clone();
    let result = async {
        let mut checks = play(&Deployment::embedded(&engine), SEED).await?;
        wait_until_settled(&pool).await?;
        checks.extend(compare_outlines(full, &pool).await?);
        Ok(checks)
    };
    let result = result.await;
    let data = engine.data();
    engine.stop().await?;
    // The data are outside the folder if the user of the server may not enter it.
    if !data.starts_with(folder) {
        fs::remove_dir_all(data.parent().unwrap_or(&data))?;
    }
    result
}

impl RunningFleet {
    async fn start(folder: &Path, servers: Vec<Server>) -> Result<Self> {
        let addresses = servers.into_iter().map(|Server { variable, address, .. }| (variable, address));
        let variables = addresses.chain([("CARTULARY_CONNECTIONS_MOST".to_owned(), "8".to_owned())]).collect();
        let fleet = Fleet::new(&folder.join("fleet"), variables)?;
        let pool = platform::database::connect(fleet.database_url()?).await?;
        event_log::migrate(&pool).await?;
        let mut running = Self { fleet, processes: Vec::new(), pool };
        for (role, name) in PROCESSES {
            running.processes.push(running.fleet.start(role, name).await?);
        }
        for process in &running.processes {
            process.ready().await?;
        }
        Ok(running)
    }

    /// URLs of the API servers.
    fn urls(&self) -> Vec<String> {
        let servers = self.processes.iter().filter(|process| process.name.starts_with("serve"));
        servers.map(|server| server.url.clone()).collect()
    }

    fn deployment(&self) -> Deployment<'_> {
        let defaults = Settings::default();
        Deployment::new(self.urls(), &self.pool, move |bearer| sign(&self.fleet.key, bearer, &defaults))
    }

    /// Prints URLs and a token, and waits for Ctrl-C.
    async fn run_until_stopped(&self) -> Result<()> {
        let owner = self.deployment().token(&Bearer::of(tenant(), Role::Owner))?;
        let consoles: Vec<_> = self.urls().iter().map(|url| format!("{url}/graphql")).collect();
        say(format!(
            "\nThe deployment keeps running. GraphQL consoles: {}\n\nexport OWNER={owner}\n\nCtrl-C stops it.",
            consoles.join(" ")
        ));
        cartulary::process::stop_requested().await
    }

    async fn stop(self) -> Result<()> {
        fleet::stop_all(self.processes).await?;
        self.pool.close().await;
        Ok(())
    }

    /// Sum of a metric over all processes with this role; an empty role means all.
    async fn metric_sum(&self, role: &str, metric: &str) -> Result<u64> {
        let mut sum = 0;
        for process in self.processes.iter().filter(|process| process.name.starts_with(role)) {
            sum += process.metric_sum(metric).await?;
        }
        Ok(sum)
    }
}
