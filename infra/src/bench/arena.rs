//! Where contenders meet: one scratch server, and an empty database for every start.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::embedded::{EmbeddedServer, EmbeddedSettings};
use crate::{hosted, running};

/// A server with the settings of `cartulary dev`, in a folder that goes when the bench ends.
pub(super) struct Arena {
    server: EmbeddedServer,
    folder: PathBuf,
    databases: AtomicU32,
}

/// An empty database with all our tables and those of postgres-es.
pub(super) struct Database {
    pub(super) url: String,
    name: String,
}

impl Arena {
    pub(super) async fn open(binaries: Option<PathBuf>) -> Result<Self> {
        let folder = scratch_folder("arena")?;
        let server = EmbeddedServer::start(&EmbeddedSettings { project: folder.clone(), binaries }).await?;
        Ok(Self { server, folder, databases: AtomicU32::new(0) })
    }

    pub(super) fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    pub(super) async fn database(&self) -> Result<Database> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        let database = Database { url: self.server.url_of(&name), name };
        let pool = running::connect(&database.url).await?;
        running::migrate(&pool).await?;
        pool.execute(hosted::TABLES).await?;
        pool.close().await;
        // Nobody pays for what the one before left to write.
        server.execute("CHECKPOINT").await?;
        Ok(database)
    }

    pub(super) async fn clear(&self, database: Database) -> Result<()> {
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("DROP DATABASE {} WITH (FORCE)", database.name).as_str()).await?;
        Ok(())
    }

    pub(super) async fn close(self) -> Result<()> {
        let data = self.server.data();
        self.server.stop().await?;
        clear_folder(&self.folder, data)
    }
}

impl Database {
    /// A pool as postgres-es makes it by default, but for its size.
    pub(super) async fn pool(&self, connections: u32) -> Result<PgPool> {
        Ok(PgPoolOptions::new().max_connections(connections).connect(&self.url).await?)
    }

    pub(super) async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}

/// A folder of this process alone.
pub(super) fn scratch_folder(name: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("cartulary-bench-{name}-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // The server's user must be able to enter it.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Removes a scratch folder and the data, which may lie elsewhere.
pub(super) fn clear_folder(folder: &PathBuf, data: PathBuf) -> Result<()> {
    fs::remove_dir_all(folder)?;
    match data.parent().filter(|home| home.exists()) {
        Some(home) => Ok(fs::remove_dir_all(home)?),
        None => Ok(()),
    }
}
