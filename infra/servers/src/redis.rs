//! Redis as a cache: bounded, and nothing on disk.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::programs::{Install, needed};
use crate::{Place, Program, Secured, Server, launch};

/// The server.
pub(super) fn program(install: Option<Install>) -> Result<PathBuf> {
    needed("redis-server", "redis-server", install)
}

pub(super) fn start(place: &Place<'_>, install: Option<Install>) -> Result<Server> {
    let &Place { folder, host, port, secured } = place;
    let program = program(install)?;
    let (home, log) = (folder.join("redis"), folder.join("redis.log"));
    fs::create_dir_all(&home)?;
    let mut command = Command::new(program);
    let (host_text, port_text) = (host.to_string(), port.to_string());
    let scheme = match secured {
        None => {
            command.args(["--port", &port_text]);
            "redis"
        }
        Some(Secured { identity, authority, .. }) => {
            command.args(["--port", "0", "--tls-port", &port_text, "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(identity).arg("--tls-key-file").arg(identity);
            command.arg("--tls-ca-cert-file").arg(authority);
            "rediss"
        }
    };
    command.args(["--bind", &host_text, "--save", "", "--appendonly", "no"]);
    if !host.is_loopback() {
        command.args(["--protected-mode", "no"]);
    }
    command.args(["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]);
    // Its command line is how it is found again, so it must not write its title over it.
    command.args(["--set-proc-title", "no", "--dir"]).arg(&home);
    Ok(Server {
        program: Program::Redis,
        pid: launch::detached(command, &log)?,
        host,
        port,
        variable: "CARTULARY_REDIS_URL".to_owned(),
        address: format!("{scheme}://{host}:{port}"),
        known_by: home.display().to_string(),
        log: log.display().to_string(),
    })
}
