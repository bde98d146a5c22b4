//! Lines 1 to 3 of the bars: how fast commands become durable.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;

use super::arena::Arena;
use super::bare::Bare;
use super::clients::Pace;
use super::contest::{Entry, contest, stage, told};
use super::cqrs_es;
use super::ours::{self, House};
use super::progress::Progress;
use super::report::Report;

/// More connections than this the server of `cartulary dev` does not take.
const STOCK_CONNECTIONS_MOST: u32 = 48;
/// The pool of postgres-es by default; on one hot stream more connections only mean more conflicts.
const STOCK_CONNECTIONS: u32 = 10;
/// Rows of one bare statement.
const ROWS: u32 = 500;
/// Stock reads the whole hot stream for every command, so what it reaches depends on how long it runs: always this.
const HOT: Pace = Pace { warm_up: Duration::ZERO, measured: Duration::from_secs(10) };
const CROWD: usize = 64;

const OURS: Entry = Entry {
    name: "scribe, distinct streams",
    clients: &[256, 1_024, 2_048, 4_096],
    start: |arena, database| {
        async move { Ok(stage(ours::Distinct(House::open(&database).await?), database, arena)) }.boxed()
    },
};

const STOCK: Entry = Entry {
    name: "postgres-es, distinct streams",
    clients: &[8, 16, 32, 48],
    start: |arena, database| {
        async move { Ok(stage(cqrs_es::Distinct::start(&database, STOCK_CONNECTIONS_MOST).await?, database, arena)) }
            .boxed()
    },
};

const BARE: Entry = Entry {
    name: "bare inserts of 500 rows",
    clients: &[1, 2, 3, 4],
    start: |arena, database| {
        async move { Ok(stage(Bare::<ROWS>::start(&database, 4).await?, database, arena)) }.boxed()
    },
};

const HOT_STOCK: Entry = Entry {
    name: "postgres-es, one hot stream, 64 clients",
    clients: &[CROWD],
    start: |arena, database| {
        async move { Ok(stage(cqrs_es::Hot::start(&database, STOCK_CONNECTIONS).await?, database, arena)) }.boxed()
    },
};

const fn hot(name: &'static str, clients: &'static [usize]) -> Entry {
    Entry {
        name,
        clients,
        start: |arena, database| {
            async move { Ok(stage(ours::Hot(House::open(&database).await?), database, arena)) }.boxed()
        },
    }
}

const SINGLE_OURS: Entry = Entry { name: "scribe, one client", clients: &[1], ..OURS };

const SINGLE_BARE: Entry = Entry {
    name: "bare insert of one row, one client",
    clients: &[1],
    start: |arena, database| async move { Ok(stage(Bare::<1>::start(&database, 1).await?, database, arena)) }.boxed(),
};

/// Line 1: every command on a stream of its own.
pub(super) async fn commands(arena: &Arena, pace: Pace, progress: &Progress, report: &mut Report) -> Result<()> {
    let entries = [OURS, STOCK, BARE];
    let [ours, stock, bare] = told(&entries, contest(arena, &entries, pace, progress).await?, report)?;
    report.at_least("distinct streams: scribe / postgres-es", ours.per_second / stock.per_second, 15.0);
    report.at_least("distinct streams: scribe / bare inserts", ours.per_second / bare.per_second, 0.40);
    Ok(())
}

/// Line 2: every command on one and the same stream.
pub(super) async fn hot_stream(arena: &Arena, pace: Pace, progress: &Progress, report: &mut Report) -> Result<()> {
    let best = [hot("scribe, one hot stream", &[256, 1_024, 2_048, 4_096]), OURS];
    let [one, many] = told(&best, contest(arena, &best, pace, progress).await?, report)?;
    report.at_least("scribe: one hot stream / distinct streams", one.per_second / many.per_second, 0.70);
    let crowd = [hot("scribe, one hot stream, 64 clients", &[CROWD]), HOT_STOCK];
    let [ours, stock] = told(&crowd, contest(arena, &crowd, HOT, progress).await?, report)?;
    report.at_least("one hot stream, 64 clients: scribe / postgres-es", ours.per_second / stock.per_second, 500.0);
    Ok(())
}

/// Line 3: nobody else is there.
pub(super) async fn single(arena: &Arena, pace: Pace, progress: &Progress, report: &mut Report) -> Result<()> {
    let entries = [SINGLE_OURS, SINGLE_BARE];
    let [ours, bare] = told(&entries, contest(arena, &entries, pace, progress).await?, report)?;
    let ratio = ours.p50.as_secs_f64() / bare.p50.as_secs_f64();
    report.at_most("one client, p50: scribe / bare insert of one row", ratio, 1.5);
    Ok(())
}
