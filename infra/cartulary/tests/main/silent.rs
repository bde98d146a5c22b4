//! A network that loses everything without a word: connections stay open and nobody answers on them, ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cartulary::running;
use lab::fleet::Member;
use platform::clock::new_id;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::laws::keeps_the_laws;
use crate::process::{Desk, once, persist};
use crate::server::database;
use crate::shop::{caught_up, eventually};

/// For how long nothing gets through: longer than a lease, and than it takes to notice.
const SILENT_FOR: Duration = Duration::from_secs(12);
/// Within so long everything works again over new connections. TCP alone would need a quarter of an hour.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// Stands between processes and their server.
struct Road {
    url: String,
    /// How often it was silenced, and whether it is.
    state: Arc<watch::Sender<(u32, bool)>>,
}

impl Road {
    async fn to(url: &str) -> Result<Self> {
        let sockets = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).context("a socket folder")?;
        let (server, listener) = (Path::new(sockets).join(".s.PGSQL.5432"), TcpListener::bind("127.0.0.1:0").await?);
        let url = url.replace(&format!("host={sockets}&port=5432&"), "");
        let url = url.replace(":///", &format!("://{}/", listener.local_addr()?));
        let state = Arc::new(watch::Sender::new((0, false)));
        let told = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), told.subscribe()));
            }
        });
        Ok(Self { url, state })
    }

    fn silence(&self) {
        self.state.send_modify(|(times, silent)| (*times, *silent) = (*times + 1, true));
    }

    /// For new connections. The old ones lead nowhere, as to a server whose place another one has taken.
    fn speak(&self) {
        self.state.send_modify(|(_, silent)| *silent = false);
    }
}

/// Carries bytes until the road is silent; then keeps both ends open and carries nothing.
async fn carry(client: TcpStream, server: PathBuf, state: watch::Receiver<(u32, bool)>) -> Result<()> {
    if state.borrow().1 {
        std::future::pending::<()>().await;
    }
    let server = UnixStream::connect(server).await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::try_join!(copy(from_client, to_server, state.clone()), copy(from_server, to_client, state))?;
    Ok(())
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<(u32, bool)>,
) -> Result<()> {
    let (times, mut bytes) = (state.borrow().0, vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            () = silenced(&mut state, times) => std::future::pending::<()>().await,
            count = from.read(&mut bytes) => match count? {
                0 => bail!("closed"),
                count => to.write_all(&bytes[..count]).await?,
            },
        }
    }
}

/// Until the road was silenced once more.
async fn silenced(state: &mut watch::Receiver<(u32, bool)>, times: u32) {
    state.wait_for(|(now, _)| *now != times).await.ok();
}

/// Waits until all of them are ready, and tells how long that took since.
async fn all_ready(processes: &[Member], since: Instant) -> Result<Duration> {
    for process in processes {
        eventually(&format!("{} is ready", process.name), async || Ok(process.get("/ready").await?.0 == 200)).await?;
    }
    Ok(since.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_for_ever_are_given_up_by_every_role() -> Result<()> {
    let url = database().await;
    let (road, pool) = (Road::to(&url).await?, running::connect(&url).await?);
    let desk = Desk::new(&road.url).await?;
    let mut processes = Vec::new();
    for role in ["scribe", "policies", "project", "serve"] {
        processes.push(desk.start_role(role, role, &[("CARTULARY_CONNECTIONS_MOST", "8")]).await?);
    }
    let (shop, owner) = desk.shop(&processes[3], &pool, 1_000).await?;
    let (begun, waiting) = (Instant::now(), new_id());
    road.silence();
    let asked = async {
        let body = shop.reservation(new_id());
        anyhow::Ok((once(&owner, "ReserveStock", waiting, &body).await, body))
    };
    let told = async {
        for process in &processes {
            let what = format!("{} says what is away", process.name);
            eventually(&what, async || Ok(process.get("/reason").await?.1.contains("cannot be used"))).await?;
        }
        Ok(())
    };
    let ((answered, body), ()) = futures::try_join!(asked, told)?;
    ensure!(!matches!(answered, Some((200, _))), "decided though the log cannot be reached: {answered:?}");
    sleep(SILENT_FOR.saturating_sub(begun.elapsed())).await;

    road.speak();
    let took = all_ready(&processes, Instant::now()).await?;
    ensure!(took < BACK_WITHIN, "it took {took:?}");
    for (id, body) in [(waiting, body), (new_id(), shop.reservation(new_id()))] {
        let answer = persist(&[&owner], "ReserveStock", id, &body).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 2);
    caught_up(&pool).await?;
    for process in processes {
        process.stop().await?;
    }
    keeps_the_laws(&pool).await
}
