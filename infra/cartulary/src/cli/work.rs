//! `cartulary work`: dead letters, listed, requeued and discarded.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use api::port::{DeadLetter, LetterCursor, LetterRemoval};
use clap::{Args, Subcommand};
use commands::kernel::Commands;
use domain::shared::TenantId;
use event_log::require_migrated;
use platform::DatabaseRole;
use platform::database::connect_as;
use serde_json::{Value, json};
use uuid::Uuid;
use work::DeadLetters;

use super::table::table;
use super::{progress, say};

#[derive(Debug, Args)]
pub(super) struct WorkArgs {
    #[command(subcommand)]
    what: What,
    /// Write JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List dead letters, newest first.
    List {
        /// Only those of this tenant.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Largest number of letters.
        #[arg(long, default_value_t = 100)]
        first: u32,
    },
    /// Try the work of dead letters again. Exits 1 if one of them is unknown or cannot be requeued.
    Requeue {
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
    /// Remove dead letters for good. Exits 1 if one of them is unknown or cannot be discarded.
    Discard {
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
}

pub(super) async fn run(args: &WorkArgs, url: &str) -> Result<ExitCode> {
    let pool = connect_as(url, DatabaseRole::Worker).await?;
    require_migrated(&pool).await?;
    let letters = DeadLetters { pool, commands: Arc::new(Commands::all()) };
    match &args.what {
        What::List { tenant, first } => list(&letters, *tenant, *first, args.json).await,
        What::Requeue { ids } => remove(&letters, ids, true, args.json).await,
        What::Discard { ids } => remove(&letters, ids, false, args.json).await,
    }
}

async fn list(letters: &DeadLetters, tenant: Option<TenantId>, first: u32, json: bool) -> Result<ExitCode> {
    let found = letters.list(tenant, None, first).await?;
    if json {
        say(serde_json::to_string_pretty(&found)?);
    } else {
        let header = ["id", "failed at", "tenant", "kind", "source", "name", "attempts", "reason"];
        say(table(header, &found.iter().map(row).collect::<Vec<_>>()));
    }
    if let Some(last) = found.last() {
        let after = Some(LetterCursor { failed_at: last.failed_at, id: last.id });
        if !letters.list(tenant, after, 1).await?.is_empty() {
            progress("there are older letters; list more with --first");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(letter: &DeadLetter) -> [String; 8] {
    [
        letter.id.to_string(),
        letter.failed_at.to_string(),
        letter.tenant.to_string(),
        letter.kind.name().to_owned(),
        letter.source.clone(),
        letter.name.clone(),
        letter.attempts.to_string(),
        letter.reason.clone(),
    ]
}

/// Requeues or discards letters, each on its own. Succeeds only if all of them are removed.
async fn remove(letters: &DeadLetters, ids: &[Uuid], requeue: bool, json: bool) -> Result<ExitCode> {
    let mut results = Vec::new();
    for id in ids {
        let removal = if requeue { letters.requeue(None, *id).await? } else { letters.discard(None, *id).await? };
        let (done, result) = match removal {
            LetterRemoval::Removed(_) => (true, if requeue { "requeued" } else { "discarded" }.to_owned()),
            LetterRemoval::Unknown => (false, "there is no such dead letter".to_owned()),
            LetterRemoval::Refused(reason) => (false, reason),
        };
        results.push((*id, done, result));
    }
    if json {
        let one = |(id, done, result): &(Uuid, bool, String)| json!({ "id": id, "done": done, "result": result });
        say(serde_json::to_string_pretty(&results.iter().map(one).collect::<Vec<Value>>())?);
    } else {
        let one = |(id, _, result): &(Uuid, bool, String)| [id.to_string(), result.clone()];
        say(table(["id", "result"], &results.iter().map(one).collect::<Vec<_>>()));
    }
    let all = results.iter().all(|(_, done, _)| *done);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
