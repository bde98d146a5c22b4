//! `cartulary hold` and `cartulary release`: pause timers, effects and webhooks, as after a restore, and resume them.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use event_log::require_migrated;
use platform::DatabaseRole;
use platform::database::connect_as;
use work::{current_pause, pause_work, resume_work};

use super::say;

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// Why; shown by `doctor` and `/reason`.
    reason: String,
}

pub(super) async fn run(args: &HoldArgs, url: &str) -> Result<ExitCode> {
    let pool = connect_as(url, DatabaseRole::Worker).await?;
    require_migrated(&pool).await?;
    pause_work(&mut *pool.acquire().await?, &args.reason).await?;
    say("timers, effects and webhooks are paused; `cartulary release` resumes them");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_release(url: &str) -> Result<ExitCode> {
    let pool = connect_as(url, DatabaseRole::Worker).await?;
    require_migrated(&pool).await?;
    ensure!(current_pause(&pool).await?.is_some(), "timers, effects and webhooks are not paused");
    resume_work(&pool).await?;
    say("timers, effects and webhooks are resumed");
    Ok(ExitCode::SUCCESS)
}
