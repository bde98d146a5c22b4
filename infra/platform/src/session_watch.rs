//! Watch of the database's sessions: those that block others, or keep dead rows from being removed, for a long time are
//! named on `/reason`, so that an operator can end them.

use std::time::Duration;

use metrics::gauge;
use sqlx::{Connection, PgConnection};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Interval of the checks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time for which a session may block another one without being named.
const BLOCKS_MOST: Duration = Duration::from_secs(5);
/// Age of a transaction with which it is named although it blocks no session: until it ends, no row that was changed
/// since it began can be removed.
const AGE_MOST: Duration = Duration::from_secs(30);
/// Time limit of one check.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Number of sessions that are named.
const NAMED_MOST: i64 = 3;
/// Name in the health report.
const COMPONENT: &str = "sessions on the database";

/// Sessions of this database that have blocked another one for `$1` seconds, and those whose transaction is `$2` seconds
/// old and holds back the removal of dead rows.
const SESSIONS: &str = "
    WITH waiting AS (
        SELECT pg_blocking_pids(pid) AS blockers, extract(epoch FROM clock_timestamp() - query_start) AS seconds
        FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
          AND clock_timestamp() - query_start > $1 * interval '1 second'
    ), blockers AS (
        SELECT unnest(blockers) AS pid, count(*) AS waiting, max(seconds) AS seconds FROM waiting GROUP BY 1
    )
    SELECT s.pid, coalesce(s.usename, '') AS usename, coalesce(s.application_name, '') AS application,
           coalesce(s.state, '') AS state, coalesce(b.waiting, 0) AS waiting,
           coalesce(extract(epoch FROM clock_timestamp() - s.xact_start), 0)::float8 AS age
    FROM pg_stat_activity s LEFT JOIN blockers b ON b.pid = s.pid
    WHERE s.datname = current_database() AND s.backend_type = 'client backend' AND s.pid <> pg_backend_pid()
      AND (b.pid IS NOT NULL AND cardinality(pg_blocking_pids(s.pid)) = 0
           OR (s.backend_xid IS NOT NULL OR s.backend_xmin IS NOT NULL)
              AND s.xact_start < clock_timestamp() - $2 * interval '1 second')
    ORDER BY waiting DESC, age DESC";

/// A session that obstructs others.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ObstructingSession {
    /// Number of the process of the server, for `pg_terminate_backend`.
    pub pid: i32,
    pub usename: String,
    pub application: String,
    /// State of the session, such as `idle in transaction`.
    pub state: String,
    /// Number of sessions that wait for it.
    pub waiting: i64,
    /// Age of its transaction in seconds.
    pub age: f64,
}

/// Checks the sessions of the database every few seconds until `stop`, on connections of its own: those of the pool may be
/// the ones that wait.
pub async fn watch(url: String, health: Health, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let check = async {
            let mut connection = PgConnection::connect(&url).await?;
            let sessions = obstructing_sessions(&mut connection, BLOCKS_MOST, AGE_MOST).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(sessions)
        };
        // A database that cannot be used is reported by its own monitor.
        if let Ok(Ok(sessions)) = timeout(TIME_LIMIT, check).await {
            gauge!("cartulary_obstructing_sessions").set(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
            health.set_degradation(COMPONENT, describe(&sessions));
        }
    }
}

/// Sessions that have blocked another one for longer than `blocks_most`, or whose transaction is older than `age_most` and
/// keeps dead rows from being removed; those first for which most sessions wait.
pub async fn obstructing_sessions(
    connection: &mut PgConnection,
    blocks_most: Duration,
    age_most: Duration,
) -> Result<Vec<ObstructingSession>, sqlx::Error> {
    let sessions = sqlx::query_as(SESSIONS).bind(blocks_most.as_secs_f64()).bind(age_most.as_secs_f64());
    sessions.fetch_all(connection).await
}

/// One sentence about these sessions; `None` if there are none.
fn describe(sessions: &[ObstructingSession]) -> Option<String> {
    let one = |session: &ObstructingSession| {
        let ObstructingSession { pid, usename, application, state, waiting, age } = session;
        format!(
            "pid {pid}, user {usename}, application `{application}`, {state}, transaction open for {age:.0} s, {waiting} \
             sessions wait for it"
        )
    };
    let named: Vec<_> = sessions.iter().take(usize::try_from(NAMED_MOST).unwrap_or(0)).map(one).collect();
    let count = sessions.len();
    let advice = "end a session with `SELECT pg_terminate_backend(pid)`";
    (count > 0)
        .then(|| format!("{count} block others or keep dead rows from being removed: {}; {advice}", named.join("; ")))
}
