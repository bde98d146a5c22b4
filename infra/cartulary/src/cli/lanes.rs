//! `cartulary lanes`: the lanes of the log, with their owners, sizes and lag.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use event_log::require_migrated;
use platform::DatabaseRole;
use platform::database::connect_as;
use serde::Serialize;
use sqlx::PgExecutor;

use super::table::table;
use super::{progress, say};

#[derive(Debug, Args)]
pub(super) struct LanesArgs {
    #[command(subcommand)]
    what: What,
    /// Write JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all lanes: the process that writes each one, its epoch, the position of its last event, the number of its
    /// tenants, its size on disk, and how many events the read model and the policy that are furthest behind have not
    /// processed. Exits 1 if a lane has no owner, so that commands of its tenants are refused for now.
    List,
}

/// Status of a lane.
#[derive(Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
struct LaneStatus {
    lane: i16,
    /// Process whose lease on the lane is valid.
    owner: Option<String>,
    /// Address for commands that other processes forward; `None` if there is no owner or it accepts none.
    address: Option<String>,
    /// Random number of the last take-over, in hexadecimal: JavaScript would round it as a number.
    epoch: String,
    /// Position of the last event.
    end: i64,
    tenants: i64,
    /// Size of the events on disk, with their indexes.
    bytes: i64,
    /// Served read model that is furthest behind, and the number of events that it has not processed.
    model: Option<String>,
    model_lag: Option<i64>,
    /// Policy that is furthest behind, and the number of events that it has not processed.
    policy: Option<String>,
    policy_lag: Option<i64>,
}

const STATUS: &str = "
    SELECT l.lane, nullif(owned.owner, '') AS owner, nullif(owned.address, '') AS address, lpad(to_hex(l.epoch), 16, '0') AS epoch, head.position AS end,
           coalesce(routed.tenants, 0) AS tenants, pg_total_relation_size(format('log.events_%s', l.lane)::regclass) AS bytes,
           model.name AS model, model.lag AS model_lag, policy.name AS policy, policy.lag AS policy_lag
    FROM log.lanes l
    LEFT JOIN log.lanes owned ON owned.lane = l.lane AND owned.lease > clock_timestamp()
    CROSS JOIN LATERAL (SELECT coalesce((SELECT e.position FROM log.events e WHERE e.lane = l.lane
                                         ORDER BY e.position DESC LIMIT 1), 0) AS position) AS head
    LEFT JOIN (SELECT lane, count(*) AS tenants FROM log.routes GROUP BY lane) AS routed ON routed.lane = l.lane
    LEFT JOIN LATERAL (SELECT c.model AS name, greatest(head.position - c.position, 0) AS lag
                       FROM reads.checkpoints c JOIN reads.live v USING (model, shape) WHERE c.lane = l.lane
                       ORDER BY lag DESC, name LIMIT 1) AS model ON true
    LEFT JOIN LATERAL (SELECT p.policy AS name, greatest(head.position - p.position, 0) AS lag
                       FROM work.policies p WHERE p.lane = l.lane ORDER BY lag DESC, name LIMIT 1) AS policy ON true
    ORDER BY l.lane";

pub(super) async fn run(args: &LanesArgs, url: &str) -> Result<ExitCode> {
    let pool = connect_as(url, DatabaseRole::Auditor).await?;
    require_migrated(&pool).await?;
    match args.what {
        What::List => list(&pool, args.json).await,
    }
}

async fn list(store: impl PgExecutor<'_>, json: bool) -> Result<ExitCode> {
    let lanes: Vec<LaneStatus> = sqlx::query_as(STATUS).fetch_all(store).await?;
    if json {
        say(serde_json::to_string_pretty(&lanes)?);
    } else {
        let header = ["lane", "owner", "epoch", "end", "tenants", "size", "read models behind", "policies behind"];
        say(table(header, &lanes.iter().map(row).collect::<Vec<_>>()));
    }
    let orphans = lanes.iter().filter(|lane| lane.owner.is_none()).count();
    if orphans > 0 {
        progress(&format!("{orphans} of {} lanes have no owner: start a process with the role `scribe`", lanes.len()));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(lane: &LaneStatus) -> [String; 8] {
    [
        lane.lane.to_string(),
        lane.owner.clone().unwrap_or_else(|| "none".to_owned()),
        lane.epoch.clone(),
        lane.end.to_string(),
        lane.tenants.to_string(),
        size(lane.bytes),
        behind(lane.model.as_deref(), lane.model_lag),
        behind(lane.policy.as_deref(), lane.policy_lag),
    ]
}

/// Number of events behind, with the name of the last one; `-` if there is none, as before its first start.
fn behind(name: Option<&str>, lag: Option<i64>) -> String {
    match (name, lag) {
        (Some(_), Some(0)) => "0".to_owned(),
        (Some(name), Some(lag)) => format!("{lag} ({name})"),
        _ => "-".to_owned(),
    }
}

fn size(bytes: i64) -> String {
    const KIB: i64 = 1_024;
    const MIB: i64 = 1_024 * KIB;
    match bytes {
        ..MIB => format!("{} KiB", bytes.div_euclid(KIB)),
        _ => format!("{} MiB", bytes.div_euclid(MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_names_the_last_one_and_sizes_have_units() {
        assert_eq!(behind(Some("StockLevel"), Some(7)), "7 (StockLevel)");
        assert_eq!(behind(Some("StockLevel"), Some(0)), "0");
        assert_eq!(behind(None, None), "-");
        assert_eq!([size(40_960), size(3_145_728)], ["40 KiB", "3 MiB"]);
    }
}
