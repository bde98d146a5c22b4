//! Subcommands of the binary, which has every role.

mod dev;
mod doctor;
mod environment;
mod first_shop;
mod hold;
mod lanes;
mod replay;
mod serve;
mod table;
mod token;
mod work;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use environment::write as write_environment;
pub use token::{Bearer, sign};

use crate::roles::Roles;
use crate::settings::Settings;

/// Log filter where `CARTULARY_LOG` is not set: our own crates, and warnings of the others.
pub const LOG: &str = "warn,api=info,commands=info,projections=info,replay=info,platform=info,event_log=info,scribe=info,views=info,work=info,outside=info,vault=info,edge=info,\
                       kafka=info,cartulary=info";

/// Cartulary: an event-sourced commerce engine. Start with `cartulary dev`.
#[derive(Debug, Parser)]
#[command(name = "cartulary", version)]
pub struct Cli {
    /// A TOML file with settings; CARTULARY_* variables win over it.
    #[arg(long, global = true, value_name = "FILE", env = "CARTULARY_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: an embedded PostgreSQL, all roles, a shop to try.
    Dev(dev::DevArgs),
    /// Serve the API. Commands are forwarded to the processes that write their lanes.
    Serve(serve::ServeArgs),
    /// Write lanes: decide commands and append their events. Several processes share the lanes.
    Scribe,
    /// Copy the log to Kafka, from which other processes follow it. A second process stands by.
    Relay,
    /// Keep read models up to date: from Kafka where it is set, else from the log.
    Project,
    /// Run policies, timers and effects.
    Policies,
    /// Bring the schema of the database up to date.
    Migrate(serve::MigrateArgs),
    /// Check the settings and the database, and say what is wrong. Exits 1 if anything is.
    Doctor(doctor::DoctorArgs),
    /// Pause timers, effects and webhooks, as after restoring a backup: partners may have seen what the log has not.
    Hold(hold::HoldArgs),
    /// Resume timers, effects and webhooks.
    Release,
    /// Lanes (partitions of the log): their owners, ends, tenants and lag.
    Lanes(lanes::LanesArgs),
    /// Work that failed for good: list, requeue or discard dead letters.
    Work(work::WorkArgs),
    /// Print a token for a caller.
    Token(token::TokenArgs),
    /// Read the past: rebuild read models, or compare them by digests.
    Replay(replay::ReplayArgs),
}

impl Cli {
    /// Runs the subcommand. The exit code is 0 only if the whole subcommand succeeded.
    pub async fn run(self) -> Result<ExitCode> {
        let settings = Settings::read(self.config.as_deref())?;
        // These commands find the database of a running `cartulary dev` by the file that it wrote into this folder.
        let settings_here = || environment::complete(Path::new("."), settings.clone());
        match self.command {
            Command::Dev(args) => dev::run(args, settings).await,
            Command::Serve(args) => serve::run(&settings, args.roles()).await,
            Command::Scribe => serve::run(&settings, Roles { scribe: true, ..Roles::default() }).await,
            Command::Relay => serve::run(&settings, Roles { relay: true, ..Roles::default() }).await,
            Command::Project => serve::run(&settings, Roles { project: true, ..Roles::default() }).await,
            Command::Policies => serve::run(&settings, Roles { policies: true, ..Roles::default() }).await,
            Command::Migrate(args) => serve::migrate(&args, settings.database_url()?).await,
            Command::Doctor(args) => doctor::run(&args, &settings_here()?).await,
            Command::Hold(args) => hold::run(&args, settings_here()?.database_url()?).await,
            Command::Release => hold::run_release(settings_here()?.database_url()?).await,
            Command::Lanes(args) => lanes::run(&args, settings_here()?.database_url()?).await,
            Command::Work(args) => work::run(&args, settings_here()?.database_url()?).await,
            Command::Token(args) => token::run(&args, &settings_here()?),
            Command::Replay(args) => replay::run(&args, settings_here()?.database_url()?).await,
        }
    }
}

/// Writes a line to standard output. A closed pipe is no error.
pub fn say(text: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", text.as_ref()).ok();
}

/// Runs a program to its end, with its log on standard error, filtered by `CARTULARY_LOG` or else by `log`.
pub fn exit_code_of(log: &str, program: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let filter = EnvFilter::try_from_env("CARTULARY_LOG").unwrap_or_else(|_| EnvFilter::new(log));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(program).unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}

/// Writes a line about the progress of a subcommand to standard error.
fn progress(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
