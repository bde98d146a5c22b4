//! The embedded PostgreSQL: durable settings, clean starts after kills, and clear errors.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
    process::{self, Command},
};

use anyhow::{Context, Result};
use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};
use sqlx::{Connection, Executor, PgConnection};

/// A project folder that leaves nothing behind.
struct Project {
    folder: PathBuf,
}

impl Project {
    fn new(name: &str) -> Result<Self> {
        let folder = env::temp_dir().join(format!("cartulary-test-{name}-{}", process::id()));
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    fn settings(&self) -> EmbeddedSettings {
        EmbeddedSettings { project: self.folder.clone(), binaries: None }
    }

    async fn start(&self) -> Result<EmbeddedServer> {
        EmbeddedServer::start(&self.settings()).await
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status()?;
    anyhow::ensure!(status.success(), "process {pid} could not be sent {name}");
    Ok(())
}

async fn answer(server: &EmbeddedServer, question: &str) -> Result<String> {
    let mut connection = PgConnection::connect(&server.url()).await?;
    let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(answer)
}

async fn write_a_note(server: &EmbeddedServer) -> Result<()> {
    let mut connection = PgConnection::connect(&server.url()).await?;
    connection.execute("CREATE TABLE note (text text); INSERT INTO note VALUES ('kept')").await?;
    Ok(connection.close().await?)
}

#[tokio::test]
async fn server_is_durable_private_and_keeps_its_data() -> Result<()> {
    let project = Project::new("keeps")?;
    let server = project.start().await?;
    for (setting, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
    ] {
        assert_eq!(answer(&server, &format!("SHOW {setting}")).await?, value, "{setting}");
    }
    assert_eq!(fs::metadata(server.sockets())?.mode() & 0o777, 0o700);
    write_a_note(&server).await?;
    server.stop().await?;

    let again = project.start().await?;
    assert_eq!(answer(&again, "SELECT text FROM note").await?, "kept");
    again.stop().await
}

#[tokio::test]
async fn killed_server_keeps_what_it_acknowledged() -> Result<()> {
    let project = Project::new("killed")?;
    let mut server = project.start().await?;
    write_a_note(&server).await?;
    signal("KILL", server.pid().context("it runs")?)?;
    assert!(!server.exited().await?.success());
    assert!(server.data().join("postmaster.pid").exists(), "the pid file is left behind");
    assert!(server.sockets().join(".s.PGSQL.5432").exists(), "the socket is left behind");
    drop(server);

    let again = project.start().await?;
    assert_eq!(answer(&again, "SELECT text FROM note").await?, "kept");
    again.stop().await
}

#[tokio::test]
async fn pid_file_of_an_unrelated_process_does_not_block_a_start() -> Result<()> {
    let project = Project::new("stranger")?;
    let server = project.start().await?;
    let (data, sockets) = (server.data(), server.sockets().to_owned());
    server.stop().await?;
    let stranger = process::id();
    fs::write(data.join("postmaster.pid"), format!("{stranger}\n{}\n1\n5432\n\n\n0 0\nready\n", data.display()))?;
    fs::create_dir(&sockets)?;
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o700))?;
    let owner = fs::metadata(&data)?;
    chown(&sockets, Some(owner.uid()), Some(owner.gid()))?;
    fs::write(sockets.join(".s.PGSQL.5432"), "")?;
    fs::write(sockets.join(".s.PGSQL.5432.lock"), format!("{stranger}\n{}\n", data.display()))?;

    project.start().await?.stop().await
}

#[tokio::test]
async fn unfinished_data_folder_is_made_again() -> Result<()> {
    let project = Project::new("half")?;
    fs::create_dir_all(project.folder.join(".cartulary/postgres.draft/base"))?;
    fs::set_permissions(project.folder.join(".cartulary"), fs::Permissions::from_mode(0o755))?;
    project.start().await?.stop().await
}

#[tokio::test]
async fn second_server_on_one_project_is_refused_with_the_folder() -> Result<()> {
    let project = Project::new("two")?;
    let first = project.start().await?;
    let refused = project.start().await.expect_err("the first one runs");
    assert!(refused.to_string().starts_with("another cartulary is running on the database in "), "{refused}");
    first.stop().await
}

#[tokio::test]
async fn missing_programs_are_reported_with_the_command_that_installs_them() -> Result<()> {
    let project = Project::new("missing")?;
    let settings = EmbeddedSettings { binaries: Some("/nowhere".into()), ..project.settings() };
    let refused = EmbeddedServer::start(&settings).await.expect_err("there is nothing");
    let install = if cfg!(target_os = "macos") { "brew install postgresql@16" } else { "apt-get install postgresql" };
    assert_eq!(
        refused.to_string(),
        format!("there is no PostgreSQL 15 or newer in /nowhere; install it with `{install}`")
    );
    Ok(())
}

#[tokio::test]
async fn data_are_kept_outside_a_project_folder_that_postgres_may_not_enter() -> Result<()> {
    let project = Project::new("closed")?;
    fs::set_permissions(&project.folder, fs::Permissions::from_mode(0o700))?;
    let server = project.start().await?;
    let (data, runs_as_us) =
        (server.data(), fs::metadata(server.data())?.uid() == fs::metadata(&project.folder)?.uid());
    server.stop().await?;
    if runs_as_us {
        assert!(data.starts_with(project.folder.canonicalize()?));
    } else {
        assert!(data.starts_with("/var/lib/cartulary"));
        fs::remove_dir_all(data.parent().context("the home of the data")?)?;
    }
    Ok(())
}
