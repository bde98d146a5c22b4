//! The folders of the server's files and of its socket, and their access rights.

use std::{
    env,
    fmt::Write,
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::geteuid;

use super::orphan;
use super::server_user::ServerUser;

/// Parent folder of the data if the server's user may not enter the project.
const OUTSIDE: &str = "/var/lib/cartulary";

/// Longest path of the parent folder of the socket folder, in bytes. A socket's path may have 103 bytes on every
/// system; ours adds up to 45 bytes to that of the parent.
const RUNTIME_FOLDER_BYTES_MOST: usize = 58;

/// Files of one server, locked until this value is dropped.
#[derive(Debug)]
pub(super) struct Home {
    folder: PathBuf,
    /// The folder of the socket; its name is the same at every start.
    pub(super) sockets: PathBuf,
    pub(super) user: ServerUser,
    _lock: File,
}

impl Home {
    /// Chooses the folder and the user of a project's server, and locks the folder.
    pub(super) async fn open(project: &Path) -> Result<Self> {
        let project = project.canonicalize().with_context(|| format!("{} is no folder", project.display()))?;
        let mut folder = project.join(".cartulary");
        make_open_folder(&folder)?;
        let mut user = ServerUser::for_data(&folder.join("postgres"))?;
        if !user.may_enter(&folder).await? {
            make_open_folder(Path::new(OUTSIDE))?;
            folder = Path::new(OUTSIDE).join(short_hash(&project));
            make_open_folder(&folder)?;
            user = ServerUser::for_data(&folder.join("postgres"))?;
        }
        let lock = lock(&folder)?;
        let sockets = socket_folder(&folder);
        Ok(Self { folder, sockets, user, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    pub(super) fn make_socket_folder(&self) -> Result<()> {
        match make_private_folder(&self.sockets, self.user) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_socket_folder(&self.sockets, self.user),
            Err(error) => Err(error).with_context(|| format!("{} cannot be made", self.sockets.display())),
        }
    }

    /// Major version of PostgreSQL that created the data, if there are any.
    pub(super) fn made_by(&self) -> Result<Option<u32>> {
        let file = self.data().join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().parse().with_context(|| format!("{} is damaged", file.display()))?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    /// Creates an empty folder of the server's user, in which the data are created before they are moved to their
    /// place.
    pub(super) fn make_draft(&self) -> Result<PathBuf> {
        let draft = self.folder.join("postgres.draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).with_context(|| format!("{} cannot be removed", draft.display()))?;
        }
        make_private_folder(&draft, self.user).with_context(|| format!("{} cannot be made", draft.display()))?;
        Ok(draft)
    }

    /// Moves complete data from the draft to their place. The flush makes the move durable.
    pub(super) fn keep_draft(&self, draft: &Path) -> Result<()> {
        fs::rename(draft, self.data())?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// Moves the log of the previous run aside.
    pub(super) fn keep_previous_log(&self) -> Result<()> {
        if self.log().exists() {
            fs::rename(self.log(), self.folder.join("postgres.previous.log"))?;
        }
        Ok(())
    }

    /// Creates an empty log file.
    pub(super) fn empty_log(&self) -> Result<File> {
        File::create(self.log()).with_context(|| format!("{} cannot be written", self.log().display()))
    }

    /// The last lines of the log, for an error message.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// The folder that contains, or would contain, the data and keys of a project.
pub fn folder_of(project: &Path) -> PathBuf {
    let inside = project.join(".cartulary");
    let outside = project.canonicalize().map(|project| Path::new(OUTSIDE).join(short_hash(&project)));
    match outside {
        Ok(outside) if outside.join("postgres").exists() && !inside.join("postgres").exists() => outside,
        _ => inside,
    }
}

/// Deletes data, logs and keys of a project. Fails while another process runs the server of the project.
pub async fn erase(project: &Path) -> Result<()> {
    let home = Home::open(project).await?;
    orphan::clear(&home.data(), &home.sockets).await?;
    for folder in [home.folder.clone(), project.join(".cartulary")] {
        for name in
            ["postgres", "postgres.draft", "postgres.log", "postgres.previous.log", "outer.key", "token.key", "env"]
        {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be deleted", path.display()))
        }
        _ => Ok(()),
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another cartulary is running on the database in {}; stop it first", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

/// Creates a folder that the server's user can pass through, whatever the umask is.
fn make_open_folder(folder: &Path) -> Result<()> {
    let made = match fs::create_dir(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.with_context(|| format!("the folder {} cannot be made", folder.display()))
}

fn make_private_folder(folder: &Path, user: ServerUser) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    user.take_ownership(folder)
}

/// The folder of the socket. A socket's path is limited to about 100 bytes, so the folder is not in the project, whose
/// path may be longer.
fn socket_folder(home: &Path) -> PathBuf {
    let parent = match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        _ if geteuid().is_root() && Path::new("/run").is_dir() => PathBuf::from("/run"),
        Some(own) if own.is_absolute() && own.is_dir() && own.as_os_str().len() <= RUNTIME_FOLDER_BYTES_MOST => own,
        _ => PathBuf::from("/tmp"),
    };
    parent.join(format!("cartulary-{}", short_hash(home)))
}

/// Refuses a folder that is not private to the server's user: in `/tmp`, any user could have created it for a server of
/// theirs.
fn check_socket_folder(folder: &Path, user: ServerUser) -> Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user.uid() || found.mode() & 0o077 != 0 {
        bail!("{} is not private to the server's user (uid {}); remove it", folder.display(), user.uid());
    }
    Ok(())
}

/// A digest of a path, in 16 hexadecimal digits.
fn short_hash(path: &Path) -> String {
    let digest = digest(&SHA256, path.as_os_str().as_bytes());
    digest.as_ref()[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
