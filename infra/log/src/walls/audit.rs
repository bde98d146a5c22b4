//! Audit of the walls: compares the catalogue of the database with what [`super::raise`] establishes.

use anyhow::{Result, bail};
use platform::DatabaseRole;
use sqlx::{PgExecutor, PgPool};

const AUDIT: &str = include_str!("audit.sql");

/// Weakness of the walls.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Weakness {
    /// True if the engine must not start with it: a caller could see or change what is not theirs.
    pub fatal: bool,
    pub problem: String,
    /// Statement or command that ends it.
    pub remedy: String,
}

/// Finds the weaknesses, fatal ones first.
pub async fn audit(store: impl PgExecutor<'_>) -> Result<Vec<Weakness>, sqlx::Error> {
    sqlx::query_as(AUDIT).bind(DatabaseRole::ALL.map(DatabaseRole::name)).fetch_all(store).await
}

/// Fails if there is a fatal weakness, and logs the others.
pub async fn require_walls(pool: &PgPool) -> Result<()> {
    let (fatal, tolerable): (Vec<_>, Vec<_>) = audit(pool).await?.into_iter().partition(|weakness| weakness.fatal);
    for weakness in &tolerable {
        tracing::warn!(remedy = weakness.remedy, "{}", weakness.problem);
    }
    if !fatal.is_empty() {
        let lines = fatal.iter().map(|weakness| format!("\n  {}; mend it with: {}", weakness.problem, weakness.remedy));
        bail!("the database does not keep tenants apart or its log unchanged:{}", lines.collect::<String>());
    }
    Ok(())
}
