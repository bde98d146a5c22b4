//! Where the programs are that the servers are made of.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Installs a package of Debian's.
pub type Install = fn(package: &str) -> Result<()>;

/// A program that must be on the path.
pub(crate) fn needed(program: &str, package: &str, install: Option<Install>) -> Result<PathBuf> {
    if let Some(found) = on_path(program) {
        return Ok(found);
    }
    let Some(install) = install else {
        bail!("`{program}` is missing; `cargo xtask up` installs it (the Debian package is called `{package}`)")
    };
    install(package)?;
    on_path(program).with_context(|| format!("`{package}` was installed, but `{program}` is still not there"))
}

/// The folder of `initdb` and `postgres`; the same places as in `infra/src/embedded/find.rs`.
pub fn of_postgres() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let versions = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    folders.into_iter().find(|folder| is_server(folder))
}

/// Where a program is, if it is on the path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether we may do everything here.
pub fn is_root() -> bool {
    let mut who = Command::new("id");
    who.arg("-u");
    who.output().is_ok_and(|answer| answer.stdout == b"0\n")
}

/// Runs a program to its end, and tells what it complained about.
pub(crate) fn quietly(mut command: Command) -> Result<()> {
    let answer = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} cannot be run"))?;
    // Maven complains where others tell.
    let told = [answer.stderr, answer.stdout].map(|text| String::from_utf8_lossy(&text).trim().to_owned()).join("\n");
    ensure!(answer.status.success(), "{command:?} failed: {}", told.trim());
    Ok(())
}

fn is_server(folder: &Path) -> bool {
    let Ok(initdb) = folder.join("initdb").canonicalize() else { return false };
    let mut command = Command::new(initdb.with_file_name("postgres"));
    command.arg("--version");
    command.output().is_ok_and(|answer| answer.status.success())
}
