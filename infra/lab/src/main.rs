//! `cartulary-lab`: demo, benchmarks and fault scenarios.

use std::process::ExitCode;

use clap::Parser;
use lab::cli::Cli;

/// The allocator of the product, so that what is measured in this process is measured with it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cartulary::cli::exit_code_of(Cli::parse().run())
}
