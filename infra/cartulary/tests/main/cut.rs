//! A proxy between engine and database: it cuts connections right after a commit was sent, or holds commits back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use commands::scribe::{Answer, Settled};
use futures::{StreamExt, TryStreamExt, stream};
use platform::clock::new_id;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::laws::keeps_the_laws;
use crate::server::database;
use crate::shop::{House, settings};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// What to do with a commit, by its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// The client never hears of it; the connection is gone at once.
    CutAtOnce,
    /// The same, after the server has answered, so that it was surely carried out.
    CutAfterAnswer,
    /// The connection is gone before the server hears of it.
    CutBefore,
    /// It reaches the server when [`Proxy::release`] is called.
    Hold,
}

/// Forwards a unix socket; counts the commits that pass and decides about each.
pub(crate) struct Proxy {
    folder: PathBuf,
    /// The same database, seen through the proxy.
    pub(crate) url: String,
    pub(crate) rules: Arc<Rules>,
    accepting: JoinHandle<()>,
}

pub(crate) struct Rules {
    fate: Box<dyn Fn(u64) -> Fate + Send + Sync>,
    commits: AtomicU64,
    pub(crate) held: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) fn start(url: &str, fate: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Result<Self> {
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
                // Either side going away ends the connection; that is what is tested.
                tokio::spawn(async move { relay(client, &server, &rules).await.ok() });
            }
        });
        Ok(Self { folder, url: known, rules, accepting })
    }

    /// Lets everything that is held go on to the server.
    pub(crate) fn release(&self) {
        self.rules.released.send_replace(true);
    }

    pub(crate) fn commits(&self) -> u64 {
        self.rules.commits.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One connection, until either side ends or a commit is cut.
async fn relay(client: UnixStream, server: &Path, rules: &Rules) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = UnixStream::connect(server).await?.into_split();
    let (cut, was_cut) = watch::channel(Fate::Pass);
    tokio::select! {
        requests = forward_requests(from_client, to_server, rules, &cut) => requests,
        answers = forward_answers(from_server, to_client, was_cut) => answers,
    }
}

/// Reads message by message: a first one without a type, then a letter and a length.
async fn forward_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    rules: &Rules,
    cut: &watch::Sender<Fate>,
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
            // Parse: a name, then the text.
            b'P' if contains(&body, b"writes one batch") => commits.push(until_zero(&body).to_vec()),
            // Bind: a portal, then the name of what was parsed.
            b'B' => {
                let name = until_zero(&body[until_zero(&body).len() + 1..]);
                is_commit = commits.iter().any(|commit| commit == name);
            }
            _ => {}
        }
        group.push(kind);
        group.extend(length.to_be_bytes());
        group.extend(body);
        // Everything up to Sync belongs together.
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
            Fate::Pass => {}
            Fate::CutBefore => return Ok(()),
            Fate::CutAtOnce | Fate::CutAfterAnswer => _ = cut.send_replace(fate),
            Fate::Hold => {
                rules.held.send_modify(|held| *held += 1);
                rules.released.subscribe().wait_for(|released| *released).await?;
            }
        }
        server.write_all(&group).await?;
        if fate == Fate::CutAtOnce {
            return Ok(());
        }
    }
}

async fn forward_answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    cut: watch::Receiver<Fate>,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = server.read(&mut bytes).await?;
        if count == 0 || *cut.borrow() != Fate::Pass {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_right_after_a_commit_was_sent_doubles_and_loses_nothing() -> Result<()> {
    const COMMANDS: i64 = 2_000;
    let url = database().await;
    let proxy = Proxy::start(&url, |number| match number % 5 {
        0 => Fate::CutAtOnce,
        2 | 3 => Fate::CutAfterAnswer,
        4 => Fate::CutBefore,
        _ => Fate::Pass,
    })?;
    let house = House::open(&url, &settings(&proxy.url)).await?;
    let shop = house.shop(COMMANDS / 2).await?;
    // Every other buyer comes too late, so that refusals go through the same.
    let reservations: Vec<(Uuid, Uuid)> = (0..COMMANDS).map(|_| (new_id(), new_id())).collect();
    let send = async |(id, reservation): (Uuid, Uuid)| {
        let answer = house.send(shop.tenant, "ReserveStock", id, &shop.reservation(reservation)).await?;
        let Answer::Settled { settled, replayed } = answer else { anyhow::bail!("{answer:?}") };
        anyhow::Ok((id, reservation, settled, replayed))
    };
    let answers: Vec<_> = stream::iter(reservations).map(send).buffer_unordered(32).try_collect().await?;
    let accepted = answers.iter().filter(|(_, _, settled, _)| matches!(settled, Settled::Accepted(_))).count();
    assert_eq!(i64::try_from(accepted)?, COMMANDS / 2);
    assert_eq!(shop.count(&house.pool, "stock.reserved").await?, COMMANDS / 2);
    // A cut batch whose outcome was read from its receipts comes back as a repeat of itself.
    let recovered = answers.iter().filter(|(.., replayed)| *replayed).count();
    assert!(
        recovered * 10 >= answers.len(),
        "{recovered} of {} commands were cut after they were written",
        answers.len()
    );
    keeps_the_laws(&house.pool).await?;

    // Whoever asks again, hears what she heard; also from an engine that has nothing in memory.
    house.close().await;
    let house = House::with_defaults(&url).await?;
    for (id, reservation, settled, _) in answers.iter().step_by(10) {
        let again = house.send(shop.tenant, "ReserveStock", *id, &shop.reservation(*reservation)).await?;
        assert_eq!(again, Answer::Settled { settled: settled.clone(), replayed: true });
    }
    let refused = "SELECT count(*) FROM log.receipts WHERE code = 'OUT_OF_STOCK'";
    assert_eq!(sqlx::query_scalar::<_, i64>(refused).fetch_one(&house.pool).await?, COMMANDS / 2);
    assert!(proxy.commits() > 40, "{} commits", proxy.commits());
    house.close().await;
    Ok(())
}
