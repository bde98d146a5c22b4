//! Redis as a cache: bounded memory, no persistence.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::programs::{Install, required};
use crate::{Instance, Program, Secured, Server, launch};

/// Path of the server.
pub(super) fn program(install: Option<Install>) -> Result<PathBuf> {
    required("redis-server", "redis-server", install)
}

pub(super) fn start(instance: &Instance<'_>, install: Option<Install>) -> Result<Server> {
    let &Instance { folder, host, port, secured } = instance;
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
    // Redis is identified by its command line, so it must not overwrite it with a process title.
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
