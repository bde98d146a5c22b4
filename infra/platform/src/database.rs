//! Database pool of a process, its connection errors, and the probe that detects a lost database.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use domain::shared::TenantId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, PgTransaction};
use tokio_util::sync::CancellationToken;

use crate::clock_monitor::ClockMonitor;
use crate::connectivity::Connectivity;
use crate::database_role::DatabaseRole;
use crate::health::Health;

/// Default size of each pool of a process. The connections on which scribes commit are in none.
pub const CONNECTIONS_MOST: u32 = 12;
/// Time limit for opening a connection, or for waiting for a free one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit of a probe on a new connection, and of a probe through the pool after [`SILENT_AFTER`].
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time without an answer to a probe after which the database counts as silent.
const SILENT_AFTER: Duration = Duration::from_millis(300);
/// Name of the database in the health report.
const DATABASE: &str = "the database";

/// Opens a pool of the default size without a connectivity monitor, with the privileges of the login.
pub async fn connect(url: &str) -> Result<PgPool> {
    connect_with(url, None, CONNECTIONS_MOST, &Connectivity::default()).await
}

/// Opens a pool of the default size without a connectivity monitor, whose connections have a role.
pub async fn connect_as(url: &str, role: DatabaseRole) -> Result<PgPool> {
    connect_with(url, Some(role), CONNECTIONS_MOST, &Connectivity::default()).await
}

/// Opens a pool of the given size. Each connection takes the role, or keeps the privileges of the login. After a loss of
/// the database, `connectivity` closes the older connections.
pub async fn connect_with(
    url: &str,
    role: Option<DatabaseRole>,
    connections_most: u32,
    connectivity: &Connectivity,
) -> Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(connections_most)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false);
    let cannot_connect = || format!("cannot connect to {}", describe(url));
    // A pool retries until its time limit and then reports only the time limit; a single connection reports the cause.
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(url)).await;
    let connection =
        connection.with_context(|| format!("{}: no answer within {CONNECT_TIMEOUT:?}", cannot_connect()))?;
    let mut connection = connection.map_err(|error| anyhow!(error_text(&error))).with_context(cannot_connect)?;
    if let Some(role) = role {
        connection.execute(role.statement().as_str()).await.with_context(|| cannot_take(role, url))?;
    }
    connection.close().await?;
    connectivity.configure_pool(options, role).connect_lazy(url).with_context(cannot_connect)
}

/// Begins a transaction that sees the rows of one tenant: for readers, whose other transactions see none.
pub async fn begin_for(pool: &PgPool, tenant: TenantId) -> Result<PgTransaction<'static>, sqlx::Error> {
    pool.begin_with(format!("BEGIN; {}", tenant_scope(tenant))).await
}

/// Source `scope` of a single statement of a reader, with the tenant in its only column: evaluating it restricts the
/// statement to the rows of the tenant that this parameter names, without the round trips of a transaction. Everything that
/// reads rows must be joined laterally and refer to `scope.tenant`, so that it cannot run before.
pub fn statement_scope(parameter: u8) -> String {
    format!("(SELECT set_config('cartulary.tenant', ${parameter}::uuid::text, true)::uuid AS tenant) scope")
}

/// Statement that restricts the rest of a reader's transaction to the rows of one tenant.
pub fn tenant_scope(tenant: TenantId) -> String {
    format!("SET LOCAL cartulary.tenant = '{}'", tenant.uuid())
}

/// Opens a new connection and runs a statement on it. Returns the reason if the database cannot be used.
pub async fn outage(url: &str) -> Option<String> {
    outage_within(CONNECT_TIMEOUT, url).await
}

async fn outage_within(time_limit: Duration, url: &str) -> Option<String> {
    let probe = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    let reason = match tokio::time::timeout(time_limit, probe).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error_text(&error),
        Err(_) => format!("no answer within {time_limit:?}"),
    };
    Some(format!("{} cannot be used: {reason}", describe(url)))
}

/// Probes the database once a second until `stop`, through the pool. If that probe fails, a new connection decides
/// whether the database is lost, because the failed connection may be the only broken one. While the database is lost,
/// only new connections are tried. Each probe through the pool also compares the clocks.
pub async fn watch(
    pool: PgPool,
    url: String,
    (health, clock): (Health, ClockMonitor),
    connectivity: Connectivity,
    stop: CancellationToken,
) {
    while tokio::time::timeout(PROBE_INTERVAL, stop.cancelled()).await.is_err() {
        if !connectivity.is_lost() && answers(&pool, &clock, &connectivity).await {
            health.report_recovery(DATABASE);
            connectivity.report_reachable();
            continue;
        }
        match outage_within(PROBE_TIMEOUT, &url).await {
            Some(reason) => {
                connectivity.report_lost();
                health.report_outage(DATABASE, reason);
            }
            None => {
                connectivity.report_reachable();
                health.report_recovery(DATABASE);
            }
        }
    }
}

/// Probes the database through the pool; reports it as silent if there is no answer within [`SILENT_AFTER`].
async fn answers(pool: &PgPool, clock: &ClockMonitor, connectivity: &Connectivity) -> bool {
    let mut probe = pin!(compare_clocks(pool, clock));
    match tokio::time::timeout(SILENT_AFTER, &mut probe).await {
        Ok(answer) => answer.is_ok(),
        Err(_) => {
            connectivity.report_silent();
            tokio::time::timeout(PROBE_TIMEOUT, probe).await.is_ok_and(|answer| answer.is_ok())
        }
    }
}

/// Compares the clock of this process with the database's over a connection of the pool.
pub async fn compare_clocks(pool: &PgPool, clock: &ClockMonitor) -> Result<bool, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    clock.compare(&mut connection).await
}

/// The text of a connection error.
fn error_text(error: &sqlx::Error) -> String {
    match error {
        // The error does not name the file.
        sqlx::Error::Io(missing) if missing.kind() == ErrorKind::NotFound => {
            "a file that its URL names (sslrootcert, sslcert, sslkey, or a socket) does not exist".to_owned()
        }
        error => error.to_string(),
    }
}

/// Explanation for a login that may not take a role.
fn cannot_take(role: DatabaseRole, url: &str) -> String {
    let login = url.parse::<PgConnectOptions>().map(|options| options.get_username().to_owned()).unwrap_or_default();
    let role = role.name();
    format!(
        "the login `{login}` cannot take the role {role}. The roles are created by `cartulary migrate`; then an \
         administrator runs GRANT {role} TO \"{login}\""
    )
}

/// Name, host and port of a database. The rest of its URL is not shown: it may contain a password in several places.
fn describe(url: &str) -> String {
    let Ok(options) = url.parse::<PgConnectOptions>() else { return "a database with an invalid URL".to_owned() };
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let name = options.get_database().unwrap_or(options.get_username());
    format!("the database {name} on {host}:{}", options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_never_contains_the_password() {
        let description = "the database shop on db.example:5433";
        assert_eq!(describe("postgres://anna:se@cret@db.example:5433/shop"), description);
        assert_eq!(describe("postgres://db.example:5433/shop?user=anna&password=secret"), description);
        assert!(!describe("postgres//secret").contains("secret"));
    }
}
