//! Gets a machine ready. PostgreSQL's server programs, make and OpenSSL are all that is needed besides Rust and its
//! linker, without which this program would not run. What only [`crate::servers`] need is installed when they are asked
//! for.

use std::{env, path::Path, process::Command};

use anyhow::{Result, bail};
use servers::programs::{is_root, of_postgres, on_path};

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
exec 9>/var/cache/apt/cartulary-setup.lock
flock 9
quiet=/etc/postgresql-common/createcluster.d/cartulary.conf
apt-get update
mkdir -p \"$(dirname $quiet)\"
trap 'rm -f $quiet' EXIT
echo 'create_main_cluster = false' > $quiet
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql
";

/// The same for other servers: what the system says about starting services decides, so for the time of the
/// installation it says no; where somebody else said something already, that stays. One installs at a time.
const INSTALL_QUIETLY: &str = "\
set -eu
exec 9>/var/cache/apt/cartulary-setup.lock
flock 9
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
    // The client of Kafka is a C library that is built with make; to be configured it wants to see a C++ compiler, too.
    for (program, package) in [("make", "make"), ("c++", "g++")] {
        if on_path(program).is_none() {
            install(package)?;
        }
    }
    if !openssl_is_here() {
        install("libssl-dev pkg-config")?;
    }
    if let Some(folder) = of_postgres() {
        println!("setup: PostgreSQL is here ({}); nothing to install", folder.display());
        return Ok(());
    }
    if on_path("apt-get").is_none() {
        bail!("PostgreSQL's server programs (initdb, postgres) are missing; install them with\n{ELSEWHERE}");
    }
    println!("setup: PostgreSQL's server programs are missing; installing the Debian package `postgresql`");
    println!("       (without starting a server; elsewhere this would be\n{ELSEWHERE})");
    succeed(as_root(INSTALL)?)?;
    match of_postgres() {
        Some(folder) => println!("setup: PostgreSQL is now here ({})", folder.display()),
        None => bail!("the package `postgresql` was installed, but initdb is still not to be found"),
    }
    Ok(())
}

/// Whether programs can be built with OpenSSL, in one of the ways in which its crate finds it.
fn openssl_is_here() -> bool {
    let mut asked = Command::new("pkg-config");
    asked.args(["--exists", "openssl"]);
    let of_homebrew = ["/opt/homebrew/opt/openssl@3", "/usr/local/opt/openssl@3"];
    env::var_os("OPENSSL_DIR").is_some()
        || answers(asked)
        || of_homebrew.iter().any(|folder| Path::new(folder).exists())
}

/// Installs what holds a program, without starting a server.
pub(crate) fn install(package: &str) -> Result<()> {
    if package == "postgresql" {
        return install_what_is_missing();
    }
    if on_path("apt-get").is_none() {
        bail!("Debian's `{package}`, or what that is called here, must be installed first");
    }
    println!("setup: installing Debian's `{package}`");
    succeed(as_root(&INSTALL_QUIETLY.replace("PACKAGE", package))?)
}

/// A shell script run as root; by sudo, should we be somebody else.
fn as_root(script: &str) -> Result<Command> {
    let mut command = match is_root() {
        true => Command::new("sh"),
        false if on_path("sudo").is_some() => {
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        }
        false => bail!("only root can install; run this as root:\n{script}"),
    };
    command.args(["-c", script]);
    Ok(command)
}
