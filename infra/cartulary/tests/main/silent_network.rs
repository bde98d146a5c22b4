//! A network that drops all packets: connections stay open and nothing comes through them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::fleet::EngineProcess;
use lab::harness::{Cluster, caught_up, database, eventually, send_once, send_until_decided};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Time after which the server closes a silent connection, and with it a transaction that holds locks. Over TCP the
/// timeouts that the engine sets on each connection do this (`platform/src/connectivity.rs`); the socket of this
/// server has none.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// A TCP proxy between processes and their server.
struct Link {
    url: String,
    /// The number of times that the link was silenced, and whether it is silent.
    state: Arc<watch::Sender<(u32, bool)>>,
}

impl Link {
    async fn to(url: &str) -> Result<Self> {
        let sockets = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).context("a socket folder")?;
        let (server, listener) = (Path::new(sockets).join(".s.PGSQL.5432"), TcpListener::bind("127.0.0.1:0").await?);
        let url = url.replace(&format!("host={sockets}&port=5432&"), "");
        let url = url.replace(":///", &format!("://{}/", listener.local_addr()?));
        let state = Arc::new(watch::Sender::new((0, false)));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), shared.subscribe()));
            }
        });
        Ok(Self { url, state })
    }

    /// Drops everything from now on.
    fn silence(&self) {
        self.state.send_modify(|(times, silent)| (*times, *silent) = (*times + 1, true));
    }

    /// Serves new connections. The old ones stay silent, as after a take-over of the address by another server.
    fn speak(&self) {
        self.state.send_modify(|(_, silent)| *silent = false);
    }
}

/// Carries bytes until the link is silent. Then carries nothing, and keeps the client's end open for ever, but the
/// server's end only for [`SERVER_TIMEOUT`].
async fn carry(mut client: TcpStream, server: PathBuf, mut state: watch::Receiver<(u32, bool)>) -> Result<()> {
    let (times, is_silent) = *state.borrow();
    if is_silent {
        std::future::pending::<()>().await;
    }
    let mut server = UnixStream::connect(server).await?;
    tokio::select! {
        closed = copy_bidirectional(&mut client, &mut server) => drop(closed?),
        () = silenced(&mut state, times) => {
            sleep(SERVER_TIMEOUT).await;
            drop(server);
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

/// Waits until the link was silenced more often than `times`.
async fn silenced(state: &mut watch::Receiver<(u32, bool)>, times: u32) {
    state.wait_for(|(now, _)| *now != times).await.ok();
}

/// Waits until all processes are ready.
async fn all_ready(processes: &[EngineProcess]) -> Result<()> {
    for process in processes {
        eventually(&format!("{} is ready", process.name), async || Ok(process.get("/ready").await?.0 == 200)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_gives_up_silent_connections_and_connects_again() -> Result<()> {
    let url = database().await;
    let (link, pool) = (Link::to(&url).await?, platform::database::connect(&url).await?);
    let cluster = Cluster::new(&link.url).await?;
    let mut processes = Vec::new();
    for role in ["scribe", "policies", "project", "serve"] {
        processes.push(cluster.start_role(role, role, &[("CARTULARY_CONNECTIONS_MOST", "8")]).await?);
    }
    let (shop, owner) = cluster.shop(&processes[3], &pool, 1_000).await?;
    let waiting = new_id();
    link.silence();
    let asked = async {
        let body = shop.reservation(new_id());
        anyhow::Ok((send_once(&owner, "ReserveStock", waiting, &body).await, body))
    };
    let reported = async {
        for process in &processes {
            let what = format!("{} reports what is away", process.name);
            eventually(&what, async || Ok(process.get("/reason").await?.1.contains("cannot be used"))).await?;
        }
        Ok(())
    };
    let ((answered, body), ()) = futures::try_join!(asked, reported)?;
    ensure!(!matches!(answered, Some((200, _))), "decided though the log cannot be reached: {answered:?}");
    // The silence outlasts the leases of the lanes.
    let expired = "SELECT bool_and(lease < now()) FROM log.lanes";
    eventually("all leases have expired", async || Ok(sqlx::query_scalar(expired).fetch_one(&pool).await?)).await?;

    // TCP alone would notice only after a quarter of an hour.
    link.speak();
    all_ready(&processes).await?;
    for (id, body) in [(waiting, body), (new_id(), shop.reservation(new_id()))] {
        let answer = send_until_decided(&[&owner], "ReserveStock", id, &body).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 2);
    caught_up(&pool).await?;
    for process in processes {
        process.stop().await?;
    }
    check_log_invariants(&pool).await
}
