//! The roles as processes on an outside PostgreSQL.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::say;
use crate::running::{self, Roles, Running};
use crate::settings::Settings;
use platform::database;
use platform::http_server;

/// How long to wait before a database that could not be used is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `serve` does beside serving.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Do everything else as well in this process: write lanes, keep read models, run policies.
    #[arg(long)]
    all: bool,
}

impl ServeArgs {
    pub(super) fn roles(&self) -> Roles {
        if self.all { Roles::ALL } else { Roles { front: true, ..Roles::default() } }
    }
}

/// Runs these roles until somebody wants the process to end.
pub(super) async fn run(settings: &Settings, roles: Roles) -> Result<ExitCode> {
    let listener = running::listen(settings).await?;
    // Only who serves the API has to believe tokens.
    let auth = if roles.front { settings.auth()? } else { settings.auth_with(vec![]) };
    let (url, outer) = (settings.database_url()?, settings.outer_key()?);
    let Some(listener) = wait_for_database(listener, url).await? else { return Ok(ExitCode::SUCCESS) };
    let mut running = Running::start(settings, listener, roles, url, &outer, auth).await?;
    let what = if roles.front { "serving" } else { "running; health is" };
    say(format!("{what} on http://{}", running.address));
    let ended = running.until_stopped().await;
    running.stop().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Waits until the database can be used; whoever asks meanwhile is told why not. Nothing where somebody wants the process
/// to end before.
async fn wait_for_database(listener: TcpListener, url: &str) -> Result<Option<TcpListener>> {
    let Some(reason) = database::trouble(url).await else { return Ok(Some(listener)) };
    tracing::warn!(reason, "waiting for the database");
    let (told, reasons) = watch::channel(reason);
    let listener = listener.into_std()?;
    let (stop, same) = (CancellationToken::new(), TcpListener::from_std(listener.try_clone()?)?);
    let waiting = tokio::spawn(http_server::waiting(same, reasons, stop.clone()));
    let back = async {
        while let Some(reason) = database::trouble(url).await {
            told.send_replace(reason);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let asked = tokio::select! {
        () = back => None,
        asked = running::asked_to_stop() => Some(asked),
    };
    // Whoever keeps a connection open would be told for ever that we wait.
    stop.cancel();
    waiting.await?;
    if let Some(asked) = asked {
        return asked.map(|()| None);
    }
    tracing::info!("the database can be used");
    Ok(Some(TcpListener::from_std(listener)?))
}

pub(super) async fn migrate(settings: &Settings) -> Result<ExitCode> {
    let pool = running::connect(settings.database_url()?).await?;
    running::migrate(&pool).await?;
    say("the database is up to date");
    Ok(ExitCode::SUCCESS)
}
