//! `cartulary`: the product's binary.

use std::process::ExitCode;

use cartulary::cli::{Cli, LOG, exit_code_of};
use clap::Parser;

/// Most of the cost of a command is small allocations, which this allocator halves. It also serves the C code of Kafka's client,
/// which frees memory on other threads than it was allocated on.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_code_of(LOG, Cli::parse().run())
}
