//! The private PostgreSQL of `cartulary dev`: found on the machine, made, started and stopped by the engine itself.
//!
//! - Its files lie in `<project>/.cartulary/postgres`, the log beside them. Root hands the server to another user, as
//!   PostgreSQL demands; where that user may not enter the project, the files lie in `/var/lib/cartulary/<hash>`.
//! - It listens on a unix socket in a folder of mode 0700 and never on TCP.
//! - It is as durable as any PostgreSQL: nothing that makes a commit safe is switched off.
//! - When this process is killed, the server lives on as an orphan. The next start on the same files stops it cleanly
//!   and begins afresh, so whatever killed whom, starting again is always the cure.

mod find;
mod home;
mod leftovers;
mod run_as;
mod server;

use std::path::PathBuf;

pub use server::EmbeddedServer;

/// What [`EmbeddedServer::start`] has to know.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedSettings {
    /// The folder that gets a `.cartulary` folder.
    pub project: PathBuf,
    /// The folder of `initdb` and `postgres`; without it they are searched for.
    pub binaries: Option<PathBuf>,
}
