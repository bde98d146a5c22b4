//! `cartulary-lab`: demo, benchmarks and fault scenarios.

use std::process::ExitCode;

use clap::Parser;
use lab::cli::Cli;

/// Log filter where `CARTULARY_LOG` is not set: warnings would mix with the results that are printed.
const LOG: &str = "error";

/// The allocator of the product, because benchmarks run it in this process.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cartulary::cli::exit_code_of(LOG, Cli::parse().run())
}
