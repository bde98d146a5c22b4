//! PostgreSQL with TCP and a password. It refuses to run as root, so root starts it as another user.

use std::{
    fmt::Write,
    fs::{self, DirBuilder, File, Permissions},
    io::{Read, Write as _},
    net::Ipv4Addr,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::programs::{Install, is_root, postgres_folder, run_quietly};
use crate::{Instance, Program, Secured, Server, launch};

/// Name of the role and of the database.
const NAME: &str = "cartulary";
/// Folder for data if the server's user has no access to the given folder.
const OUTSIDE: &str = "/var/lib/cartulary";

/// Line of `pg_hba.conf` that accepts passwords from the server's own network. The default accepts loopback only.
const NETWORK: &str = "host all all samenet scram-sha-256\n";

/// User of the server: a uid and gid if this process is root, otherwise its own user.
type User = Option<(u32, u32)>;

/// Folder of `initdb` and `postgres`.
pub(super) fn programs(install: Option<Install>) -> Result<PathBuf> {
    if let (None, Some(install)) = (postgres_folder(), install) {
        install("postgresql")?;
    }
    postgres_folder()
        .context("PostgreSQL's server programs (initdb, postgres) are missing; `cargo xtask setup` installs them")
}

pub(super) fn start(instance: &Instance<'_>, install: Option<Install>) -> Result<Server> {
    let &Instance { folder, host, port, secured } = instance;
    let programs = programs(install)?;
    // `PATH` may have a link to `initdb` only.
    let initdb = programs.join("initdb").canonicalize()?;
    let programs = initdb.parent().unwrap_or(&programs);
    let user = if is_root() { Some(system_user()?) } else { None };
    let data = home(folder, user)?.join("postgres");
    let password_file = folder.join("postgres.password");
    if !data.exists() {
        create(programs, &data, &password_file, user, host)?;
    }
    let password = fs::read_to_string(&password_file)?;
    let log = folder.join("postgres.log");
    let mut command = as_user(&programs.join("postgres"), user);
    command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
    let listen = format!("listen_addresses={host}");
    for setting in [listen.as_str(), "unix_socket_directories=", "max_connections=100", "timezone=UTC"] {
        command.args(["-c", setting]);
    }
    let mut query = String::new();
    if let Some(Secured { identity, authority, .. }) = secured {
        let own = data.with_extension("pem");
        write_private(&own, &fs::read(identity)?, user)?;
        for setting in ["ssl_cert_file", "ssl_key_file"] {
            command.args(["-c", "ssl=on", "-c", &format!("{setting}={}", own.display())]);
        }
        query = format!("?sslmode=verify-full&sslrootcert={}", authority.display());
    }
    Ok(Server {
        program: Program::Postgres,
        pid: launch::detached(command, &log)?,
        host,
        port,
        variable: "CARTULARY_DATABASE_URL".to_owned(),
        address: format!("postgres://{NAME}:{password}@{host}:{port}/{NAME}{query}"),
        log: log.display().to_string(),
        known_by: data.display().to_string(),
    })
}

/// Creates the database in a draft folder that is renamed when complete, so that an interruption leaves nothing behind.
fn create(programs: &Path, data: &Path, password_file: &Path, user: User, host: Ipv4Addr) -> Result<()> {
    let draft = data.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    DirBuilder::new().mode(0o700).create(&draft)?;
    let password = password()?;
    let password_draft = draft.with_extension("password");
    write_private(&password_draft, password.as_bytes(), user)?;
    if let Some((uid, gid)) = user {
        chown(&draft, Some(uid), Some(gid))?;
    }
    let mut initdb = as_user(&programs.join("initdb"), user);
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--auth=scram-sha-256", "--username", NAME]);
    initdb.arg("--pwfile").arg(&password_draft).arg("--pgdata").arg(&draft);
    run_quietly(initdb)?;
    fs::remove_file(&password_draft)?;
    if !host.is_loopback() {
        File::options().append(true).open(draft.join("pg_hba.conf"))?.write_all(NETWORK.as_bytes())?;
    }
    // Single-user mode needs neither a socket nor a client program.
    let mut database = as_user(Path::new("/bin/sh"), user);
    database.args(["-c", "echo \"CREATE DATABASE $2\" | \"$0\" --single -D \"$1\" postgres"]);
    run_quietly({
        database.arg(programs.join("postgres")).arg(&draft).arg(NAME);
        database
    })?;
    fs::write(password_file, password)?;
    fs::set_permissions(password_file, Permissions::from_mode(0o600))?;
    Ok(fs::rename(&draft, data)?)
}

/// Writes a file that only the server's user can read.
fn write_private(file: &Path, bytes: &[u8], user: User) -> Result<()> {
    fs::write(file, bytes)?;
    fs::set_permissions(file, Permissions::from_mode(0o600))?;
    if let Some((uid, gid)) = user {
        chown(file, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Folder for the data: the given one, or one below [`OUTSIDE`] if the server's user has no access to it.
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

/// The system's user `postgres`, or else `nobody`.
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
