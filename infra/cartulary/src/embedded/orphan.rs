//! Orphans: a server process that a killed run left behind, or only its files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use tokio::time::{sleep, timeout};

/// A fast shutdown writes a checkpoint, up to `max_wal_size` of it, so it gets time.
const FAST_STOP: Duration = Duration::from_secs(60);
/// An immediate shutdown writes nothing.
const IMMEDIATE_STOP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Stops an orphaned server of these data and removes the files that would keep a new one from starting.
///
/// Only for the holder of the home's lock, so that no other process starts a server here.
pub(super) async fn clear(data: &Path, sockets: &Path) -> Result<()> {
    if let Some(pid) = recorded_pid(data)
        && is_postmaster(pid, data)
    {
        tracing::warn!(pid = pid.as_raw_pid(), "stopping the database server that a killed run left behind");
        stop(pid, orphan_gone(pid, data)).await?;
    }
    // Its number may belong to another program by now, which PostgreSQL would take for a running server. Should
    // backends of the old one still live, the shared memory tells, and the new one refuses to start.
    remove_if_there(&data.join("postmaster.pid"))?;
    for entry in fs::read_dir(sockets)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Asks a server to stop: cleanly first, then at once. It is never killed, as its backends would live on.
pub(super) async fn stop(pid: Pid, gone: impl Future<Output = ()>) -> Result<()> {
    tokio::pin!(gone);
    for (signal, patience) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
        send(pid, signal)?;
        if timeout(patience, &mut gone).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(pid = pid.as_raw_pid(), ?signal, "the database server did not stop in time");
    }
    bail!("the database server (pid {}) does not stop", pid.as_raw_pid())
}

/// Sends a signal; a process that is gone already is no error.
pub(super) fn send(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("the database server (pid {})", pid.as_raw_pid())),
    }
}

/// State that the server reports: `starting`, `ready`, `stopping`.
pub(super) fn status(data: &Path) -> Option<String> {
    const STATUS_LINE: usize = 7;
    pid_file(data)?.lines().nth(STATUS_LINE).map(|line| line.trim().to_owned())
}

fn pid_file(data: &Path) -> Option<String> {
    fs::read_to_string(data.join("postmaster.pid")).ok()
}

fn recorded_pid(data: &Path) -> Option<Pid> {
    let number: i32 = pid_file(data)?.lines().next()?.trim().parse().ok()?;
    (number > 1).then(|| Pid::from_raw(number)).flatten()
}

async fn orphan_gone(pid: Pid, data: &Path) {
    while is_postmaster(pid, data) {
        sleep(POLL).await;
    }
}

/// True if this process is the server of these data. A zombie process is not.
fn is_postmaster(pid: Pid, data: &Path) -> bool {
    command_line(pid).is_some_and(|words| {
        let Some((program, arguments)) = words.split_first() else { return false };
        let is_postgres = PathBuf::from(program).file_name().is_some_and(|name| name == "postgres");
        is_postgres && arguments.windows(2).any(|pair| pair[0] == "-D" && Path::new(&pair[1]) == data)
    })
}

fn command_line(pid: Pid) -> Option<Vec<String>> {
    let words = |text: &str, between: char| text.split(between).map(str::to_owned).collect();
    if Path::new("/proc/self/cmdline").exists() {
        let bytes = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).ok()?;
        return Some(words(&String::from_utf8_lossy(&bytes), '\0'));
    }
    let answer = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    Some(words(String::from_utf8_lossy(&answer.stdout).trim(), ' '))
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", file.display()))
        }
        _ => Ok(()),
    }
}
