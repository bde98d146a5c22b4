//! The roles as processes on an outside PostgreSQL.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::say;
use crate::running::{self, Roles, Running};
use crate::settings::Settings;

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
    let running = Running::start(settings, listener, roles, url, &outer, auth).await?;
    let what = if roles.front { "serving" } else { "running; health is" };
    say(format!("{what} on http://{}", running.address));
    running::asked_to_stop().await?;
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn migrate(settings: &Settings) -> Result<ExitCode> {
    let pool = running::connect(settings.database_url()?).await?;
    running::migrate(&pool).await?;
    say("the database is up to date");
    Ok(ExitCode::SUCCESS)
}
