//! Scratch PostgreSQL server of a benchmark run, with an empty database for every contender.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::cqrs_es_adapter;

/// PostgreSQL server with the settings of `cartulary dev`, in a temporary folder that `stop` removes.
pub(super) struct ScratchServer {
    server: EmbeddedServer,
    folder: PathBuf,
    databases: AtomicU32,
}

/// Empty database with our schema and that of postgres-es.
pub(super) struct ScratchDatabase {
    pub(super) url: String,
    name: String,
}

impl ScratchServer {
    /// Starts the server.
    pub(super) async fn start(binaries: Option<PathBuf>) -> Result<Self> {
        let folder = scratch_folder()?;
        match EmbeddedServer::start(&EmbeddedSettings { project: folder.clone(), binaries }).await {
            Ok(server) => Ok(Self { server, folder, databases: AtomicU32::new(0) }),
            Err(error) => {
                fs::remove_dir_all(&folder)?;
                Err(error)
            }
        }
    }

    /// Creates a folder in the temporary folder.
    pub(super) fn create_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        create_accessible_folder(&folder)?;
        Ok(folder)
    }

    pub(super) fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Creates a database with all tables.
    pub(super) async fn create_database(&self) -> Result<ScratchDatabase> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        let database = ScratchDatabase { url: self.server.url_of(&name), name };
        let pool = platform::database::connect(&database.url).await?;
        event_log::migrate(&pool).await?;
        pool.execute(cqrs_es_adapter::SCHEMA_SQL).await?;
        pool.close().await;
        // The dirty pages of the previous run must not be written during the next one.
        server.execute("CHECKPOINT").await?;
        Ok(database)
    }

    pub(super) async fn drop_database(&self, database: ScratchDatabase) -> Result<()> {
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("DROP DATABASE {} WITH (FORCE)", database.name).as_str()).await?;
        Ok(())
    }

    /// Stops the server and removes its folder.
    pub(super) async fn stop(self) -> Result<()> {
        let data = self.server.data();
        self.server.stop().await?;
        fs::remove_dir_all(&self.folder)?;
        // The data are outside the folder if the user of the server may not enter it.
        match data.parent().filter(|home| home.exists()) {
            Some(home) => Ok(fs::remove_dir_all(home)?),
            None => Ok(()),
        }
    }
}

impl ScratchDatabase {
    /// A pool with the defaults of postgres-es except for its size.
    pub(super) async fn pool(&self, connections: u32) -> Result<PgPool> {
        Ok(PgPoolOptions::new().max_connections(connections).connect(&self.url).await?)
    }

    pub(super) async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}

/// Creates a temporary folder for this process.
fn scratch_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("cartulary-bench-{}", std::process::id()));
    create_accessible_folder(&folder)?;
    Ok(folder)
}

/// Creates a folder that the user of the server may enter.
fn create_accessible_folder(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o755))?)
}
