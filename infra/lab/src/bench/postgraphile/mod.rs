//! PostGraphile 5, installed from npm and started as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// Folder of the installed packages, below the present one.
const FOLDER: &str = ".cartulary/postgraphile";
/// Node and PostGraphile, in the versions that are measured.
const PACKAGES: &str = include_str!("package.json");
const SERVER: &str = include_str!("server.mjs");

/// A running PostGraphile, which is killed when it is dropped.
pub(super) struct PostGraphile {
    _process: Child,
    pub(super) address: SocketAddr,
}

impl PostGraphile {
    /// Installs the packages unless they are there, and starts the server on a database.
    pub(super) async fn start(database_url: &str) -> Result<Self> {
        let folder = Path::new(FOLDER);
        install(folder).await?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let mut process = Command::new(folder.join("node_modules/.bin/node").canonicalize()?)
            .args(["server.mjs", database_url, &free.port().to_string()])
            .current_dir(folder)
            .envs([("NODE_ENV", "production"), ("GRAPHILE_ENV", "production")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start node")?;
        let output = process.stdout.take().context("node has no output")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            if line == "ready" {
                return Ok(Self { _process: process, address: free });
            }
        }
        anyhow::bail!("PostGraphile ended before it was ready")
    }
}

async fn install(folder: &Path) -> Result<()> {
    let packages = folder.join("package.json");
    let is_installed = std::fs::read_to_string(&packages).is_ok_and(|known| known == PACKAGES)
        && folder.join("node_modules/postgraphile").exists();
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("server.mjs"), SERVER)?;
    if is_installed {
        return Ok(());
    }
    std::fs::write(&packages, PACKAGES)?;
    let arguments = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    let npm = Command::new("npm").args(arguments).current_dir(folder).stdout(Stdio::null()).status().await;
    ensure!(npm.context("npm is needed to install PostGraphile")?.success(), "npm could not install PostGraphile");
    Ok(())
}
