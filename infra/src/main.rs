//! `cartulary`: the one binary.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use infra::cli::Cli;
use tracing_subscriber::EnvFilter;

/// Most of what a command costs here is small pieces of memory; with this allocator they cost about half. It serves the
/// C code of Kafka's client as well, whose pieces are freed on other threads than they were taken on.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_env("CARTULARY_LOG").unwrap_or_else(|_| EnvFilter::new("warn,infra=info,kafka=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(cli.run()).unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}
