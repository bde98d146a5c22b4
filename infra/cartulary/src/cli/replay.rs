//! `cartulary replay`: rebuilds and digests of read models.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use event_log::require_migrated;
use platform::DatabaseRole;
use platform::database::connect_as;
use projections::kernel::{Model, Models};
use projections::ports::StreamPlace;
use serde_json::json;
use sqlx::PgPool;
use views::follower::{RebuildSummary, rebuild_models};
use views::store::{PgRows, digest};

use super::table::table;
use super::{progress, say};

/// Number of parked events that are listed for each model.
const PARKED_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(subcommand)]
    what: What,
    /// Write JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rebuild read models from the log in shadow tables, all in one scan, then switch to these. Exits 1 if an event
    /// could not be folded; its row or its stream is parked then.
    Rebuild {
        /// Names of read models, such as `StockLevel`; all without a name.
        models: Vec<String>,
    },
    /// Print one hash per read model: the same history gives the same hash on every machine.
    Digest {
        /// Names of read models, such as `StockLevel`; all without a name.
        models: Vec<String>,
    },
}

pub(super) async fn run(args: &ReplayArgs, url: &str) -> Result<ExitCode> {
    let pool = connect_as(url, DatabaseRole::Worker).await?;
    require_migrated(&pool).await?;
    let all = Models::all();
    let (rows, is_complete) = match &args.what {
        What::Rebuild { models } => {
            PgRows::new(pool.clone()).prepare(all.iter()).await?;
            rebuild_all(&pool, &chosen(&all, models)?).await?
        }
        What::Digest { models } => (digest_all(&pool, &chosen(&all, models)?).await?, true),
    };
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|[model, what, detail]| json!({ "model": model, "result": what, "detail": detail }))
            .collect();
        say(serde_json::to_string_pretty(&rows)?);
    } else {
        say(table(["model", "result", "detail"], &rows));
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen<'m>(all: &'m Models, names: &[String]) -> Result<Vec<&'m Model>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let known = || all.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut models = Vec::new();
    for name in names {
        match all.get(name) {
            Some(model) => models.push(model),
            None => bail!("there is no read model `{name}`; there are {}", known()),
        }
    }
    Ok(models)
}

/// Rebuilds the models in one scan. Returns a row for each, and false if an event had to be parked.
async fn rebuild_all(pool: &PgPool, models: &[&Model]) -> Result<(Vec<[String; 3]>, bool)> {
    progress(&format!("rebuilding {} read models", models.len()));
    let built = rebuild_models(pool, models).await?;
    for summary in &built {
        let rows = summary.parked.iter().map(|parked| {
            format!("lane {}, position {}, row {}: {}", parked.lane, parked.position, parked.place.key, parked.reason)
        });
        let streams = summary.parked_streams.iter().map(|parked| {
            let StreamPlace { stream_type, stream, .. } = &parked.place;
            format!("lane {}, position {}, {stream_type} {stream}: {}", parked.lane, parked.position, parked.reason)
        });
        for parked in rows.chain(streams).take(PARKED_SHOWN) {
            progress(&format!("parked in {}: {parked}", summary.model));
        }
    }
    let parked = |summary: &RebuildSummary| summary.parked.len() + summary.parked_streams.len();
    let is_complete = built.iter().all(|summary| parked(summary) == 0);
    let row = |summary: RebuildSummary| {
        let detail = format!("{} rows, {} parked", summary.rows, parked(&summary));
        [summary.model, format!("{} events", summary.events), detail]
    };
    Ok((built.into_iter().map(row).collect(), is_complete))
}

async fn digest_all(pool: &PgPool, models: &[&Model]) -> Result<Vec<[String; 3]>> {
    let mut rows = Vec::new();
    for (number, model) in (1..).zip(models) {
        progress(&format!("reading {} ({number} of {})", model.name, models.len()));
        let found = digest(pool, model).await?;
        rows.push([model.name.clone(), found.to_string(), format!("{} rows", found.rows)]);
    }
    Ok(rows)
}
