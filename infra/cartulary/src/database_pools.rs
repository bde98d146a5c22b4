//! Connection pools of a process: one for each role that its components take in the database.

use anyhow::Result;
use platform::connectivity::Connectivity;
use platform::{DatabaseRole, database};
use sqlx::PgPool;

use crate::configuration::DatabaseConfig;
use crate::roles::Roles;

/// Maximum number of connections with the privileges of the login, which probe the database and read its catalogue.
const LOGIN_CONNECTIONS_MOST: u32 = 2;
/// Maximum number of connections for operators.
const OPERATIONS_CONNECTIONS_MOST: u32 = 2;

/// Pools of a process. They connect when they are used.
#[derive(Clone)]
pub(crate) struct DatabasePools {
    /// With the privileges of the login.
    pub(crate) login: PgPool,
    pub(crate) scribe: PgPool,
    pub(crate) worker: PgPool,
    pub(crate) reader: PgPool,
    pub(crate) auditor: PgPool,
    /// With the privileges of the worker, for operators who change background work over the API.
    pub(crate) operations: PgPool,
    /// The pool of what every process does: finding lanes, reading keys of persons.
    pub(crate) shared: PgPool,
}

impl DatabasePools {
    /// Connects as every role that a process with these roles needs, and fails if the login may not take one of them.
    pub(crate) async fn open(config: &DatabaseConfig, roles: Roles, connectivity: &Connectivity) -> Result<Self> {
        let login = database::connect_with(&config.url, None, LOGIN_CONNECTIONS_MOST, connectivity).await?;
        let open = async |role, needed| match needed {
            true => database::connect_with(&config.url, Some(role), config.connections_most, connectivity).await,
            false => Ok(login.clone()),
        };
        let scribe = open(DatabaseRole::Scribe, roles.scribe).await?;
        let worker = open(DatabaseRole::Worker, roles.project || roles.policies || roles.relay).await?;
        let reader = open(DatabaseRole::Reader, roles.serve).await?;
        let auditor = open(DatabaseRole::Auditor, roles.serve).await?;
        let operations = match roles.serve {
            true => {
                let (role, most) = (Some(DatabaseRole::Worker), OPERATIONS_CONNECTIONS_MOST);
                database::connect_with(&config.url, role, most, connectivity).await?
            }
            false => login.clone(),
        };
        let shared = match roles {
            Roles { serve: true, .. } => &reader,
            Roles { scribe: true, .. } => &scribe,
            _ => &worker,
        };
        Ok(Self { shared: shared.clone(), login, scribe, worker, reader, auditor, operations })
    }

    pub(crate) async fn close(&self) {
        for pool in [&self.scribe, &self.worker, &self.reader, &self.auditor, &self.operations, &self.login] {
            pool.close().await;
        }
    }
}
