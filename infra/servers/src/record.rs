//! Record of the started servers, by which they are found again and distinguished from other processes.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Program;
use crate::programs::run_quietly;

/// A server that was started for this folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub program: Program,
    pub pid: u32,
    /// Address on which it listens.
    #[serde(default = "loopback")]
    pub host: Ipv4Addr,
    pub port: u16,
    /// Environment variable through which the engine gets the address.
    pub variable: String,
    pub address: String,
    pub log: String,
    /// Argument of its command line that no other process has: the path of its data or settings.
    pub known_by: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) servers: Vec<Server>,
}

impl Server {
    /// True if the process with its pid is this server, and not one that got the pid later.
    pub fn runs(&self) -> bool {
        command_line(self.pid).is_some_and(|words| words.contains(&self.known_by))
    }

    /// True if it accepts connections.
    pub fn answers(&self) -> bool {
        let address = SocketAddr::from((self.host, self.port));
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
    }

    /// Sends a signal, unless the pid now belongs to another process.
    pub fn signal(&self, name: &str) -> Result<()> {
        if self.runs() {
            // The shell's builtin `kill`: a minimal Debian has no program of that name.
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("kill -s {name} {}", self.pid)]);
            run_quietly(shell)?;
        }
        Ok(())
    }
}

impl Record {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = path(folder);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("{} is damaged; stop the servers that it names by hand and remove it", file.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    /// Writes a draft and renames it, so that an interruption leaves a complete record.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let lines = self.servers.iter().map(|server| format!("{}={}\n", server.variable, server.address));
        for (file, text) in
            [(path(folder), serde_json::to_string_pretty(self)?), (environment(folder), lines.collect())]
        {
            let draft = file.with_extension("draft");
            write_private(&draft, &text).with_context(|| format!("{} cannot be written", draft.display()))?;
            fs::rename(&draft, &file)?;
        }
        Ok(())
    }

    pub(super) fn of(&self, program: Program) -> Option<&Server> {
        self.servers.iter().find(|server| server.program == program)
    }

    pub(super) fn put(&mut self, server: Server) {
        self.servers.retain(|known| known.program != server.program);
        self.servers.push(server);
        self.servers.sort_by_key(|server| server.program);
    }
}

/// Address of servers in records that have none yet.
const fn loopback() -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

pub(super) fn environment(folder: &Path) -> PathBuf {
    folder.join("environment")
}

fn path(folder: &Path) -> PathBuf {
    folder.join("servers.json")
}

/// Writes a file that only its owner can read, from the first moment: an address may contain a password.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut open = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    open.set_permissions(Permissions::from_mode(0o600))?;
    open.write_all(text.as_bytes())
}

/// Arguments of a process; `None` if it has ended, also while it is a zombie.
fn command_line(pid: u32) -> Option<Vec<String>> {
    let words = |text: &str, between: char| text.split(between).map(str::to_owned).collect();
    if Path::new("/proc/self/cmdline").exists() {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(words(&String::from_utf8_lossy(&bytes), '\0'));
    }
    let answer = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    Some(words(String::from_utf8_lossy(&answer.stdout).trim(), ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pid: u32, known_by: &str) -> Server {
        Server {
            program: Program::Kafka,
            pid,
            host: Ipv4Addr::LOCALHOST,
            port: 1,
            variable: "CARTULARY_KAFKA_BROKERS".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            log: "kafka.log".to_owned(),
            known_by: known_by.to_owned(),
        }
    }

    #[test]
    fn a_pid_that_belongs_to_another_program_gets_no_signal() {
        let ours = std::process::id();
        let own_name = std::env::args().next().unwrap_or_default();
        assert!(server(ours, &own_name).runs());
        assert!(!server(ours, "/some/folder/kafka/server.properties").runs());
        assert!(server(ours, "/some/folder/kafka/server.properties").signal("KILL").is_ok());
    }

    #[test]
    fn the_record_is_private_and_has_one_entry_per_program() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("cartulary-record-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut record = Record::default();
        record.put(server(1, "a"));
        record.put(server(2, "a"));
        record.write(&folder)?;
        assert_eq!(Record::read(&folder)?.servers, [server(2, "a")]);
        for file in [path(&folder), environment(&folder)] {
            assert_eq!(fs::metadata(file)?.permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_to_string(environment(&folder))?, "CARTULARY_KAFKA_BROKERS=127.0.0.1:1\n");
        Ok(fs::remove_dir_all(folder)?)
    }
}
