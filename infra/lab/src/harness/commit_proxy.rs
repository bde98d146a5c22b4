//! Proxy between the engine and PostgreSQL that closes connections before or after a commit, or delays commits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Treatment of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// Forwards the commit.
    Pass,
    /// Forwards the commit and closes the connection at once, so that the client gets no answer.
    CutAtOnce,
    /// Forwards the commit, waits for the answer of the server, and closes the connection without forwarding the answer.
    CutAfterAnswer,
    /// Closes the connection without forwarding the commit.
    CutBefore,
    /// Forwards the commit when [`CommitProxy::release`] is called.
    Hold,
}

/// Proxy of a unix socket. It counts commits, from 1, and asks for the fate of each.
pub struct CommitProxy {
    folder: PathBuf,
    /// URL of the database through the proxy.
    pub url: String,
    rules: Arc<Rules>,
    accepting: JoinHandle<()>,
}

struct Rules {
    fate: Box<dyn Fn(u64) -> CommitFate + Send + Sync>,
    commits: AtomicU64,
    held: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl CommitProxy {
    /// Listens on a new socket. `fate` is called with the number of each commit.
    pub fn start(url: &str, fate: impl Fn(u64) -> CommitFate + Send + Sync + 'static) -> Result<Self> {
        let sockets = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).context("a socket folder")?;
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-cut-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432"))?;
        let server = Path::new(sockets).join(".s.PGSQL.5432");
        let (held, released) = (watch::Sender::new(0), watch::Sender::new(false));
        let rules = Arc::new(Rules { fate: Box::new(fate), commits: 0.into(), held, released });
        let known = url.replace(sockets, &folder.display().to_string());
        let shared = rules.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, rules) = (server.clone(), shared.clone());
                // An error here is a closed connection, which tests cause on purpose.
                tokio::spawn(async move { relay(client, &server, &rules).await.ok() });
            }
        });
        Ok(Self { folder, url: known, rules, accepting })
    }

    /// Forwards all commits that are held, and every later one that would be held.
    pub fn release(&self) {
        self.rules.released.send_replace(true);
    }

    /// Waits until this many commits are held.
    pub async fn held(&self, count: u64) -> Result<()> {
        self.rules.held.subscribe().wait_for(|held| *held == count).await?;
        Ok(())
    }

    /// Number of commits that the proxy has received.
    pub fn commits(&self) -> u64 {
        self.rules.commits.load(Ordering::SeqCst)
    }
}

impl Drop for CommitProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Serves one connection until either side closes it or a commit is cut.
async fn relay(client: UnixStream, server: &Path, rules: &Rules) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = UnixStream::connect(server).await?.into_split();
    let (cut, was_cut) = watch::channel(CommitFate::Pass);
    tokio::select! {
        requests = forward_requests(from_client, to_server, rules, &cut) => requests,
        answers = forward_answers(from_server, to_client, was_cut) => answers,
    }
}

/// Forwards the messages of the client in groups up to Sync. The first message of the protocol has no type byte; each
/// later one has a type byte and a length.
async fn forward_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    rules: &Rules,
    cut: &watch::Sender<CommitFate>,
) -> Result<()> {
    let mut commits: Vec<Vec<u8>> = Vec::new();
    let mut is_commit = false;
    let length = client.read_u32().await?;
    let mut first = vec![0; (length as usize).saturating_sub(4)];
    client.read_exact(&mut first).await?;
    server.write_all(&[length.to_be_bytes().as_slice(), &first].concat()).await?;
    let mut group = Vec::new();
    loop {
        let kind = client.read_u8().await?;
        let length = client.read_u32().await?;
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        client.read_exact(&mut body).await?;
        match kind {
            // Parse: name of the statement, then its text. The text of a commit contains this comment.
            b'P' if contains(&body, b"writes one batch") => commits.push(until_zero(&body).to_vec()),
            // Bind: name of the portal, then name of the statement.
            b'B' => {
                let name = until_zero(&body[until_zero(&body).len() + 1..]);
                is_commit = commits.iter().any(|commit| commit == name);
            }
            _ => {}
        }
        group.push(kind);
        group.extend(length.to_be_bytes());
        group.extend(body);
        // A group ends with Sync, or is a message that stands alone, such as Terminate.
        if !matches!(kind, b'S' | b'X' | b'p' | b'Q' | b'H' | b'd' | b'c' | b'f') {
            continue;
        }
        let group = std::mem::take(&mut group);
        if !std::mem::take(&mut is_commit) {
            server.write_all(&group).await?;
            continue;
        }
        let number = rules.commits.fetch_add(1, Ordering::SeqCst) + 1;
        let fate = (rules.fate)(number);
        match fate {
            CommitFate::Pass => {}
            CommitFate::CutBefore => return Ok(()),
            CommitFate::CutAtOnce | CommitFate::CutAfterAnswer => _ = cut.send_replace(fate),
            CommitFate::Hold => {
                rules.held.send_modify(|held| *held += 1);
                rules.released.subscribe().wait_for(|released| *released).await?;
            }
        }
        server.write_all(&group).await?;
        if fate == CommitFate::CutAtOnce {
            return Ok(());
        }
    }
}

async fn forward_answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    cut: watch::Receiver<CommitFate>,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = server.read(&mut bytes).await?;
        if count == 0 || *cut.borrow() != CommitFate::Pass {
            return Ok(());
        }
        client.write_all(&bytes[..count]).await?;
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}
