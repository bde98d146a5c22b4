//! CPU time of this process and of the database server. Unlike elapsed time, it hardly depends on other load.

use std::fs;
use std::time::Duration;

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) engine: Duration,
    pub(super) server: Duration,
}

impl Cpu {
    /// Reads the CPU time of this process, and of the server with this pid and its child processes. Zero on systems without
    /// `/proc`.
    pub(super) fn read(server_pid: Option<u32>) -> Self {
        let own = std::process::id();
        let mut read = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Some(process) = Process::read(pid) else { continue };
            if pid == own {
                read.engine += process.used;
            } else if server_pid == Some(pid) {
                read.server += process.used + process.ended_children;
            } else if server_pid == Some(process.parent) {
                read.server += process.used;
            }
        }
        read
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self { engine: self.engine.saturating_sub(earlier.engine), server: self.server.saturating_sub(earlier.server) }
    }

    /// CPU time per command.
    pub(super) fn per_command(self, commands: f64) -> Self {
        let divided = |used: Duration| Duration::from_secs_f64(used.as_secs_f64() / commands.max(1.0));
        Self { engine: divided(self.engine), server: divided(self.server) }
    }
}

struct Process {
    parent: u32,
    used: Duration,
    ended_children: Duration,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may contain spaces and parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = |first: usize| Some(Duration::from_millis((number(first)? + number(first + 1)?) * MS_PER_TICK));
        Some(Self { parent: number(1)?.try_into().ok()?, used: ticks(11)?, ended_children: ticks(13)? })
    }
}

/// Linux reports CPU time in hundredths of a second on every machine.
const MS_PER_TICK: u64 = 10;
