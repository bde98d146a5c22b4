//! `cartulary bench`: the bars of the design, measured beside peers in the same run.
//!
//! Machines differ, so absolute figures are shown and ratios are judged. Every contender gets the same server with the
//! settings of `cartulary dev`, an empty store, and the number of clients at which it does best; they run in turns,
//! three times, and medians count. Read models and policies are off where a line is about the log alone.

mod arena;
mod bare;
mod begin;
mod clients;
mod connection;
mod contest;
mod cpu;
mod cqrs_es;
mod facts;
mod fanout;
mod fresh;
mod http;
mod ours;
mod progress;
mod rebuild;
mod report;
pub mod row_cache;
mod rows;
mod shops;
mod without_scribe;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use arena::Arena;
use clients::Pace;
use progress::Progress;
pub use report::Report;

use cartulary::process::stop_requested;

/// What to measure, and how to show it.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// Which lines of the bars.
    #[arg(value_enum, default_value = "all")]
    lines: Vec<Line>,
    /// Write JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write one line per ratio, and exit 1 if one misses its bar.
    #[arg(long)]
    check: bool,
    /// How long one run is measured; a quarter of it comes before as warm-up.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// The folder of `initdb` and `postgres`; without it they are searched for.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// The folder whose `.cartulary` holds Kafka's jars; `cargo xtask up kafka` fetches them.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    house: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Line {
    All,
    /// Commands per second on distinct streams.
    Commands,
    /// Commands per second on one hot stream.
    Hot,
    /// How long one client waits for one command.
    Single,
    /// Orders per second over HTTP.
    Http,
    /// Events per second of building a read model anew.
    Rebuild,
    /// How long after its commit an event is seen in a row.
    Fresh,
    /// How long the engine takes to be ready on existing data.
    Start,
    /// Many processes, with a real Kafka that is started for it. It needs Java, so `all` leaves it out.
    Fanout,
}

/// Runs the benches and shows what they found. Fails only where something could not be measured.
pub async fn run(options: BenchOptions) -> Result<ExitCode> {
    let measured = Duration::from_secs(options.seconds.max(1));
    let pace = Pace { warm_up: measured / 4, measured };
    let mut lines = options.lines.clone();
    if lines.contains(&Line::All) {
        let fanout = lines.contains(&Line::Fanout);
        lines = Line::value_variants().to_vec();
        lines.retain(|line| fanout || *line != Line::Fanout);
    }
    let arena = Arena::open(options.binaries.clone()).await?;
    let mut report = Report::default();
    let done = tokio::select! {
        done = measure(&lines, &arena, &options, pace, &mut report) => done,
        asked = stop_requested() => asked.and_then(|()| bail!("stopped before the end")),
    };
    arena.close().await?;
    done?;
    report.print(options.json, options.check)?;
    let passed = !options.check || report.holds();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(lines: &[Line], arena: &Arena, options: &BenchOptions, pace: Pace, report: &mut Report) -> Result<()> {
    let progress = Progress::new();
    for line in lines {
        match line {
            Line::All => {}
            Line::Commands => writes::commands(arena, pace, &progress, report).await?,
            Line::Hot => writes::hot_stream(arena, pace, &progress, report).await?,
            Line::Single => writes::single(arena, pace, &progress, report).await?,
            Line::Http => http::line(arena, pace, &progress, report).await?,
            Line::Rebuild => rebuild::line(arena, &progress, report).await?,
            Line::Fresh => fresh::line(arena, pace, &progress, report).await?,
            Line::Start => begin::line(arena, options.binaries.clone(), &progress, report).await?,
            Line::Fanout => fanout::lines(arena, &options.house, pace, &progress, report).await?,
        }
    }
    Ok(())
}
