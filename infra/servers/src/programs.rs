//! Lookup of the servers' programs, and running of helper programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Installs a Debian package.
pub type Install = fn(package: &str) -> Result<()>;

/// Path of a program. If it is missing, it is installed, or reported as an error if there is no `install`.
pub(crate) fn required(program: &str, package: &str, install: Option<Install>) -> Result<PathBuf> {
    if let Some(found) = on_path(program) {
        return Ok(found);
    }
    let Some(install) = install else {
        bail!("`{program}` is missing; `cargo xtask up` installs it (the Debian package is called `{package}`)")
    };
    install(package)?;
    on_path(program).with_context(|| format!("`{package}` was installed, but `{program}` is still missing"))
}

/// Folder of `initdb` and `postgres`. The embedded PostgreSQL of the product searches the same folders.
pub fn postgres_folder() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let versions = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    folders.into_iter().find(|folder| is_server(folder))
}

/// Path of a program in the folders of `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// True if this process runs as root.
pub fn is_root() -> bool {
    let mut id = Command::new("id");
    id.arg("-u");
    id.output().is_ok_and(|answer| answer.stdout == b"0\n")
}

/// Runs a program to its end. Its output is part of the error if it fails.
pub(crate) fn run_quietly(mut command: Command) -> Result<()> {
    let answer = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} cannot be run"))?;
    // Maven writes errors to standard output.
    let output = [answer.stderr, answer.stdout].map(|text| String::from_utf8_lossy(&text).trim().to_owned()).join("\n");
    ensure!(answer.status.success(), "{command:?} failed: {}", output.trim());
    Ok(())
}

fn is_server(folder: &Path) -> bool {
    let Ok(initdb) = folder.join("initdb").canonicalize() else { return false };
    let mut command = Command::new(initdb.with_file_name("postgres"));
    command.arg("--version");
    command.output().is_ok_and(|answer| answer.status.success())
}
