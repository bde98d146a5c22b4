//! The database of a process: how it is reached, whether it has today's schema, and whether it is there.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Connections of one process beside those of its scribes.
pub const CONNECTIONS_MOST: u32 = 16;
/// Whoever waits longer for a connection is told that the store is away.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How often the database is asked whether it is there.
const LOOK: Duration = Duration::from_secs(1);
/// What is said to be away.
const DATABASE: &str = "the database";

/// Opens the pool that everything but the scribes' own connections shares.
pub async fn connect(url: &str) -> Result<PgPool> {
    connect_with(url, CONNECTIONS_MOST).await
}

pub(crate) async fn connect_with(url: &str, connections_most: u32) -> Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(connections_most)
        .acquire_timeout(CONNECTED_WITHIN)
        .test_before_acquire(false);
    let cannot = || format!("cannot connect to {}", place_of(url));
    // A pool tries again until its time is up and then knows that it was up; one connection tells why.
    let tried = tokio::time::timeout(CONNECTED_WITHIN, PgConnection::connect(url)).await;
    let tried = tried.with_context(|| format!("{}: no answer within {CONNECTED_WITHIN:?}", cannot()))?;
    tried.map_err(|error| anyhow!(words(&error))).with_context(cannot)?.close().await?;
    options.connect(url).await.with_context(cannot)
}

/// Why the database cannot be used; nothing where it can.
pub(crate) async fn trouble(url: &str) -> Option<String> {
    let asked = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    let reason = match tokio::time::timeout(CONNECTED_WITHIN, asked).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => words(&error),
        Err(_) => format!("no answer within {CONNECTED_WITHIN:?}"),
    };
    Some(format!("{} cannot be used: {reason}", place_of(url)))
}

/// Looks again and again whether the database answers. `url` is for the words only: whoever shares the pool sees what it
/// sees.
pub(crate) async fn watch(pool: PgPool, url: String, health: Health, stop: CancellationToken) {
    while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
        let asked = sqlx::query("SELECT 1").execute(&pool);
        match tokio::time::timeout(CONNECTED_WITHIN, asked).await {
            Ok(Ok(_)) => health.back(DATABASE),
            // A connection that broke while nobody used it tells nothing about the next one.
            Ok(Err(_)) | Err(_) => match trouble(&url).await {
                Some(reason) => health.away(DATABASE, reason),
                None => health.back(DATABASE),
            },
        }
    }
}

/// Brings the database's schema up to date.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    MIGRATIONS.run(pool).await.context("the database cannot be migrated")
}

/// Refuses a database that was not migrated.
pub async fn require_migrated(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let applied = connection.list_applied_migrations().await.unwrap_or_default();
    let missing =
        MIGRATIONS.iter().filter(|wanted| applied.iter().all(|known| known.version != wanted.version)).count();
    if missing > 0 {
        bail!("{missing} migrations are missing in the database; run `cartulary migrate`");
    }
    Ok(())
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
