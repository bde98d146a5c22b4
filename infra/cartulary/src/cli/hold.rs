//! Holding timers and effects back, as after a restore, and releasing them.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use super::say;
use crate::running;
use crate::settings::Settings;
use work::{held_back, hold_back, release};

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// Why, for whoever finds them held back.
    reason: String,
}

pub(super) async fn run(args: &HoldArgs, settings: &Settings) -> Result<ExitCode> {
    let pool = running::connect(settings.database_url()?).await?;
    running::require_migrated(&pool).await?;
    hold_back(&mut *pool.acquire().await?, &args.reason).await?;
    say("timers and effects are held back; `cartulary release` lets them go on");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_release(settings: &Settings) -> Result<ExitCode> {
    let pool = running::connect(settings.database_url()?).await?;
    running::require_migrated(&pool).await?;
    ensure!(held_back(&pool).await?.is_some(), "timers and effects are not held back");
    release(&pool).await?;
    say("timers and effects go on");
    Ok(ExitCode::SUCCESS)
}
