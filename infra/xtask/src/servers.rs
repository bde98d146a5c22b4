//! `cargo xtask up`, `down` and `status`: the servers of this clone. The crate `servers` starts them.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use serde_json::{Value, json};
pub use servers::{ALL, Authority, Program, Secured, Server, Servers};

use crate::{setup, workspace};

const HELP: &str = "\
PostgreSQL, Redis and Kafka on this machine, as plain processes.

Usage: cargo xtask up     [postgres] [redis] [kafka]   start them (all, if none is named) and wait until they answer
       cargo xtask down   [postgres] [redis] [kafka]   stop them; their data stay
       cargo xtask status [--json]                     show which run; exits 1 if one that was started does not

They listen on free ports of 127.0.0.1 and keep them from one start to the next. Missing packages are installed first:
Debian's postgresql, redis-server, openjdk-17-jre-headless and maven; Apache Kafka 4.3.1 comes from Maven Central
(44 MB, once). Kafka's heap is limited to 512 MB.

`up` prints the addresses as variables and writes them to .cartulary/servers/environment, so that

    set -a; . .cartulary/servers/environment; set +a

sets them for programs that are started from the same shell. Data and logs are in .cartulary/servers, too (PostgreSQL
never runs as root; its data are in /var/lib/cartulary if its user has no access to this folder). To start over:
`cargo xtask down`, and remove these folders.

`down` stops the recorded processes and no others: a pid that now belongs to another program is left alone.
";

/// Servers of this clone.
pub fn of_workspace() -> Result<Servers> {
    in_folder(&workspace::root().join(".cartulary/servers"))
}

/// Servers of a folder. Missing packages are installed.
pub fn in_folder(folder: &Path) -> Result<Servers> {
    Ok(Servers::in_folder(folder, &workspace::root())?.installing(setup::install_one))
}

/// Runs `up`, `down` or `status`.
pub fn run(task: &str, arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let servers = of_workspace()?;
    match task {
        "status" => return status(&servers, arguments),
        "up" => {
            let programs = programs(arguments)?;
            let packages: Vec<_> = programs.iter().map(|program| setup::packages_of(*program)).collect();
            setup::install_missing(&packages)?;
            for server in servers.up(&programs)?.iter().filter(|server| server.runs()) {
                println!("{}={}", server.variable, server.address);
            }
            println!("# also in {}", servers.environment().display());
        }
        _ => {
            for server in servers.down(&programs(arguments)?)? {
                println!("stopped {:?} (pid {})", server.program, server.pid);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(servers: &Servers, arguments: &[String]) -> Result<ExitCode> {
    let known = servers.status()?;
    match arguments {
        [] => {
            for server in &known {
                let state = if server.runs() { format!("runs, pid {}", server.pid) } else { "does not run".to_owned() };
                println!("{:<10} {state:<22} {}", format!("{:?}", server.program), server.address);
            }
            if known.is_empty() {
                println!("no server was started here; `cargo xtask up` does it");
            }
        }
        [json] if json == "--json" => println!("{}", Value::from_iter(known.iter().map(as_json))),
        _ => bail!("`status` takes no argument but `--json`; see `cargo xtask status --help`"),
    }
    Ok(if known.iter().all(Server::runs) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(server: &Server) -> Value {
    json!({
        "program": server.program,
        "runs": server.runs(),
        "answers": server.answers(),
        "pid": server.pid,
        "port": server.port,
        "variable": server.variable,
        "address": server.address,
        "log": server.log,
    })
}

fn programs(names: &[String]) -> Result<Vec<Program>> {
    let named = |name: &String| match name.as_str() {
        "postgres" => Ok(Program::Postgres),
        "redis" => Ok(Program::Redis),
        "kafka" => Ok(Program::Kafka),
        _ => bail!("there is no server `{name}`; there are postgres, redis and kafka"),
    };
    let named: Vec<Program> = names.iter().map(named).collect::<Result<_>>()?;
    Ok(if named.is_empty() { ALL.to_vec() } else { named })
}
