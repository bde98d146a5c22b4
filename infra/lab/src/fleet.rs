//! Processes of this very binary, a role each, with keys and logs in one folder: how the demo and the benches come by an
//! installation of several processes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::auth::SigningKey;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use vault::{OuterKey, read_or_create_key};

/// How long a process may take until it listens, until it is ready, and until it has stopped.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to say how it is.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// The name of the key that signs tokens.
const TOKEN_KEY: &str = "fleet";
const DATABASE: &str = "CARTULARY_DATABASE_URL";

/// What the processes of one installation have in common.
pub struct Fleet {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    /// Signs tokens that its processes believe.
    pub key: SigningKey,
}

/// One process.
pub struct Member {
    child: Child,
    /// Kept open, because whoever writes to a closed pipe ends.
    _out: BufReader<ChildStdout>,
    pub name: String,
    /// `http://host:port`, where it answers how it is, and serves if that is its role.
    pub url: String,
    /// What it wrote to standard error.
    pub log: PathBuf,
}

/// A program to which nothing is handed on of what is set for a person's own engine. It ends with whoever started it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("CARTULARY_")) {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Fleet {
    /// Makes the keys. The variables are settings of every process, `CARTULARY_DATABASE_URL` among them.
    pub fn new(folder: &Path, variables: Vec<(String, String)>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let fleet = Self {
            key: SigningKey::from_seed(TOKEN_KEY, *read_or_create_key(&folder.join("token.key"))?),
            folder: folder.to_owned(),
            variables,
        };
        fleet.outer_key()?;
        fs::write(folder.join("token.pub"), fleet.key.public_pem()?)?;
        Ok(fleet)
    }

    /// Where all of them find the log.
    pub fn database_url(&self) -> Result<&str> {
        let found = self.variables.iter().find(|(variable, _)| variable == DATABASE);
        Ok(found.with_context(|| format!("{DATABASE} is missing"))?.1.as_str())
    }

    /// The key that all of them share.
    pub fn outer_key(&self) -> Result<OuterKey> {
        OuterKey::from_file(&self.folder.join("outer.key"))
    }

    /// Starts a process (`serve --all`) and waits until it listens.
    pub async fn start(&self, role: &str, name: &str) -> Result<Member> {
        self.start_by(command(product()?), role, name, &[]).await
    }

    /// The same with a command line that ends with this binary, and with variables of this process alone.
    pub async fn start_by(
        &self,
        mut command: Command,
        role: &str,
        name: &str,
        variables: &[(&str, String)],
    ) -> Result<Member> {
        let log = self.folder.join(format!("{name}.log"));
        let token_key = format!("{TOKEN_KEY}={}", self.folder.join("token.pub").display());
        command.args(role.split(' ')).env("CARTULARY_OWNER", name).env("CARTULARY_LISTEN", "127.0.0.1:0");
        command.env("CARTULARY_TOKEN_KEYS", token_key).env("CARTULARY_OUTER_KEY_FILE", self.folder.join("outer.key"));
        command.envs(self.variables.iter().map(|(variable, value)| (variable, value)));
        command.envs(variables.iter().map(|(variable, value)| (*variable, value)));
        Member::start(command, name, log).await
    }

    /// Starts a process and waits until it is ready.
    pub async fn start_ready(&self, role: &str, name: &str) -> Result<Member> {
        let member = self.start(role, name).await?;
        member.ready().await?;
        Ok(member)
    }
}

impl Member {
    /// Starts a process and waits until it says where it listens.
    pub async fn start(mut command: Command, name: &str, log: PathBuf) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut out = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        timeout(LISTENS_WITHIN, out.read_line(&mut line))
            .await
            .with_context(|| format!("{name} does not listen"))??;
        let Some((_, address)) = line.trim().split_once(" on http://") else {
            bail!("{name} did not start: {line}{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Ok(Self { url: format!("http://{address}"), child, _out: out, name: name.to_owned(), log })
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        let begun = Instant::now();
        while self.get("/ready").await?.0 != 200 {
            if begun.elapsed() > READY_WITHIN {
                let (_, reason) = self.get("/reason").await?;
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} does not get ready: {reason}\n{log}", self.name);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Status and text of a page that needs no token.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        page(&format!("{}{path}", self.url)).await
    }

    /// The sum of a counter over all its labels.
    pub async fn counted(&self, figure: &str) -> Result<u64> {
        let (_, page) = self.get("/metrics").await?;
        let lines = page.lines().filter(|line| line.starts_with(figure));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Has the system tell it something, such as to stand still.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.with_context(|| self.ended("it has ended by itself"))?, signal)?)
    }

    /// Ends it without a chance to do anything.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status =
            timeout(STOPS_WITHIN, self.child.wait()).await.with_context(|| self.ended("it does not stop"))??;
        ensure!(status.success(), self.ended(&format!("it ended with {status}")));
        Ok(())
    }

    fn ended(&self, how: &str) -> String {
        format!("{}: {how}; its log says\n{}", self.name, fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// Status and text of a page that needs no token.
pub async fn page(url: &str) -> Result<(u16, String)> {
    let http: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let asked = async {
        let answer = http.get(url.parse()?).await?;
        let status = answer.status().as_u16();
        Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?))
    };
    timeout(ANSWERS_WITHIN, asked).await.with_context(|| format!("{url} does not answer"))?
}

/// Stops all of them, in their order; the first trouble is told when all were asked.
pub async fn stop(members: Vec<Member>) -> Result<()> {
    let mut stopped = Ok(());
    for member in members {
        stopped = stopped.and(member.stop().await);
    }
    stopped
}

/// The product's binary: `CARTULARY_BINARY`, or else `cartulary` in the folder of this program, or in the one above it
/// where this program is a test in `target/*/deps`.
pub fn product() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("CARTULARY_BINARY") {
        return Ok(set.into());
    }
    let here = std::env::current_exe()?.with_file_name("cartulary");
    let above = here.parent().and_then(|folder| Some(folder.parent()?.join("cartulary")));
    let found = [Some(here.clone()), above].into_iter().flatten().find(|path| path.exists());
    found.with_context(|| format!("{} is missing; build it with `cargo build -p cartulary`", here.display()))
}
