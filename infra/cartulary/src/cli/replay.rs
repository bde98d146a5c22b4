//! `cartulary replay`: rebuilds, comparisons and digests of read models.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use event_log::require_migrated;
use platform::DatabaseRole;
use platform::database::connect_as;
use projections::kernel::{Model, Models};
use projections::ports::StreamPlace;
use serde_json::{Value, json};
use sqlx::PgPool;
use views::follower::{RebuildSummary, rebuild_models};
use views::store::{Comparison, PgRows, compare_with_rebuild, digest, roll_back};

use super::table::table;
use super::{progress, say};

/// Number of different rows that are listed for each model.
const DIFFERENCES_SHOWN: usize = 1_000;
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
    /// Rebuild read models beside the served ones and list the rows that differ, without a switch. Exits 1 if any differ.
    Diff {
        /// Names of read models, such as `StockLevel`; all without a name.
        models: Vec<String>,
    },
    /// Go back to the tables that the last rebuild has replaced, or to those of this version if another one is served.
    /// Exits 1 if there is none for one of the models: unused tables are dropped after a day.
    Rollback {
        /// Names of read models, such as `StockLevel`.
        #[arg(required = true)]
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
        What::Diff { models } => return diff_all(&pool, &chosen(&all, models)?, args.json).await,
        What::Rollback { models } => roll_back_all(&pool, &chosen(&all, models)?).await?,
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
    Ok(exit_code(is_complete))
}

fn exit_code(is_complete: bool) -> ExitCode {
    if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Compares the models with a rebuild and prints the differences.
async fn diff_all(pool: &PgPool, models: &[&Model], as_json: bool) -> Result<ExitCode> {
    progress(&format!("rebuilding {} read models beside the served ones", models.len()));
    let compared = compare_with_rebuild(pool, models, DIFFERENCES_SHOWN).await?;
    let is_equal = compared.iter().all(|(_, comparison)| comparison.is_equal());
    if as_json {
        let models: BTreeMap<_, _> = compared.into_iter().collect();
        say(serde_json::to_string_pretty(&models)?);
        return Ok(exit_code(is_equal));
    }
    for (model, comparison) in &compared {
        for difference in &comparison.differences {
            let field = |(name, [served, rebuilt]): (&String, &[Value; 2])| format!("{name}: {served} -> {rebuilt}");
            let fields: Vec<_> = difference.fields.iter().map(field).collect();
            say(format!("{model} {} of tenant {}: {}", difference.key, difference.tenant, fields.join(", ")));
        }
    }
    let row = |(model, comparison): (String, Comparison)| {
        let Comparison { equal, only_served, only_rebuilt, changed, .. } = comparison;
        [model, equal.to_string(), changed.to_string(), only_served.to_string(), only_rebuilt.to_string()]
    };
    let rows: Vec<_> = compared.into_iter().map(row).collect();
    say(table(["model", "equal", "changed", "only served", "only rebuilt"], &rows));
    Ok(exit_code(is_equal))
}

/// Goes back to earlier tables. Returns a row for each model, and false if one of them has none.
async fn roll_back_all(pool: &PgPool, models: &[&Model]) -> Result<(Vec<[String; 3]>, bool)> {
    let (mut rows, mut is_complete) = (Vec::new(), true);
    for model in models {
        let went_back = roll_back(pool, model).await?;
        is_complete &= went_back;
        let result = if went_back { "serves the earlier table" } else { "unchanged" };
        let detail = if went_back { "it catches up with the log" } else { "there is no earlier table" };
        rows.push([model.name.clone(), result.into(), detail.into()]);
    }
    Ok((rows, is_complete))
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
