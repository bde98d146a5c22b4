//! Durability guard: checks that acknowledged commands survive a crash of the server. Reads the settings in force for
//! the scribe's own session, and the free space of the disk.

use std::path::Path;

use sqlx::{PgConnection, Row};

/// Condition of the store. Commands are acknowledged only while it is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoreCondition {
    Safe,
    /// Acknowledged commands could be lost, for this reason.
    Unsafe(String),
    Unavailable,
    /// The clock of this process is off by this much.
    ClockOff(String),
}

/// Disk usage in per cent from which a warning is logged.
const DISK_WARNING: u64 = 80;
/// Disk usage in per cent from which commands are refused, so that the server keeps room for checkpoints and vacuum.
const DISK_FULL: u64 = 92;

/// Settings in force for this session, and those of the role's next session in this database: a session keeps its
/// initial settings, so an unsafe role default would take effect only after a reconnect.
const SETTINGS: &str = "SELECT name, setting FROM pg_settings
     WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_version_num')
     UNION ALL
     (SELECT split_part(setting, '=', 1), lower(split_part(setting, '=', 2))
      FROM pg_db_role_setting, unnest(setconfig) AS setting
      WHERE setting LIKE 'synchronous_commit=%'
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
      ORDER BY setrole = 0, setdatabase = 0 LIMIT 1)";

/// Checks the settings of the session and the disk usage of the data folder.
pub(super) async fn check_store(
    connection: &mut PgConnection,
    data: Option<&Path>,
) -> Result<StoreCondition, sqlx::Error> {
    for row in sqlx::query(SETTINGS).fetch_all(connection).await? {
        let (name, setting): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let safe = match name.as_str() {
            "server_version_num" => setting.parse::<u32>().is_ok_and(|version| version >= 150_000),
            "synchronous_commit" => !["off", "false", "no", "0"].contains(&setting.as_str()),
            _ => setting == "on",
        };
        if !safe {
            return Ok(StoreCondition::Unsafe(format!("{name} is {setting}")));
        }
    }
    Ok(disk_condition(data.and_then(used_per_cent)))
}

fn disk_condition(used: Option<u64>) -> StoreCondition {
    match used {
        Some(used) if used >= DISK_FULL => StoreCondition::Unsafe(format!("{used} % of the disk of the log is used")),
        Some(used) if used >= DISK_WARNING => {
            tracing::warn!(used, "the disk of the log is filling up; free space or enlarge it");
            StoreCondition::Safe
        }
        _ => StoreCondition::Safe,
    }
}

/// Usage of the folder's disk in per cent, as `df` shows it to an unprivileged user: blocks reserved for root count as
/// neither used nor free.
fn used_per_cent(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    used.saturating_mul(100).checked_div(used.saturating_add(disk.f_bavail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_full_disk_is_unsafe() {
        assert_eq!(disk_condition(None), StoreCondition::Safe);
        assert_eq!(disk_condition(Some(91)), StoreCondition::Safe);
        assert_eq!(disk_condition(Some(92)), StoreCondition::Unsafe("92 % of the disk of the log is used".into()));
    }

    #[test]
    fn disk_usage_of_this_machine_is_readable() {
        assert!(used_per_cent(Path::new("/")).is_some_and(|used| used <= 100));
    }
}
