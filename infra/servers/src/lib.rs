//! PostgreSQL, Redis and Apache Kafka on this machine, without containers: plain processes on free ports of the
//! loopback interface or of a private network. Used by `cargo xtask up`, tests, benchmarks and the demo.
//!
//! One folder holds their data and logs, `servers.json` with the started processes, and `environment` with their
//! addresses. Only recorded processes are stopped, and only while they are still the recorded program.
#![expect(clippy::disallowed_methods, reason = "a development tool has no injected clock, and only waits here")]

mod kafka;
mod launch;
mod postgres;
pub mod programs;
mod record;
mod redis;
mod secured;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use programs::Install;
use record::Record;
pub use record::Server;
pub use secured::{Authority, Secured};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    Postgres,
    Redis,
    Kafka,
}

pub const ALL: [Program; 3] = [Program::Postgres, Program::Redis, Program::Kafka];

/// Time for a server to accept connections. Long enough for Java with a cold disk cache.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of consecutive checks without the process after which it counts as ended.
const MISSED_MAX: u32 = 10;
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Servers of one folder.
#[derive(Clone, Debug)]
pub struct Servers {
    folder: PathBuf,
    /// Folder of Kafka's jars.
    jars: PathBuf,
    /// Address on which they listen.
    host: Ipv4Addr,
    install: Option<Install>,
    secured: Option<Secured>,
}

/// Folder and address of one server.
struct Instance<'a> {
    folder: &'a Path,
    host: Ipv4Addr,
    port: u16,
    /// TLS and authentication of callers; without it the server uses no TLS.
    secured: Option<&'a Secured>,
}

impl Servers {
    /// Servers of a folder, which is created if it is missing. Kafka's jars are in the folder `.cartulary` of the
    /// workspace.
    pub fn in_folder(folder: &Path, workspace: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be created", folder.display()))?;
        Ok(Self {
            folder: folder.canonicalize()?,
            jars: workspace.join(".cartulary"),
            host: Ipv4Addr::LOCALHOST,
            install: None,
            secured: None,
        })
    }

    /// Listens on another address than loopback. It must belong to a private network: Redis requires no password, and
    /// connections are not encrypted.
    pub fn at(self, host: Ipv4Addr) -> Self {
        Self { host, ..self }
    }

    /// Installs missing programs. Without it, a missing program is an error.
    pub fn installing(self, install: Install) -> Self {
        Self { install: Some(install), ..self }
    }

    /// Starts the servers with TLS, like those of a cloud provider.
    pub fn secured(self, secured: Secured) -> Self {
        Self { secured: Some(secured), ..self }
    }

    /// Checks that the programs of these servers are present, or installs them.
    pub fn prepare(&self, programs: &[Program]) -> Result<()> {
        for program in programs {
            match program {
                Program::Postgres => postgres::programs(self.install).map(drop)?,
                Program::Redis => redis::program(self.install).map(drop)?,
                Program::Kafka => kafka::programs(&self.jars, self.install).map(drop)?,
            }
        }
        Ok(())
    }

    /// Starts the servers that do not run, each on its former port if that is free, and waits until all accept
    /// connections.
    pub fn up(&self, programs: &[Program]) -> Result<Vec<Server>> {
        let mut record = Record::read(&self.folder)?;
        for program in programs {
            let before = record.of(*program);
            if before.is_some_and(Server::runs) {
                continue;
            }
            let port = launch::free_port(self.host, before.map(|server| server.port))?;
            let instance = Instance { folder: &self.folder, host: self.host, port, secured: self.secured.as_ref() };
            let server = match program {
                Program::Postgres => postgres::start(&instance, self.install),
                Program::Redis => redis::start(&instance, self.install),
                Program::Kafka => kafka::start(&instance, &self.jars, self.install),
            };
            let server = server.with_context(|| format!("{program:?} cannot be started"))?;
            record.put(server.clone());
            record.write(&self.folder)?;
            wait_until_ready(&server)?;
        }
        Ok(record.servers)
    }

    /// Stops recorded servers that run, and no other process. Returns the stopped ones.
    pub fn down(&self, programs: &[Program]) -> Result<Vec<Server>> {
        let record = Record::read(&self.folder)?;
        let mut running: Vec<Server> = record.servers.into_iter().filter(|server| server.runs()).collect();
        running.retain(|server| programs.contains(&server.program));
        for server in &running {
            server.signal(server.program.stop_signal())?;
        }
        for server in &running {
            let since = Instant::now();
            while server.runs() {
                if since.elapsed() > STOP_TIMEOUT {
                    bail!("{:?} (pid {}) does not stop; its log is {}", server.program, server.pid, server.log);
                }
                launch::pause();
            }
        }
        Ok(running)
    }

    /// All recorded servers, running or not.
    pub fn status(&self) -> Result<Vec<Server>> {
        Ok(Record::read(&self.folder)?.servers)
    }

    /// File with the addresses, for `set -a; . file`.
    pub fn environment(&self) -> PathBuf {
        record::environment(&self.folder)
    }
}

impl Program {
    /// Signal for a clean stop. PostgreSQL waits for its clients on SIGTERM and disconnects them on SIGINT.
    fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::Redis | Self::Kafka => "TERM",
        }
    }
}

fn wait_until_ready(server: &Server) -> Result<()> {
    let since = Instant::now();
    // A program that executes itself again, like Java, has no command line for a moment.
    let mut missed = 0;
    while !server.answers() {
        let log = || fs::read_to_string(&server.log).unwrap_or_default();
        let tail = || log().lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        missed = if server.runs() { 0 } else { missed + 1 };
        if missed > MISSED_MAX {
            bail!("{:?} ended while it started; its log {} ends with\n{}", server.program, server.log, tail());
        }
        if since.elapsed() > START_TIMEOUT {
            bail!("{:?} accepts no connections; its log {} ends with\n{}", server.program, server.log, tail());
        }
        launch::pause();
    }
    Ok(())
}
