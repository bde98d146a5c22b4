//! `cartulary-lab`: demo, benchmarks and fault scenarios.

use std::process::ExitCode;

use clap::Parser;
use lab::cli::Cli;

/// Log filter if `CARTULARY_LOG` is not set. Warnings would mix with the printed results.
const LOG: &str = "error";

/// The allocator of the product, because benchmarks run the product in this process.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cartulary::cli::exit_code_of(LOG, Cli::parse().run())
}
