//! Durability that does not lie: reads the settings that are in force for the scribe's own session, and the disk.

use std::path::Path;

use sqlx::{PgConnection, Row};

/// Whether commands may be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Fine,
    /// They could be lost; says why.
    Unsafe(String),
    Away,
}

/// From here on a warning is logged; per cent of the disk.
const DISK_WARN: u64 = 80;
/// From here on commands are refused, so that the server can still do what it must.
const DISK_FULL: u64 = 92;

/// The settings in force for this session, and those that the role's next session in this database will begin with:
/// a session keeps what it began with, and the weakness would first show after a lost connection.
const SETTINGS: &str = "SELECT name, setting FROM pg_settings
     WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_version_num')
     UNION ALL
     (SELECT split_part(setting, '=', 1), lower(split_part(setting, '=', 2))
      FROM pg_db_role_setting, unnest(setconfig) AS setting
      WHERE setting LIKE 'synchronous_commit=%'
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
      ORDER BY setrole = 0, setdatabase = 0 LIMIT 1)";

/// Reads the condition of the store.
pub(super) async fn condition(connection: &mut PgConnection, data: Option<&Path>) -> Result<Condition, sqlx::Error> {
    for row in sqlx::query(SETTINGS).fetch_all(connection).await? {
        let (name, setting): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let safe = match name.as_str() {
            "server_version_num" => setting.parse::<u32>().is_ok_and(|version| version >= 150_000),
            "synchronous_commit" => !["off", "false", "no", "0"].contains(&setting.as_str()),
            _ => setting == "on",
        };
        if !safe {
            return Ok(Condition::Unsafe(format!("{name} is {setting}")));
        }
    }
    Ok(disk_condition(data.and_then(used_per_cent)))
}

fn disk_condition(used: Option<u64>) -> Condition {
    match used {
        Some(used) if used >= DISK_FULL => Condition::Unsafe(format!("{used} % of the disk of the log is used")),
        Some(used) if used >= DISK_WARN => {
            tracing::warn!(used, "the disk of the log is filling up");
            Condition::Fine
        }
        _ => Condition::Fine,
    }
}

/// How full the disk is that this folder is on, as `df` tells a user without privileges: what is set aside for others is
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
    fn a_nearly_full_disk_refuses_commands() {
        assert_eq!(disk_condition(None), Condition::Fine);
        assert_eq!(disk_condition(Some(91)), Condition::Fine);
        assert_eq!(disk_condition(Some(92)), Condition::Unsafe("92 % of the disk of the log is used".into()));
    }

    #[test]
    fn the_disk_of_this_machine_can_be_read() {
        assert!(used_per_cent(Path::new("/")).is_some_and(|used| used <= 100));
    }
}
