//! The servers that the engine can be put on for scale, on this machine and without containers: PostgreSQL, Redis and
//! Apache Kafka as plain processes on free loopback ports. `cargo xtask up` starts them for a person, tests, benches and
//! the demo for themselves.
//!
//! Everything lies in one folder: data, logs, `servers.json` with what was started, and `environment` with where it
//! listens. What is asked to stop is only ever what is written down there and is still that program.
#![expect(clippy::disallowed_methods, reason = "a chore has no other clock, and nothing else to do while it waits")]

mod kafka;
mod kept;
mod launch;
mod postgres;
pub mod programs;
mod redis;
mod secured;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use kept::Kept;
pub use kept::Server;
use programs::Install;
pub use secured::{Authority, Secured};

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    Postgres,
    Redis,
    Kafka,
}

pub const ALL: [Program; 3] = [Program::Postgres, Program::Redis, Program::Kafka];

/// A Java machine with a cold disk takes its time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// After how many looks in a row a process that is not seen has ended.
const MISSED_MOST: u32 = 10;
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// The servers of one folder.
#[derive(Clone, Debug)]
pub struct Servers {
    folder: PathBuf,
    /// The folder of Kafka's jars.
    jars: PathBuf,
    install: Option<Install>,
    secured: Option<Secured>,
}

impl Servers {
    /// Those of a folder, which is made where it is missing. Kafka's jars are those of a clone of the house.
    pub fn in_folder(folder: &Path, house: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self { folder: folder.canonicalize()?, jars: house.join(".cartulary"), install: None, secured: None })
    }

    /// Installs and fetches what is missing, instead of saying so.
    pub fn installing(self, install: Install) -> Self {
        Self { install: Some(install), ..self }
    }

    /// Starts them so that they are reached over TLS, as those of a provider are.
    pub fn secured(self, secured: Secured) -> Self {
        Self { secured: Some(secured), ..self }
    }

    /// Makes sure that everything is on this machine that these need.
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

    /// Starts what does not run yet, each on the port it had before where that is free, and waits until all answer.
    pub fn up(&self, programs: &[Program]) -> Result<Vec<Server>> {
        let mut kept = Kept::read(&self.folder)?;
        for program in programs {
            let before = kept.of(*program);
            if before.is_some_and(Server::runs) {
                continue;
            }
            let port = launch::free_port(before.map(|server| server.port))?;
            let secured = self.secured.as_ref();
            let server = match program {
                Program::Postgres => postgres::start(&self.folder, port, self.install, secured),
                Program::Redis => redis::start(&self.folder, port, self.install, secured),
                Program::Kafka => kafka::start(&self.folder, &self.jars, port, self.install, secured),
            };
            let server = server.with_context(|| format!("{program:?} cannot be started"))?;
            kept.put(server.clone());
            kept.write(&self.folder)?;
            wait_until_ready(&server)?;
        }
        Ok(kept.servers)
    }

    /// Ends what was started here, and nothing else. Says what it ended.
    pub fn down(&self, programs: &[Program]) -> Result<Vec<Server>> {
        let kept = Kept::read(&self.folder)?;
        let mut running: Vec<Server> = kept.servers.into_iter().filter(|server| server.runs()).collect();
        running.retain(|server| programs.contains(&server.program));
        for server in &running {
            server.signal(server.program.stop_signal())?;
        }
        for server in &running {
            let since = Instant::now();
            while server.runs() {
                if since.elapsed() > GONE_WITHIN {
                    bail!("{:?} (pid {}) does not stop; its log is {}", server.program, server.pid, server.log);
                }
                launch::pause();
            }
        }
        Ok(running)
    }

    /// What was ever started here, running or not.
    pub fn status(&self) -> Result<Vec<Server>> {
        Ok(Kept::read(&self.folder)?.servers)
    }

    /// The file with the addresses, for `set -a; . file`.
    pub fn environment(&self) -> PathBuf {
        kept::environment(&self.folder)
    }
}

impl Program {
    /// PostgreSQL calls "disconnect everybody and stop" SIGINT; to the others SIGTERM is a clean stop.
    fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::Redis | Self::Kafka => "TERM",
        }
    }
}

fn wait_until_ready(server: &Server) -> Result<()> {
    let since = Instant::now();
    // A program that starts itself once more, as Java does, has no command line for a moment.
    let mut missed = 0;
    while !server.answers() {
        let log = || fs::read_to_string(&server.log).unwrap_or_default();
        let tail = || log().lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        missed = if server.runs() { 0 } else { missed + 1 };
        if missed > MISSED_MOST {
            bail!("{:?} ended while it started; its log {} ends with\n{}", server.program, server.log, tail());
        }
        if since.elapsed() > READY_WITHIN {
            bail!("{:?} does not answer; its log {} ends with\n{}", server.program, server.log, tail());
        }
        launch::pause();
    }
    Ok(())
}
