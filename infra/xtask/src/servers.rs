//! `cargo xtask up`, `down` and `status`: the servers of this clone. How they are started is in `infra/servers`.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use serde_json::{Value, json};
pub use servers::{ALL, Authority, Program, Secured, Server, Servers};

use crate::{house, setup};

const HELP: &str = "\
PostgreSQL, Redis and Kafka on this machine, as plain processes.

Usage: cargo xtask up     [postgres] [redis] [kafka]   start them (all, if none is named) and wait until they answer
       cargo xtask down   [postgres] [redis] [kafka]   end them; their data stay
       cargo xtask status [--json]                     tell which run; exits 1 if one that was started does not

They listen on free ports of 127.0.0.1 and keep them from one start to the next. What is missing is installed first:
Debian's postgresql, redis-server, openjdk-17-jre-headless and maven; Apache Kafka 4.3.1 comes from Maven's registry
(44 MB, once). Kafka's heap is bounded to 512 MB.

`up` prints the addresses as variables and writes them to .cartulary/servers/environment, so that

    set -a; . .cartulary/servers/environment; set +a

makes them known to what is started from the same shell. Data and logs are in .cartulary/servers too (PostgreSQL's
data in /var/lib/cartulary where its user may not enter this folder, as it never runs as root). To begin anew:
`cargo xtask down`, and remove these folders.

`down` ends the recorded processes and no others: a pid that belongs to another program by now is left alone.
";

/// Those of this clone.
pub fn of_the_house() -> Result<Servers> {
    in_folder(&house::root().join(".cartulary/servers"))
}

/// The servers of a folder; what is missing for them is installed.
pub fn in_folder(folder: &Path) -> Result<Servers> {
    Ok(Servers::in_folder(folder, &house::root())?.installing(setup::install))
}

/// Does one of the three.
pub fn chore(chore: &str, arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let servers = of_the_house()?;
    match chore {
        "status" => return status(&servers, arguments),
        "up" => {
            for server in servers.up(&programs(arguments)?)?.iter().filter(|server| server.runs()) {
                println!("{}={}", server.variable, server.address);
            }
            println!("# also in {}", servers.environment().display());
        }
        _ => {
            for server in servers.down(&programs(arguments)?)? {
                println!("ended {:?} (pid {})", server.program, server.pid);
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
                println!("nothing was started here; `cargo xtask up` does it");
            }
        }
        [json] if json == "--json" => println!("{}", Value::from_iter(known.iter().map(as_json))),
        _ => bail!("`status` takes nothing but `--json`; `cargo xtask status --help` tells more"),
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
