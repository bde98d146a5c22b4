//! Launch of programs that outlive this process.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// The former port if it is still free, or any free one.
pub(super) fn free_port(host: Ipv4Addr, before: Option<u16>) -> Result<u16> {
    let free = |port: u16| -> io::Result<u16> { Ok(TcpListener::bind((host, port))?.local_addr()?.port()) };
    before.and_then(|port| free(port).ok()).map_or_else(|| Ok(free(0)?), Ok)
}

/// Starts a program in its own process group, so that Ctrl-C does not reach it, with its output in a log. Returns its
/// pid.
pub(super) fn detached(mut command: Command, log: &Path) -> Result<u32> {
    let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("{command:?} cannot be run"))?;
    Ok(child.id())
}

pub(super) fn pause() {
    thread::sleep(Duration::from_millis(50));
}
