//! Gets a machine ready. PostgreSQL's server programs are all that is needed besides Rust and its linker, without
//! which this program would not run. What only [`crate::servers`] need is installed when they are asked for.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::programs::{answers, succeed};

/// What other systems call it.
const ELSEWHERE: &str = "\
    macOS:   brew install postgresql@16
    Fedora:  dnf install postgresql-server
    Arch:    pacman -S postgresql
    Alpine:  apk add postgresql";

/// Debian starts a server of its own as soon as the package is there. We need its programs only, so for the time of
/// the installation it is told not to.
const INSTALL: &str = "\
set -eu
quiet=/etc/postgresql-common/createcluster.d/cartulary.conf
apt-get update
mkdir -p \"$(dirname $quiet)\"
trap 'rm -f $quiet' EXIT
echo 'create_main_cluster = false' > $quiet
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql
";

/// The same for other servers: what the system says about starting services decides, so for the time of the
/// installation it says no; where somebody else said something already, that stays.
const INSTALL_QUIETLY: &str = "\
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends PACKAGE
";

pub fn install_what_is_missing() -> Result<()> {
    // The client of Kafka is a C library that is built with it.
    needed("make", "make")?;
    if let Some(folder) = server_programs() {
        println!("setup: PostgreSQL is here ({}); nothing to install", folder.display());
        return Ok(());
    }
    if !on_path("apt-get") {
        bail!("PostgreSQL's server programs (initdb, postgres) are missing; install them with\n{ELSEWHERE}");
    }
    println!("setup: PostgreSQL's server programs are missing; installing the Debian package `postgresql`");
    println!("       (without starting a server; elsewhere this would be\n{ELSEWHERE})");
    succeed(as_root(INSTALL)?)?;
    match server_programs() {
        Some(folder) => println!("setup: PostgreSQL is now here ({})", folder.display()),
        None => bail!("the package `postgresql` was installed, but initdb is still not to be found"),
    }
    Ok(())
}

/// A program that must be on the path; where it is not, its Debian package is installed, without starting a server.
pub(crate) fn needed(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find_on_path(program) {
        return Ok(found);
    }
    if !on_path("apt-get") {
        bail!("`{program}` is missing; install it (the Debian package is called `{package}`) and try again");
    }
    println!("setup: `{program}` is missing; installing the Debian package `{package}`");
    succeed(as_root(&INSTALL_QUIETLY.replace("PACKAGE", package))?)?;
    find_on_path(program).with_context(|| format!("`{package}` was installed, but `{program}` is still not there"))
}

pub(crate) fn is_root() -> bool {
    let mut who = Command::new("id");
    who.arg("-u");
    who.output().is_ok_and(|answer| answer.stdout == b"0\n")
}

/// A shell script run as root; by sudo, should we be somebody else.
fn as_root(script: &str) -> Result<Command> {
    let mut command = match is_root() {
        true => Command::new("sh"),
        false if on_path("sudo") => {
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        }
        false => bail!("only root can install; run this as root:\n{script}"),
    };
    command.args(["-c", script]);
    Ok(command)
}

/// Where the engine will find them; the same places as in `infra/src/embedded/find.rs`.
pub(crate) fn server_programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let versions = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    folders.into_iter().find(|folder| is_server(folder))
}

fn is_server(folder: &Path) -> bool {
    let Ok(initdb) = folder.join("initdb").canonicalize() else { return false };
    let mut command = Command::new(initdb.with_file_name("postgres"));
    command.arg("--version");
    answers(command)
}

fn on_path(program: &str) -> bool {
    find_on_path(program).is_some()
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
