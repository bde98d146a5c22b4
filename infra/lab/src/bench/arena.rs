//! Where contenders meet: one scratch server, and an empty database for every start.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::hosted;
use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};

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
        let folder = scratch_folder()?;
        match EmbeddedServer::start(&EmbeddedSettings { project: folder.clone(), binaries }).await {
            Ok(server) => Ok(Self { server, folder, databases: AtomicU32::new(0) }),
            Err(error) => {
                fs::remove_dir_all(&folder)?;
                Err(error)
            }
        }
    }

    /// A folder of its own within the scratch folder.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        make_open(&folder)?;
        Ok(folder)
    }

    pub(super) fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    pub(super) async fn database(&self) -> Result<Database> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        let database = Database { url: self.server.url_of(&name), name };
        let pool = platform::database::connect(&database.url).await?;
        event_log::migrate(&pool).await?;
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
        fs::remove_dir_all(&self.folder)?;
        // Data lie outside where the server's user may not enter the folder.
        match data.parent().filter(|home| home.exists()) {
            Some(home) => Ok(fs::remove_dir_all(home)?),
            None => Ok(()),
        }
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
fn scratch_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("cartulary-bench-{}", std::process::id()));
    make_open(&folder)?;
    Ok(folder)
}

/// Makes a folder that the server's user may enter.
fn make_open(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o755))?)
}
