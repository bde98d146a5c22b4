//! Embedded server: creates, starts and stops the PostgreSQL process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use super::{
    EmbeddedSettings,
    binaries::{Binaries, find},
    home::Home,
    orphan,
};

/// Name of the database, and of the superuser role that owns it.
const NAME: &str = "cartulary";
/// Login of the engine, which may take the roles of the database and has no rights of its own.
pub const ENGINE_LOGIN: &str = "cartulary_engine";

/// Time limit of a start. After a crash, the server first replays up to `max_wal_size` of its log.
const READY_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// Server settings, with sizes for a laptop. The settings that make commits durable keep PostgreSQL's defaults.
const SERVER_SETTINGS: &[&str] = &[
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    // Recycled segments are rewritten in place; a new segment is written twice.
    "min_wal_size=1GB",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
];

/// A running private server. [`stop`](Self::stop) waits until the server has stopped; dropping only sends a signal.
#[derive(Debug)]
pub struct EmbeddedServer {
    child: Child,
    home: Home,
}

impl EmbeddedServer {
    /// Starts the server of a project and returns when it accepts connections. Creates the server first if there is
    /// none, and stops an orphan that a killed run left behind.
    pub async fn start(settings: &EmbeddedSettings) -> Result<Self> {
        let home = Home::open(&settings.project).await?;
        let made_by = home.made_by()?;
        let binaries = find(settings.binaries.as_deref(), made_by)?;
        if made_by.is_none() {
            create_data(&binaries, &home).await?;
        }
        home.make_socket_folder()?;
        orphan::clear(&home.data(), &home.sockets).await?;
        home.keep_previous_log()?;
        let mut server = Self { child: launch(&binaries, &home)?, home };
        match timeout(READY_WITHIN, server.ready(&binaries)).await {
            Ok(ready) => ready?,
            Err(_) => bail!("the database server does not get ready; its log ends with\n{}", server.home.log_tail()),
        }
        server.create_database().await?;
        Ok(server)
    }

    /// The URL of the database `cartulary`, with the login of its owner.
    pub fn url(&self) -> String {
        self.url_of(NAME)
    }

    /// The URL of another database of this server, with the login of the owner.
    pub fn url_of(&self, database: &str) -> String {
        self.url_for(database, NAME)
    }

    /// The URL of the database `cartulary` with the login of the engine, which owns nothing.
    pub fn engine_url(&self) -> String {
        self.url_for(NAME, ENGINE_LOGIN)
    }

    fn url_for(&self, database: &str, login: &str) -> String {
        let sockets = self.home.sockets.display();
        format!("postgres:///{database}?host={sockets}&port=5432&user={login}&sslmode=disable")
    }

    /// The folder of data, log and keys.
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// The folder of the server's data.
    pub fn data(&self) -> PathBuf {
        self.home.data()
    }

    /// The file that the server writes its log to.
    pub fn log(&self) -> PathBuf {
        self.home.log()
    }

    /// The folder of the server's socket.
    pub fn sockets(&self) -> &Path {
        &self.home.sockets
    }

    /// The id of the server's process; `None` after its end was observed.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the server process ends.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Stops the server and waits for its end: with a checkpoint, or without one if that takes too long.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = running(&self.child) {
            let ended = async {
                let _ = self.child.wait().await;
            };
            orphan::stop(pid, ended).await?;
        }
        // A failure is ignored, because the next start uses the folder again.
        let _ = fs::remove_dir(&self.home.sockets);
        Ok(())
    }

    async fn ready(&mut self, binaries: &Binaries) -> Result<()> {
        while orphan::status(&self.home.data()).as_deref() != Some("ready") {
            if let Some(status) = self.child.try_wait()? {
                let log_tail = self.home.log_tail();
                if !log_tail.contains("shared memory block") || !log_tail.contains("still in use") {
                    bail!("the database server ended with {status}; its log ends with\n{log_tail}");
                }
                // Backends of a killed server need a moment to detect the end of their postmaster.
                sleep(Duration::from_millis(200)).await;
                self.child = launch(binaries, &self.home)?;
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn create_database(&self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url_of("postgres")).await?;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(NAME)
            .fetch_one(&mut connection)
            .await?;
        if !known {
            connection.execute(format!("CREATE DATABASE {NAME}").as_str()).await?;
        }
        Ok(connection.close().await?)
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        if let Some(pid) = running(&self.child)
            && let Err(error) = orphan::send(pid, Signal::INT)
        {
            tracing::warn!(%error, "the database server keeps running");
        }
    }
}

fn running(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Creates the data folder. The complete folder is moved to its place, so that an interrupted attempt leaves no
/// incomplete one there.
async fn create_data(binaries: &Binaries, home: &Home) -> Result<()> {
    let draft = home.make_draft()?;
    tracing::info!(folder = %home.data().display(), "creating a database server");
    let answer = home
        .user
        .command(&binaries.initdb)
        .args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--auth-local=trust", "--auth-host=reject"])
        .args(["--no-instructions", "--username", NAME, "--pgdata"])
        .arg(&draft)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} cannot be run", binaries.initdb.display()))?;
    if !answer.status.success() {
        bail!("the database server cannot be created: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    home.keep_draft(&draft)
}

fn launch(binaries: &Binaries, home: &Home) -> Result<Child> {
    let log = home.empty_log()?;
    let mut command = home.user.command(&binaries.postgres);
    command.arg("-D").arg(home.data()).arg("-k").arg(&home.sockets);
    for setting in SERVER_SETTINGS {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{} cannot be run", binaries.postgres.display()))
}
