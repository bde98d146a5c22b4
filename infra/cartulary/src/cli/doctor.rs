//! `cartulary doctor`: checks the settings, the database, Kafka and Redis.

use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Args;
use edge::redis;
use event_log::walls::{Weakness, audit};
use event_log::{LaneCount, require_migrated};
use platform::database::connect;
use serde::Serialize;
use sqlx::{PgPool, Row};
use work::current_pause;

use super::say;
use super::table::table;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Write JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Result of one check.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    fine: bool,
    /// The value found, or what is wrong and how to mend it.
    text: String,
}

pub(super) async fn run(args: &DoctorArgs, settings: &Settings) -> Result<ExitCode> {
    let findings = check(settings).await;
    let fine = findings.iter().all(|finding| finding.fine);
    if args.json {
        say(serde_json::to_string_pretty(&findings)?);
    } else {
        let mark = |finding: &Finding| if finding.fine { "ok" } else { "!!" };
        let row = |finding: &Finding| [mark(finding).to_owned(), finding.what.to_owned(), finding.text.clone()];
        say(table(["", "what", "found"], &findings.iter().map(row).collect::<Vec<_>>()));
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        finding("outer key", settings.outer_key().map(|_| "present")),
        finding("token keys", settings.auth().map(|auth| format!("{} live", auth.keys.len()))),
        finding("listen address", Ok(settings.listen)),
    ];
    let pool = match settings.database_url() {
        Ok(url) => connect(url).await,
        Err(error) => Err(error),
    };
    let mut lanes = None;
    match pool {
        Err(error) => findings.push(finding("database", Err::<String, _>(error))),
        Ok(pool) => {
            findings.push(finding("database", Ok("reachable")));
            findings.push(finding("migrations", require_migrated(&pool).await.map(|()| "up to date")));
            findings.extend(check_walls(&pool).await);
            findings.extend(check_server(&pool).await);
            findings.push(check_work(&pool).await);
            lanes = LaneCount::read(&pool).await.ok().map(LaneCount::get);
        }
    }
    match settings.kafka() {
        Ok(None) => {}
        Ok(Some(kafka)) => findings.push(finding("kafka", kafka::probe(&kafka, lanes).await.map_err(Error::from))),
        Err(error) => findings.push(finding("kafka", Err::<String, _>(error))),
    }
    match settings.redis() {
        Ok(None) => {}
        Ok(Some(client)) => findings.push(finding("redis", redis::server_info(&client).await)),
        Err(error) => findings.push(finding("redis", Err::<String, _>(error))),
    }
    findings
}

/// Checks that the database keeps tenants apart and its log unchanged.
async fn check_walls(pool: &PgPool) -> Vec<Finding> {
    let what = "walls";
    match audit(pool).await {
        Ok(weaknesses) if weaknesses.is_empty() => {
            vec![finding(what, Ok("tenants are kept apart, the log is append-only"))]
        }
        Ok(weaknesses) => {
            let text = |weakness: Weakness| format!("{}: {}", weakness.problem, weakness.remedy);
            weaknesses.into_iter().map(|weakness| Finding { what, fine: false, text: text(weakness) }).collect()
        }
        Err(error) => vec![finding(what, Err::<String, _>(error.into()))],
    }
}

/// Checks the version of the server and the settings without which an acknowledged command could be lost.
async fn check_server(pool: &PgPool) -> Vec<Finding> {
    let text = "SELECT name, setting, name <> 'server_version_num' AND setting = 'off'
                       OR name = 'server_version_num' AND setting::integer < 150000
                FROM pg_settings
                WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'server_version_num')
                ORDER BY name";
    let rows = match sqlx::query(text).fetch_all(pool).await {
        Ok(rows) => rows,
        Err(error) => return vec![finding("server settings", Err::<String, _>(error.into()))],
    };
    let known = [
        ("data_checksums", "data checksums"),
        ("fsync", "fsync"),
        ("full_page_writes", "full page writes"),
        ("server_version_num", "server version"),
        ("synchronous_commit", "synchronous commit"),
    ];
    let findings = rows.iter().filter_map(|row| {
        let (name, setting): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
        let what = known.iter().find(|(known, _)| *known == name)?.1;
        Some(Finding { what, fine: !row.try_get::<bool, _>(2).ok()?, text: setting })
    });
    findings.collect()
}

/// Checks whether timers, effects and webhooks are paused.
async fn check_work(pool: &PgPool) -> Finding {
    let what = "timers and effects";
    match current_pause(pool).await {
        Ok(None) => finding(what, Ok("running")),
        Ok(Some(hold)) => {
            let text = format!("paused since {}: {}; `cartulary release` resumes them", hold.since, hold.reason);
            Finding { what, fine: false, text }
        }
        Err(error) => finding(what, Err::<String, _>(error.into())),
    }
}

fn finding(what: &'static str, found: Result<impl ToString>) -> Finding {
    match found {
        Ok(text) => Finding { what, fine: true, text: text.to_string() },
        Err(error) => Finding { what, fine: false, text: format!("{error:#}") },
    }
}
