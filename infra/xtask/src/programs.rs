//! Runs other programs.

use std::{env, ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, ensure};

use crate::house;

/// Cargo at the root of the house: the very one that runs us, if one does.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).current_dir(house::root());
    command
}

/// Runs a program and insists on its success.
pub fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Whether a program runs and is content.
pub(crate) fn answers(mut command: Command) -> bool {
    command.output().is_ok_and(|answer| answer.status.success())
}

/// Builds the engine and becomes it, so that its exit code is ours and Ctrl-C reaches it alone.
pub fn become_cartulary(build: &[&str], subcommand: &str, arguments: &[String]) -> Result<()> {
    let mut command = cargo(&["run", "--package", "infra", "--bin", "cartulary"]);
    command.args(build).arg("--").arg(subcommand).args(arguments);
    Err(command.exec()).with_context(|| format!("{command:?} cannot be run"))
}
