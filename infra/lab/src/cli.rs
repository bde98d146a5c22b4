//! Command line of `cartulary-lab`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use cartulary::settings::Settings;
use clap::{Parser, Subcommand};

use crate::bench::{self, BenchOptions};
use crate::demo::{self, DemoArgs};
use crate::harness::victim::Victim;
use crate::machines::{self, MachinesArgs};

/// Demo, benchmarks and fault scenarios of Cartulary.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// TOML file with settings. CARTULARY_* environment variables take precedence over it.
    #[arg(long, global = true, value_name = "FILE", env = "CARTULARY_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArgs),
    Machines(MachinesArgs),
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
    /// Runs the subcommand. The exit code is 0 only if it completed and every check passed.
    pub async fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Demo(args) => Box::pin(demo::run(args, Settings::read(self.config.as_deref())?)).await,
            Command::Machines(args) => machines::run(args).await,
            Command::Bench(options) => Box::pin(bench::run(options)).await,
            Command::RowCache => Box::pin(bench::row_cache::run()).await,
            Command::Victim { victim } => victim.run().await.map(|()| ExitCode::SUCCESS),
        }
    }
}
