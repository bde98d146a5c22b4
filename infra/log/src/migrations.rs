//! Schema migrations of the database, embedded in the binary.

use anyhow::{Context, Result, bail, ensure};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{PgConnection, PgPool};

use crate::lane_count::LaneCount;
use crate::walls;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The migration that makes the chosen number of lanes.
const NUMBER_OF_LANES: i64 = 145;
/// Entries in the server's lock table for each lane: sixteen sessions at a time, each with a statement that reads all lanes.
/// It locks the partition of a lane and its four indexes.
const LOCKS_PER_LANE: usize = 16 * 5;

/// Applies all missing migrations, as the owner of the log, and grants the roles their privileges on the result. A new
/// log gets the usual number of lanes.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    migrate_with(pool, None).await
}

/// The same with another number of lanes for a new log. Fails if the log exists and has another number.
pub async fn migrate_with(pool: &PgPool, lanes: Option<LaneCount>) -> Result<()> {
    let mut connection = pool.acquire().await?;
    if let Some(lanes) = lanes {
        choose_lanes(&mut connection, lanes).await?;
    }
    let migrated = MIGRATIONS.run(&mut *connection).await.context("the database cannot be migrated");
    sqlx::query("RESET cartulary.lanes").execute(&mut *connection).await.ok();
    migrated?;
    if let Some(lanes) = lanes {
        // A log of an earlier version that has been used keeps its lanes.
        require_lanes(&mut connection, lanes).await?;
    }
    drop(connection);
    walls::raise(pool).await
}

/// Passes the number of lanes to the migrations of this connection.
async fn choose_lanes(connection: &mut PgConnection, lanes: LaneCount) -> Result<()> {
    let applied = connection.list_applied_migrations().await.unwrap_or_default();
    if applied.iter().any(|migration| migration.version == NUMBER_OF_LANES) {
        return require_lanes(connection, lanes).await;
    }
    require_locks(connection, lanes).await?;
    let chosen = sqlx::query("SELECT set_config('cartulary.lanes', $1, false)").bind(lanes.to_string());
    chosen.execute(connection).await?;
    Ok(())
}

/// Fails if the log has another number of lanes.
async fn require_lanes(connection: &mut PgConnection, wanted: LaneCount) -> Result<()> {
    let present = LaneCount::read(connection).await?;
    ensure!(
        present == wanted,
        "the log has {present} lanes and cannot get {wanted}: their number is chosen by the first `cartulary migrate` of a \
         database"
    );
    Ok(())
}

/// Fails if the lock table of the server is too small for statements that read all lanes.
async fn require_locks(connection: &mut PgConnection, lanes: LaneCount) -> Result<()> {
    let text =
        "SELECT current_setting('max_locks_per_transaction')::bigint, current_setting('max_connections')::bigint";
    let (per_session, sessions): (i64, i64) = sqlx::query_as(text).fetch_one(connection).await?;
    let needed = i64::try_from(lanes.get().saturating_mul(LOCKS_PER_LANE))?;
    ensure!(
        lanes.get() <= LaneCount::DEFAULT.get() || needed <= per_session.saturating_mul(sessions),
        "{lanes} lanes need a lock table of {needed} entries, and the one of this server has {}: set \
         `max_locks_per_transaction` to at least {} in its postgresql.conf, start it again, and run `cartulary migrate` again",
        per_session.saturating_mul(sessions),
        needed.div_euclid(sessions.max(1)).saturating_add(1)
    );
    Ok(())
}

/// Fails if a migration of this binary is missing in the database.
pub async fn require_migrated(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let applied = connection.list_applied_migrations().await.unwrap_or_default();
    let missing = MIGRATIONS
        .iter()
        .filter(|migration| applied.iter().all(|applied| applied.version != migration.version))
        .count();
    if missing > 0 {
        bail!("{missing} migrations are missing in the database; run `cartulary migrate`");
    }
    Ok(())
}
