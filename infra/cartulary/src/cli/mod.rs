//! The one binary: every role and chore is a subcommand.

mod dev;
mod doctor;
mod hold;
mod replay;
mod serve;
mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

pub use dev::Laptop;
pub use token::Bearer;
pub use token::sign;

use crate::running::Roles;
use crate::settings::Settings;
use tracing_subscriber::EnvFilter;

/// Events that are logged where `CARTULARY_LOG` is not set: those of our own crates, and warnings of the others.
const LOG: &str = "warn,platform=info,event_log=info,scribe=info,views=info,work=info,outside=info,vault=info,edge=info,kafka=info,cartulary=info,lab=info";

/// Cartulary: an event-sourced commerce engine. Start with `cartulary dev`.
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
    /// Run everything on this machine: a private PostgreSQL, all roles, ready-to-paste tokens.
    Dev(dev::DevArgs),
    /// Serve the API. Commands go to the processes that write their lanes.
    Serve(serve::ServeArgs),
    /// Write lanes: decide commands and append what they cause. Several share the lanes out among themselves.
    Scribe,
    /// Put the log on Kafka, from where other processes follow it. A second one stands by.
    Relay,
    /// Keep read models up to date: from Kafka if it is set, else from the log.
    Project,
    /// React to events, and to the time that has come.
    Policies,
    /// Bring the database of the settings up to date.
    Migrate,
    /// Look at the settings and the database, and say what is wrong with them. Exits 1 if anything is.
    Doctor(doctor::DoctorArgs),
    /// Hold timers and effects back, as after restoring a backup: the world outside may have seen what the log has not.
    Hold(hold::HoldArgs),
    /// Let timers and effects go on that were held back.
    Release,
    /// Make a token that callers can show.
    Token(token::TokenArgs),
    /// Read the past: rebuild read models, or compare them by their digests.
    Replay(replay::ReplayArgs),
}

impl Cli {
    /// Does what was asked for. The exit code is honest: 0 only if all of it was done.
    pub async fn run(self) -> Result<ExitCode> {
        let settings = Settings::read(self.config.as_deref())?;
        match self.command {
            Command::Dev(args) => dev::run(args, settings).await,
            Command::Serve(args) => serve::run(&settings, args.roles()).await,
            Command::Scribe => serve::run(&settings, Roles { scribe: true, ..Roles::default() }).await,
            Command::Relay => serve::run(&settings, Roles { relay: true, ..Roles::default() }).await,
            Command::Project => serve::run(&settings, Roles { reads: true, ..Roles::default() }).await,
            Command::Policies => serve::run(&settings, Roles { policies: true, ..Roles::default() }).await,
            Command::Migrate => serve::migrate(&settings).await,
            Command::Doctor(args) => doctor::run(&args, &settings).await,
            Command::Hold(args) => hold::run(&args, &settings).await,
            Command::Release => hold::run_release(&settings).await,
            Command::Token(args) => token::run(&args, &settings),
            Command::Replay(args) => replay::run(&args, &settings).await,
        }
    }
}

/// Writes a line for the caller to standard output. A closed pipe is the reader's business.
pub fn say(text: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", text.as_ref()).ok();
}

/// Runs a program to its end, with its log on standard error, filtered by `CARTULARY_LOG`.
pub fn exit_code_of(program: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let filter = EnvFilter::try_from_env("CARTULARY_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
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
