//! Running of other programs.

use std::{
    env,
    ffi::OsString,
    io::{IsTerminal, stderr},
    os::unix::process::CommandExt,
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Interval of progress messages while cargo builds without a terminal. On a terminal cargo shows its own progress bar.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// A binary of the workspace.
#[derive(Clone, Copy, Debug)]
pub enum Binary {
    /// The product.
    Cartulary,
    /// Demo, benchmarks and fault scenarios, which start the product.
    Lab,
}

impl Binary {
    fn name(self) -> &'static str {
        match self {
            Self::Cartulary => "cartulary",
            Self::Lab => "cartulary-lab",
        }
    }
}

/// Cargo at the root of the workspace: the one that runs this program, if one does.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Runs a program and requires its success.
pub fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Runs a program without showing its output. True if it succeeds.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command.output().is_ok_and(|answer| answer.status.success())
}

/// Builds both binaries and replaces this process by one of them, so that its exit code and Ctrl-C are those of the
/// binary.
///
/// All tasks build the same packages with the same profile: another selection of packages would enable other features
/// of the dependencies and compile many of them a second time.
pub fn build_and_become(binary: Binary, subcommand: &str, arguments: &[String]) -> Result<()> {
    let program = workspace::target_folder()?.join("release").join(binary.name());
    if !program.exists() {
        println!("building Cartulary; the first build takes 10 to 20 minutes on two cores");
    }
    let mut build = cargo(&["build", "--release", "--package", "cartulary", "--package", "lab", "--bins"]);
    let status = with_progress(|| build.status()).with_context(|| format!("{build:?} cannot be run"))?;
    ensure!(status.success(), "the build has failed; the reason is above");
    let mut command = Command::new(program);
    command.arg(subcommand).args(arguments);
    Err(command.exec()).with_context(|| format!("{command:?} cannot be run"))
}

/// Prints the elapsed time in intervals while a task runs, unless cargo shows a progress bar itself.
#[expect(clippy::disallowed_methods, reason = "a project task has no injected clock")]
pub(crate) fn with_progress<T>(task: impl FnOnce() -> T) -> T {
    if stderr().is_terminal() {
        return task();
    }
    let (done, finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let started = Instant::now();
            while finished.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                println!("  … still building, {} s", started.elapsed().as_secs());
            }
        });
        let result = task();
        drop(done);
        result
    })
}
