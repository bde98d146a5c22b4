//! The subcommands of the laboratory.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use cartulary::settings::Settings;
use clap::{Parser, Subcommand};

use crate::bench::{self, BenchOptions};
use crate::demo::{self, DemoArgs};
use crate::harness::victim::Victim;
use crate::machines::{self, MachinesArgs};

/// Cartulary's laboratory: demo, benchmarks and fault scenarios.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// A TOML file with settings; CARTULARY_* variables win over it.
    #[arg(long, global = true, value_name = "FILE", env = "CARTULARY_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a real shop's history and a flash sale through the public API, and check every claim that is printed.
    Demo(DemoArgs),
    Machines(MachinesArgs),
    /// Measure this engine, stock cqrs-es and bare SQL in one run on one server.
    Bench(BenchOptions),
    /// Compare queries by key without the row cache, with it in memory and with it in Redis.
    RowCache,
    /// A process that a test kills.
    #[command(hide = true)]
    Victim {
        #[command(subcommand)]
        victim: Victim,
    },
}

impl Cli {
    /// Runs the subcommand. Exits 0 only if all of it was done and every claim held.
    pub async fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Demo(args) => demo::run(args, Settings::read(self.config.as_deref())?).await,
            Command::Machines(args) => machines::run(args).await,
            Command::Bench(options) => bench::run(options).await,
            Command::RowCache => bench::row_cache::run().await,
            Command::Victim { victim } => victim.run().await.map(|()| ExitCode::SUCCESS),
        }
    }
}
