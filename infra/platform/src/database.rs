//! The database of a process: how it is reached, whether it has today's schema, and whether it is there.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::connectivity::Reach;
use crate::health::Health;

/// Connections of one process beside those of its scribes.
pub const CONNECTIONS_MOST: u32 = 16;
/// Whoever waits longer for a connection is told that the store is away.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How often the database is asked whether it is there.
const LOOK: Duration = Duration::from_secs(1);
/// How long it may take to answer that, and to take a new connection, until it is away; and from when on it is quiet.
const LOOKED_WITHIN: Duration = Duration::from_secs(3);
const QUIET_AFTER: Duration = Duration::from_millis(300);
/// What is said to be away.
const DATABASE: &str = "the database";

/// Opens the pool that everything but the scribes' own connections shares.
pub async fn connect(url: &str) -> Result<PgPool> {
    connect_with(url, CONNECTIONS_MOST, &Reach::default()).await
}

/// The same with so many connections, which are given up when the database was lost.
pub async fn connect_with(url: &str, connections_most: u32, reach: &Reach) -> Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(connections_most)
        .acquire_timeout(CONNECTED_WITHIN)
        .test_before_acquire(false);
    let options = reach.watch_over(options);
    let cannot = || format!("cannot connect to {}", place_of(url));
    // A pool tries again until its time is up and then knows that it was up; one connection tells why.
    let tried = tokio::time::timeout(CONNECTED_WITHIN, PgConnection::connect(url)).await;
    let tried = tried.with_context(|| format!("{}: no answer within {CONNECTED_WITHIN:?}", cannot()))?;
    tried.map_err(|error| anyhow!(words(&error))).with_context(cannot)?.close().await?;
    options.connect(url).await.with_context(cannot)
}

/// Why the database cannot be used; nothing where it can.
pub async fn trouble(url: &str) -> Option<String> {
    trouble_within(CONNECTED_WITHIN, url).await
}

async fn trouble_within(most: Duration, url: &str) -> Option<String> {
    let asked = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    let reason = match tokio::time::timeout(most, asked).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => words(&error),
        Err(_) => format!("no answer within {most:?}"),
    };
    Some(format!("{} cannot be used: {reason}", place_of(url)))
}

/// Looks again and again whether the database answers, first as whoever shares the pool would ask it. A connection that broke
/// while nobody used it tells nothing about the next one, so then a new one decides.
pub async fn watch(pool: PgPool, url: String, health: Health, reach: Reach, stop: CancellationToken) {
    while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
        if !reach.is_lost() && answers(&pool, &reach).await {
            health.back(DATABASE);
            reach.back();
            continue;
        }
        match trouble_within(LOOKED_WITHIN, &url).await {
            Some(reason) => {
                reach.lost();
                health.away(DATABASE, reason);
            }
            None => {
                reach.back();
                health.back(DATABASE);
            }
        }
    }
}

/// Whether the database answers in time; says so where it takes its time.
async fn answers(pool: &PgPool, reach: &Reach) -> bool {
    let mut asked = pin!(sqlx::query("SELECT 1").execute(pool));
    match tokio::time::timeout(QUIET_AFTER, &mut asked).await {
        Ok(answered) => answered.is_ok(),
        Err(_) => {
            reach.quiet();
            tokio::time::timeout(LOOKED_WITHIN, asked).await.is_ok_and(|answered| answered.is_ok())
        }
    }
}

/// What a connection met.
fn words(error: &sqlx::Error) -> String {
    match error {
        // Nothing tells which one it was.
        sqlx::Error::Io(missing) if missing.kind() == ErrorKind::NotFound => {
            "a file that its URL names (sslrootcert, sslcert, sslkey, or a socket) does not exist".to_owned()
        }
        error => error.to_string(),
    }
}

/// Where a database is. The rest of its URL stays with whoever set it: a password may stand in several places there.
fn place_of(url: &str) -> String {
    let Ok(options) = url.parse::<PgConnectOptions>() else { return "a database whose URL does not read".to_owned() };
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
    fn a_database_is_named_without_its_password_wherever_that_stands() {
        let named = "the database shop on db.example:5433";
        assert_eq!(place_of("postgres://somebody:se@cret@db.example:5433/shop"), named);
        assert_eq!(place_of("postgres://db.example:5433/shop?user=somebody&password=secret"), named);
        assert!(!place_of("postgres//secret").contains("secret"));
    }
}
