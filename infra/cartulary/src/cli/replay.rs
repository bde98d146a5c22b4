//! Reading the past.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::Table;
use projections::kernel::{Model, Models};
use serde_json::json;
use sqlx::PgPool;

use super::say;
use crate::running;
use crate::settings::Settings;
use views::reads::build_anew;
use views::store::{PgRows, digest};

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
    /// Build read models anew from the log, beside the ones that are served, then switch.
    Rebuild {
        /// Which ones (`StockLevel`); all of them without a name.
        models: Vec<String>,
    },
    /// One hash per read model: same history, same bytes, on any machine.
    Digest {
        /// Which ones (`StockLevel`); all of them without a name.
        models: Vec<String>,
    },
}

pub(super) async fn run(args: &ReplayArgs, settings: &Settings) -> Result<ExitCode> {
    let pool = running::connect(settings.database_url()?).await?;
    running::require_migrated(&pool).await?;
    let all = Models::all();
    let rows = match &args.what {
        What::Rebuild { models } => {
            PgRows::new(pool.clone()).prepare(all.iter()).await?;
            rebuild_all(&pool, &chosen(&all, models)?).await?
        }
        What::Digest { models } => digest_all(&pool, &chosen(&all, models)?).await?,
    };
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|[model, what, detail]| json!({ "model": model, "result": what, "detail": detail }))
            .collect();
        say(serde_json::to_string_pretty(&rows)?);
    } else {
        let mut table = Table::new();
        table.set_header(["model", "result", "detail"]);
        table.add_rows(rows);
        say(table.to_string());
    }
    Ok(ExitCode::SUCCESS)
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

async fn rebuild_all(pool: &PgPool, models: &[&Model]) -> Result<Vec<[String; 3]>> {
    let progress = indicatif::ProgressBar::new(models.len() as u64);
    let mut rows = Vec::new();
    for model in models {
        progress.set_message(model.name.clone());
        let built = build_anew(pool, model).await?;
        progress.inc(1);
        let detail = format!("{} rows, {} parked", built.rows, built.parked.len());
        rows.push([model.name.clone(), format!("{} events", built.events), detail]);
    }
    progress.finish_and_clear();
    Ok(rows)
}

async fn digest_all(pool: &PgPool, models: &[&Model]) -> Result<Vec<[String; 3]>> {
    let mut rows = Vec::new();
    for model in models {
        let found = digest(pool, model).await?;
        rows.push([model.name.clone(), found.to_string(), format!("{} rows", found.rows)]);
    }
    Ok(rows)
}
