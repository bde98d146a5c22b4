//! The schema of the database: migrations that are part of the binary.

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use sqlx::migrate::{Migrate, Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

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
