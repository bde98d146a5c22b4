//! All roles on an outside PostgreSQL.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use crate::running::{self, Running};
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings) -> Result<ExitCode> {
    let listener = running::listen(settings).await?;
    let running =
        Running::start(settings, listener, settings.database_url()?, &settings.outer_key()?, settings.auth()?).await?;
    say(format!("serving on http://{}", running.address));
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
