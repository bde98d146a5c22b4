//! Processes of the roles, on an external PostgreSQL.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use event_log::LaneCount;
use platform::{DatabaseRole, database, http_server};
use projections::kernel::Models;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vault::MonitorToken;
use views::store::PgRows;

use super::say;
use crate::configuration::Configuration;
use crate::process::{Running, listen, stop_requested};
use crate::roles::Roles;
use crate::settings::Settings;

/// Pause before a database that could not be used is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Further roles of a `serve` process.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Also write lanes, keep read models and run policies in this process.
    #[arg(long)]
    all: bool,
}

impl ServeArgs {
    pub(super) fn roles(&self) -> Roles {
        if self.all { Roles::ALL } else { Roles { serve: true, ..Roles::default() } }
    }
}

/// Runs these roles until the process is asked to stop.
pub(super) async fn run(settings: &Settings, roles: Roles) -> Result<ExitCode> {
    let listener = listen(settings.listen).await?;
    let config = settings.configuration(roles)?;
    let Some(listener) = wait_for_database(listener, &config).await? else { return Ok(ExitCode::SUCCESS) };
    let mut running = Running::start(config, listener).await?;
    let state = if roles.serve { "serving" } else { "running; health is" };
    say(format!("{state} on http://{}", running.address));
    let ended = running.until_stopped().await;
    running.stop().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Waits until the database can be used; meanwhile, health requests are answered with the reason. `None` if the process
/// is asked to stop before.
async fn wait_for_database(listener: TcpListener, config: &Configuration) -> Result<Option<TcpListener>> {
    let (url, monitor) = (&config.database.url, MonitorToken::new(&config.outer_key));
    let Some(reason) = database::outage(url).await else { return Ok(Some(listener)) };
    tracing::warn!(reason, "waiting for the database");
    let (sender, reasons) = watch::channel(reason);
    let listener = listener.into_std()?;
    let (stop, same) = (CancellationToken::new(), TcpListener::from_std(listener.try_clone()?)?);
    let waiting =
        tokio::spawn(http_server::serve_not_ready(same, reasons, move |token| monitor.equals(token), stop.clone()));
    let usable = async {
        while let Some(reason) = database::outage(url).await {
            sender.send_replace(reason);
            tokio::time::sleep(RETRY_AFTER).await;
        }
    };
    let requested = tokio::select! {
        () = usable => None,
        requested = stop_requested() => Some(requested),
    };
    // Closes the connections of the waiting server, which would answer "not ready" on them for ever.
    stop.cancel();
    waiting.await?;
    if let Some(requested) = requested {
        return requested.map(|()| None);
    }
    tracing::info!("the database can be used");
    Ok(Some(TcpListener::from_std(listener)?))
}

/// Choices for a new database.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Number of lanes (partitions) of a new log, 1 to 256: the most scribe loops that can write at the same time. Without
    /// it, a new log gets 16. It cannot be changed later: for a log with another number, nothing is done and the exit
    /// code is 1.
    #[arg(long, value_name = "NUMBER")]
    lanes: Option<LaneCount>,
}

pub(super) async fn migrate(args: &MigrateArgs, url: &str) -> Result<ExitCode> {
    let pool = database::connect(url).await?;
    event_log::migrate_with(&pool, args.lanes).await?;
    // A process that only answers callers may not create tables.
    PgRows::new(database::connect_as(url, DatabaseRole::Worker).await?).prepare(Models::all().iter()).await?;
    say("the database is up to date");
    Ok(ExitCode::SUCCESS)
}
