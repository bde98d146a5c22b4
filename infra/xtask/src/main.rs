//! `cargo xtask`: one subcommand per project task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tasks print for the person who started them")]

use std::{env, process::ExitCode};

use ::servers::programs::is_root;
use anyhow::{Result, ensure};
use xtask::{
    capabilities, check,
    programs::{self, Binary},
    servers,
    setup::{self, BUILD, NETWORK, SERVERS, TESTS},
    tidy,
    workspace::Workspace,
};

const HELP: &str = "\
Project tasks of Cartulary.

Usage: cargo xtask <task> [arguments]

  demo [--once] [--full]
                  see it: installs what is missing, builds, runs a shop on a private database and shows the results
  dev             use it: runs everything in one process; arguments are those of `cartulary dev`
  test            check it: installs what is missing, then runs exactly what CI runs

  bench           measure it; arguments are those of `cartulary-lab bench`
  machines        run it on three machines (network namespaces), isolate two and kill the third; needs root
  setup           only install what is missing
  up              start PostgreSQL, Redis and Kafka as plain processes and print their addresses
  down            stop exactly these
  status          show which of them run
  gen             write the generated files: schemas/, docs/capabilities.md and the map of crates in ARCHITECTURE.md
  tidy            only check the rules of the workspace (part of test)

`demo`, `dev`, `bench` and `machines` share one build; the first takes 10 to 20 minutes on two cores. Their arguments
are passed on; `cargo xtask demo --help` lists them. `cargo xtask up --help` explains the servers.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let has = |words: &[&str]| rest.iter().any(|word| words.contains(&word.as_str()));
    match (task.as_str(), rest) {
        ("demo", _) if has(&["--full"]) => with_servers(&[BUILD, SERVERS], &servers::ALL, "demo", rest)?,
        ("demo", _) => with_servers(&[BUILD], &[], "demo", rest)?,
        ("machines", _) => {
            ensure!(
                is_root() || has(&["--help", "-h"]),
                "`machines` creates network namespaces, which requires root; run it as root"
            );
            with_servers(&[BUILD, SERVERS, NETWORK], &servers::ALL, "machines", rest)?;
        }
        ("bench", _) if has(&["fanout"]) => {
            with_servers(&[BUILD, SERVERS], &[servers::Program::Kafka], "bench", rest)?;
        }
        ("bench", _) => with_servers(&[BUILD], &[], "bench", rest)?,
        ("dev", _) => {
            setup::install_missing(&[BUILD])?;
            programs::build_and_become(Binary::Cartulary, "dev", rest)?;
        }
        ("test", []) => {
            setup::install_missing(&[BUILD, SERVERS, TESTS])?;
            // Without this, tests would fetch Kafka within their own time limits.
            servers::of_workspace()?.prepare(&servers::ALL)?;
            return check::all();
        }
        ("setup", []) => {
            setup::install_missing(&[BUILD])?;
            println!("setup: all packages for building and running are present");
        }
        ("gen", []) => {
            let workspace = Workspace::read()?;
            capabilities::write(&workspace)?;
            tidy::write_crate_map(&workspace)?;
            programs::succeed(programs::cargo(&["run", "--quiet", "--package", "schemas"]))?;
        }
        ("up" | "down" | "status", _) => return servers::run(task, rest),
        ("tidy", []) => return tidy::report(&Workspace::read()?),
        ("help" | "--help" | "-h", _) => print!("{HELP}"),
        ("test" | "setup" | "gen" | "tidy", [surplus, ..]) => {
            anyhow::bail!("`{task}` takes no arguments, but got `{surplus}`")
        }
        _ => anyhow::bail!("there is no task `{task}`; `cargo xtask` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs packages, fetches the programs of servers, and becomes the lab.
fn with_servers(
    packages: &[&[setup::Package]],
    servers: &[servers::Program],
    subcommand: &str,
    arguments: &[String],
) -> Result<()> {
    setup::install_missing(packages)?;
    servers::of_workspace()?.prepare(servers)?;
    programs::build_and_become(Binary::Lab, subcommand, arguments)
}
