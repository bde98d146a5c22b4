//! Schema migrations of the database, embedded in the binary.

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use sqlx::migrate::{Migrate, Migrator};

use crate::walls;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Applies all missing migrations, as the owner of the log, and grants the roles their privileges on the result.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    MIGRATIONS.run(pool).await.context("the database cannot be migrated")?;
    walls::raise(pool).await
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
