//! Benchmarks `commands`, `hot` and `single`: throughput and latency until commands are durable.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use super::bare_inserts::BareInserts;
use super::cqrs_es_contender::{CqrsEsDistinctStreams, CqrsEsHotStream};
use super::load_generator::RunLength;
use super::progress::Progress;
use super::protocol::{ContenderSpec, RunningContender, report_contenders, run_contenders};
use super::report::Report;
use super::scratch_server::ScratchServer;
use super::scribe_contender::{BenchScribe, ScribeDistinctStreams, ScribeHotStream};

/// Most connections that the server of `cartulary dev` accepts.
const CONNECTIONS_MOST: u32 = 48;
/// Default pool size of postgres-es. On one hot stream more connections only cause more conflicts.
const DEFAULT_POOL_SIZE: u32 = 10;
/// Rows per statement of the bare inserts.
const ROWS: u32 = 500;
/// Length of the runs against cqrs-es on a hot stream. It reads the whole stream for every command, so its throughput
/// depends on this length, which is therefore fixed.
const HOT_STREAM_LENGTH: RunLength = RunLength { warm_up: Duration::ZERO, measured: Duration::from_secs(10) };
/// Clients of the runs against cqrs-es on a hot stream.
const HOT_STREAM_CLIENTS: usize = 64;

const SCRIBE: ContenderSpec = ContenderSpec {
    name: "scribe, distinct streams",
    clients: &[256, 1_024, 2_048, 4_096],
    start: |server, database| {
        async move {
            Ok(RunningContender::new(ScribeDistinctStreams(BenchScribe::open(&database).await?), database, server))
        }
        .boxed()
    },
};

const CQRS_ES: ContenderSpec = ContenderSpec {
    name: "postgres-es, distinct streams",
    clients: &[8, 16, 32, 48],
    start: |server, database| {
        async move {
            Ok(RunningContender::new(
                CqrsEsDistinctStreams::start(&database, CONNECTIONS_MOST).await?,
                database,
                server,
            ))
        }
        .boxed()
    },
};

const BARE: ContenderSpec = ContenderSpec {
    name: "bare inserts of 500 rows",
    clients: &[1, 2, 3, 4],
    start: |server, database| {
        async move { Ok(RunningContender::new(BareInserts::<ROWS>::start(&database, 4).await?, database, server)) }
            .boxed()
    },
};

const CQRS_ES_HOT_STREAM: ContenderSpec = ContenderSpec {
    name: "postgres-es, one hot stream, 64 clients",
    clients: &[HOT_STREAM_CLIENTS],
    start: |server, database| {
        async move {
            Ok(RunningContender::new(CqrsEsHotStream::start(&database, DEFAULT_POOL_SIZE).await?, database, server))
        }
        .boxed()
    },
};

const fn hot_stream_of_scribe(name: &'static str, clients: &'static [usize]) -> ContenderSpec {
    ContenderSpec {
        name,
        clients,
        start: |server, database| {
            async move { Ok(RunningContender::new(ScribeHotStream(BenchScribe::open(&database).await?), database, server)) }.boxed()
        },
    }
}

const SINGLE_SCRIBE: ContenderSpec = ContenderSpec { name: "scribe, one client", clients: &[1], ..SCRIBE };

const SINGLE_BARE: ContenderSpec = ContenderSpec {
    name: "bare insert of one row, one client",
    clients: &[1],
    start: |server, database| {
        async move { Ok(RunningContender::new(BareInserts::<1>::start(&database, 1).await?, database, server)) }.boxed()
    },
};

/// Benchmark `commands`: every command on a new stream.
pub(super) async fn commands(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let entries = [SCRIBE, CQRS_ES, BARE];
    let [scribe, cqrs_es, bare] =
        report_contenders(&entries, run_contenders(server, &entries, length, progress).await?, report)?;
    report.at_least("distinct streams: scribe / postgres-es", scribe.per_second / cqrs_es.per_second, 15.0);
    report.at_least("distinct streams: scribe / bare inserts", scribe.per_second / bare.per_second, 0.40);
    Ok(())
}

/// Benchmark `hot`: every command on one stream.
pub(super) async fn hot_stream(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let against_distinct = [hot_stream_of_scribe("scribe, one hot stream", &[256, 1_024, 2_048, 4_096]), SCRIBE];
    let [one, many] = report_contenders(
        &against_distinct,
        run_contenders(server, &against_distinct, length, progress).await?,
        report,
    )?;
    report.at_least("scribe: one hot stream / distinct streams", one.per_second / many.per_second, 0.70);
    let against_cqrs_es =
        [hot_stream_of_scribe("scribe, one hot stream, 64 clients", &[HOT_STREAM_CLIENTS]), CQRS_ES_HOT_STREAM];
    let [scribe, cqrs_es] = report_contenders(
        &against_cqrs_es,
        run_contenders(server, &against_cqrs_es, HOT_STREAM_LENGTH, progress).await?,
        report,
    )?;
    report.at_least("one hot stream, 64 clients: scribe / postgres-es", scribe.per_second / cqrs_es.per_second, 500.0);
    Ok(())
}

/// Benchmark `single`: latency of one client without other load.
pub(super) async fn single(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let entries = [SINGLE_SCRIBE, SINGLE_BARE];
    let [scribe, bare] =
        report_contenders(&entries, run_contenders(server, &entries, length, progress).await?, report)?;
    let ratio = scribe.p50.as_secs_f64() / bare.p50.as_secs_f64();
    report.at_most("one client, p50: scribe / bare insert of one row", ratio, 1.5);
    Ok(())
}
