//! Process fleet: processes of the product binary, one role each, with keys and logs in one folder. The demo, the
//! benchmarks and the fault scenarios run deployments of several processes with it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::auth::SigningKey;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};
use vault::{MonitorToken, OuterKey, read_or_create_key};

/// Time limits for a process to listen, to become ready and to stop.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for the answer to one HTTP request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of the key that signs tokens.
const TOKEN_KEY: &str = "fleet";
const DATABASE: &str = "CARTULARY_DATABASE_URL";

/// Settings, keys and folder that the processes of one deployment share.
pub struct Fleet {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    /// Signs tokens that the processes accept.
    pub key: SigningKey,
}

/// One running process of the product. It is killed when this value is dropped.
pub struct EngineProcess {
    child: Child,
    /// Kept open, because a process that writes to a closed pipe is terminated.
    _out: BufReader<ChildStdout>,
    pub name: String,
    /// `http://host:port`: health and metrics endpoints of every role, and the API of `serve`.
    pub url: String,
    /// File with its standard error.
    pub log: PathBuf,
    /// Token for its reasons and metrics.
    monitor: MonitorToken,
}

/// A page of a process that operators read.
pub struct Page {
    url: String,
    monitor: MonitorToken,
}

/// A command without the CARTULARY_* variables of this process, which may configure a developer's own engine. The child
/// is killed when its handle is dropped.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("CARTULARY_")) {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Fleet {
    /// Creates the folder and the keys. The variables are settings of every process and include
    /// `CARTULARY_DATABASE_URL`.
    pub fn new(folder: &Path, variables: Vec<(String, String)>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        let fleet = Self {
            key: SigningKey::from_seed(TOKEN_KEY, *read_or_create_key(&folder.join("token.key"))?),
            folder: folder.to_owned(),
            variables,
        };
        fleet.outer_key()?;
        fs::write(folder.join("token.pub"), fleet.key.public_pem()?)?;
        Ok(fleet)
    }

    /// URL of the database that holds the log.
    pub fn database_url(&self) -> Result<&str> {
        let entry = self.variables.iter().find(|(variable, _)| variable == DATABASE);
        Ok(entry.with_context(|| format!("{DATABASE} is missing"))?.1.as_str())
    }

    /// The outer key that all processes share.
    pub fn outer_key(&self) -> Result<OuterKey> {
        OuterKey::from_file(&self.folder.join("outer.key"))
    }

    /// Starts a process with this subcommand, such as `serve --all`, and waits until it listens.
    pub async fn start(&self, role: &str, name: &str) -> Result<EngineProcess> {
        self.start_command(command(product()?), role, name, &[]).await
    }

    /// Starts a process by a command line that ends with the product binary, with additional variables for this
    /// process.
    pub async fn start_command(
        &self,
        mut command: Command,
        role: &str,
        name: &str,
        variables: &[(&str, String)],
    ) -> Result<EngineProcess> {
        let log = self.folder.join(format!("{name}.log"));
        let token_key = format!("{TOKEN_KEY}={}", self.folder.join("token.pub").display());
        command.args(role.split(' ')).env("CARTULARY_OWNER", name).env("CARTULARY_LISTEN", "127.0.0.1:0");
        command.env("CARTULARY_TOKEN_KEYS", token_key).env("CARTULARY_OUTER_KEY_FILE", self.folder.join("outer.key"));
        command.envs(self.variables.iter().map(|(variable, value)| (variable, value)));
        command.envs(variables.iter().map(|(variable, value)| (*variable, value)));
        EngineProcess::start(command, name, log).await
    }

    /// Starts a process and waits until it is ready.
    pub async fn start_ready(&self, role: &str, name: &str) -> Result<EngineProcess> {
        let process = self.start(role, name).await?;
        process.ready().await?;
        Ok(process)
    }
}

impl EngineProcess {
    /// Starts a process and waits until it prints the address on which it listens.
    pub async fn start(mut command: Command, name: &str, log: PathBuf) -> Result<Self> {
        let monitor = MonitorToken::new(&outer_key_of(&command)?);
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut out = BufReader::new(child.stdout.take().context("standard output is not piped")?);
        let mut line = String::new();
        timeout(LISTEN_TIMEOUT, out.read_line(&mut line))
            .await
            .with_context(|| format!("{name} did not print its address in time"))??;
        let Some((_, address)) = line.trim().split_once(" on http://") else {
            bail!("{name} did not start: {line}{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Ok(Self { url: format!("http://{address}"), child, _out: out, name: name.to_owned(), log, monitor })
    }

    /// Waits until `/ready` answers 200.
    pub async fn ready(&self) -> Result<()> {
        let begun = Instant::now();
        while self.get("/ready").await?.0 != 200 {
            if begun.elapsed() > READY_TIMEOUT {
                let (_, reason) = self.get("/reason").await?;
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} is not ready in time: {reason}\n{log}", self.name);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Status and body of a page that operators read.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.page(path).read().await
    }

    /// A page that operators read, to be fetched elsewhere.
    pub fn page(&self, path: &str) -> Page {
        Page { url: format!("{}{path}", self.url), monitor: self.monitor.clone() }
    }

    /// Sum of a metric over all its labels.
    pub async fn metric_sum(&self, metric: &str) -> Result<u64> {
        let (_, page) = self.get("/metrics").await?;
        let lines = page.lines().filter(|line| line.starts_with(metric));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends the process a signal, such as `SIGSTOP`.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.with_context(|| self.failure("it has ended already"))?, signal)?)
    }

    /// Kills the process with `SIGKILL`.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// Stops the process with `SIGTERM` and waits until it has ended. An exit code other than 0 is an error.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .with_context(|| self.failure("it did not stop in time"))??;
        ensure!(status.success(), self.failure(&format!("it ended with {status}")));
        Ok(())
    }

    fn failure(&self, how: &str) -> String {
        format!("{}: {how}; its log:\n{}", self.name, fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Page {
    /// Status and body.
    pub async fn read(&self) -> Result<(u16, String)> {
        let http: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = async {
            let token = format!("Bearer {}", self.monitor.text());
            let answer = http.request(Request::get(&self.url).header(AUTHORIZATION, token).body(Empty::new())?).await?;
            let status = answer.status().as_u16();
            Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?))
        };
        timeout(ANSWER_TIMEOUT, request).await.with_context(|| format!("{} did not answer in time", self.url))?
    }
}

/// The outer key that a command line gives its process.
fn outer_key_of(command: &Command) -> Result<OuterKey> {
    let mut variables = command.as_std().get_envs();
    let file = variables.find_map(|(name, value)| value.filter(|_| name == "CARTULARY_OUTER_KEY_FILE"));
    OuterKey::from_file(Path::new(file.context("the process has no outer key")?))
}

/// Stops all processes one after the other, also after an error. Returns the first error.
pub async fn stop_all(processes: Vec<EngineProcess>) -> Result<()> {
    let mut stopped = Ok(());
    for process in processes {
        stopped = stopped.and(process.stop().await);
    }
    stopped
}

/// Path of the product binary: `CARTULARY_BINARY`, or else `cartulary` in the folder of this program or, where this
/// program is a test in `target/*/deps`, in the folder above.
pub fn product() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("CARTULARY_BINARY") {
        return Ok(set.into());
    }
    let here = std::env::current_exe()?.with_file_name("cartulary");
    let above = here.parent().and_then(|folder| Some(folder.parent()?.join("cartulary")));
    let existing = [Some(here.clone()), above].into_iter().flatten().find(|path| path.exists());
    existing.with_context(|| format!("{} is missing; build it with `cargo build -p cartulary`", here.display()))
}
