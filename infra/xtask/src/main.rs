//! `cargo xtask`: one word per chore.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who started it")]

use std::{env, process::ExitCode};

use anyhow::Result;
use xtask::{capabilities, check, house::House, programs, servers, setup, tidy};

const HELP: &str = "\
Chores of the house.

Usage: cargo xtask <chore> [arguments]

  demo [--once] [--full]
                  see it: installs what is missing, builds, runs a shop on a private database and shows what happens
  test            check it: installs what is missing, then runs exactly what CI runs

  dev             run everything in one process, for working on it; arguments go to `cartulary dev`
  bench           measure it; arguments go to `cartulary bench`
  setup           only install what is missing
  up              start PostgreSQL, Redis and Kafka as plain processes and print their addresses
  down            end exactly these
  status          tell which of them run
  gen             write what is generated: schemas/ and docs/capabilities.md
  tidy            only check the rules of the house (part of test)

Arguments after demo, dev and bench are passed on; `cargo xtask demo --help` shows them. `cargo xtask up --help` tells
more about the servers.
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
    let Some((chore, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::FAILURE);
    };
    match (chore.as_str(), rest) {
        ("demo", _) => {
            setup::install_what_is_missing()?;
            if rest.iter().any(|word| word == "--full") {
                servers::of_the_house()?.prepare(&servers::ALL)?;
            }
            programs::become_cartulary(&["--release"], "demo", rest)?;
        }
        ("dev", _) => {
            setup::install_what_is_missing()?;
            programs::become_cartulary(&[], "dev", rest)?;
        }
        ("bench", _) => {
            setup::install_what_is_missing()?;
            if rest.iter().any(|word| word == "fanout") {
                servers::of_the_house()?.prepare(&[servers::Program::Kafka])?;
            }
            programs::become_cartulary(&["--release"], "bench", rest)?;
        }
        ("test", []) => {
            setup::install_what_is_missing()?;
            // Tests would install and fetch these as well, in the middle of their own time.
            servers::of_the_house()?.prepare(&servers::ALL)?;
            return check::everything();
        }
        ("setup", []) => setup::install_what_is_missing()?,
        ("gen", []) => {
            capabilities::write(&House::read()?)?;
            programs::succeed(programs::cargo(&["run", "--quiet", "--package", "schemas"]))?;
        }
        ("up" | "down" | "status", _) => return servers::chore(chore, rest),
        ("tidy", []) => return tidy::report(&House::read()?),
        ("help" | "--help" | "-h", _) => print!("{HELP}"),
        ("test" | "setup" | "gen" | "tidy", [surplus, ..]) => {
            anyhow::bail!("`{chore}` takes no arguments, but there is `{surplus}`")
        }
        _ => anyhow::bail!("there is no chore `{chore}`; `cargo xtask --help` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
