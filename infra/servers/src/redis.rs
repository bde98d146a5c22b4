//! Redis as a cache: bounded, and nothing on disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::programs::{Install, needed};
use crate::{Program, Secured, Server, launch};

/// The server.
pub(super) fn program(install: Option<Install>) -> Result<PathBuf> {
    needed("redis-server", "redis-server", install)
}

pub(super) fn start(folder: &Path, port: u16, install: Option<Install>, secured: Option<&Secured>) -> Result<Server> {
    let program = program(install)?;
    let (home, log) = (folder.join("redis"), folder.join("redis.log"));
    fs::create_dir_all(&home)?;
    let mut command = Command::new(program);
    let port_text = port.to_string();
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
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]);
    // Its command line is how it is found again, so it must not write its title over it.
    command.args(["--set-proc-title", "no", "--dir"]).arg(&home);
    Ok(Server {
        program: Program::Redis,
        pid: launch::detached(command, &log)?,
        port,
        variable: "CARTULARY_REDIS_URL".to_owned(),
        address: format!("{scheme}://127.0.0.1:{port}"),
        known_by: home.display().to_string(),
        log: log.display().to_string(),
    })
}
