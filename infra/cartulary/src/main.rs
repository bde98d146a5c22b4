//! `cartulary`: the one binary.

use std::process::ExitCode;

use cartulary::cli::{Cli, exit_code_of};
use clap::Parser;

/// Most of what a command costs here is small pieces of memory; with this allocator they cost about half. It serves the
/// C code of Kafka's client as well, whose pieces are freed on other threads than they were taken on.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_code_of(Cli::parse().run())
}
