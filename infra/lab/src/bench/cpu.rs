//! Processor time: what a command costs, however busy the machine is with other things.

use std::fs;
use std::time::Duration;

/// Processor time that was used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) engine: Duration,
    pub(super) server: Duration,
}

impl Cpu {
    /// Reads the clocks of this process and of a server with all its children; nothing where the system does not
    /// tell.
    pub(super) fn read(server: Option<u32>) -> Self {
        let own = std::process::id();
        let mut read = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Some(process) = Process::read(pid) else { continue };
            if pid == own {
                read.engine += process.used;
            } else if server == Some(pid) {
                read.server += process.used + process.ended_children;
            } else if server == Some(process.parent) {
                read.server += process.used;
            }
        }
        read
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self { engine: self.engine.saturating_sub(earlier.engine), server: self.server.saturating_sub(earlier.server) }
    }

    /// What one of so many commands took.
    pub(super) fn shared_by(self, commands: f64) -> Self {
        let share = |used: Duration| Duration::from_secs_f64(used.as_secs_f64() / commands.max(1.0));
        Self { engine: share(self.engine), server: share(self.server) }
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
        // The second field is a name in brackets that may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let ticks = |first: usize| Some(Duration::from_millis((number(first)? + number(first + 1)?) * MS_PER_TICK));
        Some(Self { parent: number(1)?.try_into().ok()?, used: ticks(11)?, ended_children: ticks(13)? })
    }
}

/// Linux counts in hundredths of a second, whatever the machine.
const MS_PER_TICK: u64 = 10;
