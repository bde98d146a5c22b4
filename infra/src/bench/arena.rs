//! Where contenders meet: one scratch server, and an empty database for every run.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::embedded::{EmbeddedServer, EmbeddedSettings};

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
        let folder = std::env::temp_dir().join(format!("cartulary-bench-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let server = EmbeddedServer::start(&EmbeddedSettings { project: folder.clone(), binaries }).await?;
        Ok(Self { server, folder, databases: AtomicU32::new(0) })
    }

    pub(super) async fn database(&self) -> Result<Database> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut server = PgConnection::connect(&self.server.url()).await?;
        server.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        let database = Database { url: self.server.url_of(&name), name };
        let pool = database.pool(1).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        pool.execute(crate::hosted::TABLES).await?;
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
        // The data may lie outside, where the server's user may not enter the folder.
        match data.parent().filter(|home| home.exists()) {
            Some(home) => Ok(fs::remove_dir_all(home)?),
            None => Ok(()),
        }
    }
}

impl Database {
    pub(super) async fn pool(&self, connections: u32) -> Result<PgPool> {
        let options = PgConnectOptions::from_str(&self.url)?;
        Ok(PgPoolOptions::new().max_connections(connections).connect_with(options).await?)
    }

    pub(super) async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}
