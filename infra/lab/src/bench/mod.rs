//! `cartulary-lab bench`: throughput and latency of the engine, compared with other implementations in the same run.
//!
//! Machines differ, so absolute figures are reported and ratios are checked against bars. Every contender gets the same
//! PostgreSQL server with the settings of `cartulary dev`, an empty database, and the number of clients at which its
//! throughput is highest. Contenders run one after the other in three rounds, and medians are reported. Read models and
//! policies are off in the benchmarks `commands`, `hot` and `single`.

mod bare_inserts;
mod bench_engine;
mod cpu;
mod cqrs_es_contender;
mod fanout;
mod freshness;
mod graphql;
mod growth;
mod http;
mod http_connection;
mod load_generator;
mod log_rows;
mod null_backend;
mod postgraphile;
mod progress;
mod protocol;
mod rebuild;
mod report;
pub mod row_cache;
mod scratch_server;
mod scribe_contender;
mod start_up;
mod workload;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use cartulary::process::stop_requested;
use clap::{Args, ValueEnum};

use load_generator::RunLength;
use progress::Progress;
pub use report::Report;
use scratch_server::ScratchServer;

/// Measure this engine, unmodified cqrs-es and bare SQL inserts in one run on one PostgreSQL server.
///
/// Absolute figures depend on the machine; ratios of figures of the same run are compared with bars.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// Benchmarks to run.
    #[arg(value_enum, default_value = "all")]
    benchmarks: Vec<Benchmark>,
    /// Write JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write one line per ratio, and exit with 1 if one misses its bar.
    #[arg(long)]
    check: bool,
    /// Measured time of one run in seconds. A warm-up of a quarter of it comes first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Folder of `initdb` and `postgres`. If it is not set, the usual folders are searched.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Folder with the `.cartulary` folder that holds the jars of Kafka. `cargo xtask up kafka` downloads them.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// All except `graphql` and `fanout`, which need further programs.
    All,
    /// Commands per second on distinct streams.
    Commands,
    /// Commands per second on one hot stream.
    Hot,
    /// Latency of a single client.
    Single,
    /// Orders per second over HTTP.
    Http,
    /// GraphQL queries per second, compared with PostGraphile. Needs npm, which installs it at the first run.
    Graphql,
    /// Events per second of a read model rebuild.
    Rebuild,
    /// Time from the commit of an event until its row is visible.
    Fresh,
    /// Time until the engine is ready on existing data, also with a generated catalogue.
    Start,
    /// Time from the commit of an event until its rows are visible, with a generated catalogue of 400 commands, 120 read
    /// models and 60 policies.
    Growth,
    /// Several processes with a Kafka that is started for it. Needs Java 17.
    Fanout,
}

/// Runs the benchmarks and prints the report. An error means that a benchmark could not be measured.
pub async fn run(options: BenchOptions) -> Result<ExitCode> {
    let measured = Duration::from_secs(options.seconds.max(1));
    let length = RunLength { warm_up: measured / 4, measured };
    let mut benchmarks = options.benchmarks.clone();
    if benchmarks.contains(&Benchmark::All) {
        let wanted = benchmarks;
        benchmarks = Benchmark::value_variants().to_vec();
        benchmarks.retain(|benchmark| {
            wanted.contains(benchmark) || !matches!(benchmark, Benchmark::Graphql | Benchmark::Fanout)
        });
    }
    let server = ScratchServer::start(options.binaries.clone()).await?;
    let mut report = Report::default();
    let done = tokio::select! {
        done = measure(&benchmarks, &server, &options, length, &mut report) => done,
        stopped = stop_requested() => stopped.and_then(|()| bail!("stopped before the end")),
    };
    server.stop().await?;
    done?;
    report.print(options.json, options.check)?;
    let passed = !options.check || report.holds();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    benchmarks: &[Benchmark],
    server: &ScratchServer,
    options: &BenchOptions,
    length: RunLength,
    report: &mut Report,
) -> Result<()> {
    let progress = Progress::new();
    for benchmark in benchmarks {
        match benchmark {
            Benchmark::All => {}
            Benchmark::Commands => writes::commands(server, length, &progress, report).await?,
            Benchmark::Hot => writes::hot_stream(server, length, &progress, report).await?,
            Benchmark::Single => writes::single(server, length, &progress, report).await?,
            Benchmark::Http => http::run(server, length, &progress, report).await?,
            Benchmark::Graphql => graphql::run(server, length, &progress, report).await?,
            Benchmark::Rebuild => rebuild::run(server, &progress, report).await?,
            Benchmark::Fresh => freshness::run(server, length, &progress, report).await?,
            Benchmark::Start => start_up::run(server, options.binaries.clone(), &progress, report).await?,
            Benchmark::Growth => growth::run(server, length, &progress, report).await?,
            Benchmark::Fanout => fanout::run(server, &options.project, length, &progress, report).await?,
        }
    }
    Ok(())
}
