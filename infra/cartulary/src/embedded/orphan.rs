//! Orphans: a server process that a killed run left behind, or only the files of one.

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

/// Time limit of a fast shutdown, which writes a checkpoint.
const FAST_STOP: Duration = Duration::from_secs(60);
/// Time limit of an immediate shutdown, which writes nothing.
const IMMEDIATE_STOP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Stops an orphaned server of these data and removes the files that would keep a new one from starting. The caller
/// must hold the lock of the home, so that no other process starts a server meanwhile.
pub(super) async fn clear(data: &Path, sockets: &Path) -> Result<()> {
    if let Some(pid) = recorded_pid(data)
        && is_postmaster(pid, data)
    {
        tracing::warn!(pid = pid.as_raw_pid(), "stopping the database server that a killed run left behind");
        stop(pid, orphan_ended(pid, data)).await?;
    }
    // The id in the file may by now be that of another program, which PostgreSQL would take for a running server. If
    // backends of the old server still run, the new one detects them by their shared memory and does not start.
    remove_if_there(&data.join("postmaster.pid"))?;
    for entry in fs::read_dir(sockets)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Stops a server with a fast shutdown, or else an immediate one, and waits for `ended`. It is not killed, because its
/// backends would continue to run.
pub(super) async fn stop(pid: Pid, ended: impl Future<Output = ()>) -> Result<()> {
    tokio::pin!(ended);
    for (signal, time_limit) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
        send(pid, signal)?;
        if timeout(time_limit, &mut ended).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(pid = pid.as_raw_pid(), ?signal, "the database server did not stop in time");
    }
    bail!("the database server (pid {}) does not stop", pid.as_raw_pid())
}

/// Sends a signal; a process that has ended already is no error.
pub(super) fn send(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("the database server (pid {})", pid.as_raw_pid())),
    }
}

/// State that the server reports in its pid file: `starting`, `ready` or `stopping`.
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

async fn orphan_ended(pid: Pid, data: &Path) {
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
