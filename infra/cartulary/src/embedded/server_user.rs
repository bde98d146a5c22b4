//! The operating system user of the server: PostgreSQL refuses to run as root.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use tokio::process::Command;

/// The user of the server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerUser {
    Ourselves,
    User { uid: u32, gid: u32 },
}

impl ServerUser {
    /// The user for a data folder: its owner, or for a new folder ourselves or, if we are root, a user of the system.
    pub(super) fn for_data(data: &Path) -> Result<Self> {
        let owner = data.metadata().ok().map(|found| (found.uid(), found.gid()));
        match (geteuid().is_root(), owner) {
            (true, Some((uid, gid))) if uid != 0 => Ok(Self::User { uid, gid }),
            (true, _) => system_user(&fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?)
                .context("PostgreSQL does not run as root, and neither `postgres` nor `nobody` is a user here"),
            (false, Some((uid, _))) if uid != geteuid().as_raw() => bail!(
                "the database in {} belongs to another user (uid {uid}), because it was made as root; \
                 run as root again, or move it away",
                data.display()
            ),
            (false, _) => Ok(Self::Ourselves),
        }
    }

    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Ourselves => geteuid().as_raw(),
            Self::User { uid, .. } => uid,
        }
    }

    /// A command that runs a program as this user. The program gets a process group of its own, so that Ctrl-C does not
    /// end it, and none of our variables that configure PostgreSQL.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C").process_group(0);
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ", "PGCLIENTENCODING"] {
            command.env_remove(name);
        }
        if let Self::User { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// True if this user may enter a folder. A shell that runs as this user tries it, because access may depend on more
    /// than the mode of the folder.
    pub(super) async fn may_enter(self, folder: &Path) -> Result<bool> {
        let Self::User { .. } = self else { return Ok(true) };
        let tried = self.command("/bin/sh").args(["-c", "cd -- \"$1\" 2>/dev/null", "sh"]).arg(folder).status().await;
        Ok(tried.context("/bin/sh cannot be run")?.success())
    }

    /// Makes this user the owner of a folder.
    pub(super) fn take_ownership(self, folder: &Path) -> io::Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::User { uid, gid } => lchown(folder, Some(uid), Some(gid)),
        }
    }
}

/// `postgres` where the system has that user, otherwise `nobody`.
fn system_user(passwd: &str) -> Option<ServerUser> {
    ["postgres", "nobody"].into_iter().find_map(|name| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let named = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            named.then_some(ServerUser::User { uid, gid })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_runs_the_server_as_postgres_or_else_as_nobody() {
        let nobody = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(system_user(nobody), Some(ServerUser::User { uid: 65534, gid: 65533 }));
        let both = format!("{nobody}postgres:x:101:104::/var/lib/postgresql:/bin/bash\n");
        assert_eq!(system_user(&both), Some(ServerUser::User { uid: 101, gid: 104 }));
        assert_eq!(system_user("root:x:0:0:root:/root:/bin/bash\n"), None);
    }
}
