//! The embedded PostgreSQL of `cartulary dev`: found on the machine, created, started and stopped by the engine.
//!
//! - Its files lie in `<project>/.cartulary/postgres`, with log and keys beside them. PostgreSQL refuses to run as root, so
//!   root runs it as another user; where that user may not enter the project, the files lie in `/var/lib/cartulary/<hash>`.
//! - It listens on a unix socket in a folder of mode 0700 and never on TCP.
//! - It is as durable as any PostgreSQL: the settings that make a commit safe keep their defaults.
//! - If this process is killed, the server continues as an orphan. The next start on the same files stops the orphan and starts
//!   a new server.

mod binaries;
mod home;
mod orphan;
mod server;
mod server_user;

use std::path::PathBuf;

pub use home::{erase, folder_of};
pub use server::{ENGINE_LOGIN, EmbeddedServer};

/// Parameters of [`EmbeddedServer::start`].
#[derive(Clone, Debug, Default)]
pub struct EmbeddedSettings {
    /// The folder that gets a `.cartulary` folder.
    pub project: PathBuf,
    /// The folder of `initdb` and `postgres`; `None`: they are searched for on the machine.
    pub binaries: Option<PathBuf>,
}
