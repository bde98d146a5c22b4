//! Walls of the database: roles with few privileges, a log that only its owner can change, and row-level security on
//! every table with a tenant column.
//!
//! The walls follow from the catalogue of the database, not from a list: a migration that adds a table needs no policy.

mod audit;

use anyhow::{Context, Result, bail};
use platform::DatabaseRole;
use sqlx::{Executor, PgPool};

pub use audit::{Weakness, audit, require_walls};

const PRIVILEGES: &str = include_str!("privileges.sql");

/// Creates the roles that are missing, and sets the privileges and policies on everything that exists, as the owner.
pub async fn raise(pool: &PgPool) -> Result<()> {
    for role in DatabaseRole::ALL {
        create_role(pool, role).await?;
    }
    let mut transaction = pool.begin().await?;
    transaction.execute(PRIVILEGES).await.context("the privileges of the database roles cannot be set")?;
    Ok(transaction.commit().await?)
}

/// Creates a login that may take every role and has no other rights: for an engine with a server of its own.
pub async fn create_login(pool: &PgPool, name: &str) -> Result<()> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(name)
        .fetch_one(pool)
        .await?;
    if !known {
        pool.execute(format!("CREATE ROLE {name} LOGIN; GRANT {}, pg_monitor TO {name}", role_names()).as_str())
            .await?;
    }
    Ok(())
}

async fn create_role(pool: &PgPool, role: DatabaseRole) -> Result<()> {
    let text = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), current_user::text";
    let (known, login): (bool, String) = sqlx::query_as(text).bind(role.name()).fetch_one(pool).await?;
    if !known && let Err(error) = pool.execute(format!("CREATE ROLE {}", role.name()).as_str()).await {
        match sqlstate(&error).as_str() {
            // Another database of this server was migrated at the same time: duplicate_object, unique_violation.
            "42710" | "23505" => {}
            "42501" => bail!(advice(&login)),
            _ => return Err(error).with_context(|| format!("the role {} cannot be created", role.name())),
        }
    }
    // The owner inherits the role, because it grants what the worker owns.
    let is_member: bool =
        sqlx::query_scalar("SELECT pg_has_role(current_user, $1, 'USAGE')").bind(role.name()).fetch_one(pool).await?;
    if !is_member && pool.execute(format!("GRANT {} TO CURRENT_USER", role.name()).as_str()).await.is_err() {
        bail!(advice(&login));
    }
    Ok(())
}

/// Statements for an administrator, for a login that may not create roles.
fn advice(login: &str) -> String {
    let create: String = DatabaseRole::ALL.iter().map(|role| format!("  CREATE ROLE {};\n", role.name())).collect();
    format!(
        "the login `{login}` may not create the roles of the database. Have an administrator run the following, then run \
         `cartulary migrate` again:\n{create}  GRANT {} TO \"{login}\";",
        role_names()
    )
}

fn role_names() -> String {
    DatabaseRole::ALL.map(DatabaseRole::name).join(", ")
}

fn sqlstate(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}
