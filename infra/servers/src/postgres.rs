//! PostgreSQL with TCP and a password, as an operator would have it. It never runs as root, so root hands it over to
//! another user.

use std::{
    fmt::Write,
    fs::{self, DirBuilder, File, Permissions},
    io::Read,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::programs::{Install, is_root, of_postgres, quietly};
use crate::{Program, Secured, Server, launch};

/// Name of the role and of the database.
const NAME: &str = "cartulary";
/// Where data go when the server's user may not enter the clone.
const OUTSIDE: &str = "/var/lib/cartulary";

/// As whom the server runs: a uid and gid where we are root, ourselves otherwise.
type User = Option<(u32, u32)>;

/// The folder of `initdb` and `postgres`.
pub(super) fn programs(install: Option<Install>) -> Result<PathBuf> {
    if let (None, Some(install)) = (of_postgres(), install) {
        install("postgresql")?;
    }
    of_postgres()
        .context("PostgreSQL's server programs (initdb, postgres) are missing; `cargo xtask setup` installs them")
}

pub(super) fn start(folder: &Path, port: u16, install: Option<Install>, secured: Option<&Secured>) -> Result<Server> {
    let programs = programs(install)?;
    // What is on the path may be a link to one of them alone.
    let initdb = programs.join("initdb").canonicalize()?;
    let programs = initdb.parent().unwrap_or(&programs);
    let user = if is_root() { Some(system_user()?) } else { None };
    let data = home(folder, user)?.join("postgres");
    let password_file = folder.join("postgres.password");
    if !data.exists() {
        make(programs, &data, &password_file, user)?;
    }
    let password = fs::read_to_string(&password_file)?;
    let log = folder.join("postgres.log");
    let mut command = as_user(&programs.join("postgres"), user);
    command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100", "timezone=UTC"] {
        command.args(["-c", setting]);
    }
    let mut query = String::new();
    if let Some(Secured { identity, authority, .. }) = secured {
        let own = data.with_extension("pem");
        for_server_alone(&own, &fs::read(identity)?, user)?;
        for setting in ["ssl_cert_file", "ssl_key_file"] {
            command.args(["-c", "ssl=on", "-c", &format!("{setting}={}", own.display())]);
        }
        query = format!("?sslmode=verify-full&sslrootcert={}", authority.display());
    }
    Ok(Server {
        program: Program::Postgres,
        pid: launch::detached(command, &log)?,
        port,
        variable: "CARTULARY_DATABASE_URL".to_owned(),
        address: format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}{query}"),
        log: log.display().to_string(),
        known_by: data.display().to_string(),
    })
}

/// Makes the data under another name first, so that a killed attempt leaves nothing half made.
fn make(programs: &Path, data: &Path, password_file: &Path, user: User) -> Result<()> {
    let draft = data.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    DirBuilder::new().mode(0o700).create(&draft)?;
    let password = password()?;
    let told = draft.with_extension("told");
    for_server_alone(&told, password.as_bytes(), user)?;
    if let Some((uid, gid)) = user {
        chown(&draft, Some(uid), Some(gid))?;
    }
    let mut initdb = as_user(&programs.join("initdb"), user);
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--auth=scram-sha-256", "--username", NAME]);
    initdb.arg("--pwfile").arg(&told).arg("--pgdata").arg(&draft);
    quietly(initdb)?;
    fs::remove_file(&told)?;
    // Single-user mode needs neither a socket nor a client program.
    let mut database = as_user(Path::new("/bin/sh"), user);
    database.args(["-c", "echo \"CREATE DATABASE $2\" | \"$0\" --single -D \"$1\" postgres"]);
    quietly({
        database.arg(programs.join("postgres")).arg(&draft).arg(NAME);
        database
    })?;
    fs::write(password_file, password)?;
    fs::set_permissions(password_file, Permissions::from_mode(0o600))?;
    Ok(fs::rename(&draft, data)?)
}

/// Writes what nobody but the server's user may read.
fn for_server_alone(file: &Path, bytes: &[u8], user: User) -> Result<()> {
    fs::write(file, bytes)?;
    fs::set_permissions(file, Permissions::from_mode(0o600))?;
    if let Some((uid, gid)) = user {
        chown(file, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// The folder for the data: ours, or one outside where the server's user may not enter ours.
fn home(folder: &Path, user: User) -> Result<PathBuf> {
    let mut enter = as_user(Path::new("/bin/sh"), user);
    enter.args(["-c", "cd -- \"$1\" 2>/dev/null", "sh"]).arg(folder);
    if enter.status()?.success() {
        return Ok(folder.to_owned());
    }
    let outside = Path::new(OUTSIDE).join(folder.display().to_string().replace('/', "-"));
    fs::create_dir_all(&outside)?;
    Ok(outside)
}

fn as_user(program: &Path, user: User) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
        command.env_remove(name);
    }
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// `postgres` where the system has that user, otherwise `nobody`.
fn system_user() -> Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    for name in ["postgres", "nobody"] {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
        if let [_, _, uid, gid, ..] = line.unwrap_or_default().split(':').collect::<Vec<_>>()[..] {
            return Ok((uid.parse()?, gid.parse()?));
        }
    }
    bail!("PostgreSQL does not run as root, and neither `postgres` nor `nobody` is a user here")
}

fn password() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
