//! `cartulary`: the product's binary.

use std::process::ExitCode;

use cartulary::cli::{Cli, LOG, exit_code_of};
use clap::Parser;

/// Allocator that halves the cost of small allocations, which are most of the cost of a command. The C code of Kafka's
/// client, which frees memory on other threads than it was allocated on, uses it as well.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_code_of(LOG, Cli::parse().run())
}
