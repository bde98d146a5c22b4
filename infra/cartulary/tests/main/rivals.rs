//! Two processes that take the same lanes from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use futures::future::try_join_all;
use lab::demo::client::Client;
use lab::harness::{
    Cluster, CommitFate, CommitProxy, Shop, caught_up, database, digests, eventually, rebuild_all, send_once,
    send_until_decided,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

const CLIENTS: usize = 8;
/// Take-overs of the shop's lane, and accepted commands, after which the contest ends.
const TAKE_OVERS: i64 = 11;
const ACCEPTED: usize = 200;

/// An answer without `replayed`.
fn outcome(answer: &Value) -> Value {
    let mut outcome = answer.clone();
    outcome["receipt"].as_object_mut().and_then(|receipt| receipt.remove("replayed"));
    outcome
}

/// The end of the contest, and the commands accepted so far.
#[derive(Default)]
struct Contest {
    over: AtomicBool,
    accepted: AtomicUsize,
}

/// Counts the epochs of a lane.
async fn take_overs(pool: &PgPool, lane: i16) -> Result<i64> {
    let text = "SELECT count(*) FROM log.epochs WHERE lane = $1";
    Ok(sqlx::query_scalar(text).bind(lane).fetch_one(pool).await?)
}

/// Sends reservations to both processes until the contest is over. Returns the ids of the accepted commands.
async fn keep_reserving(mine: &Client, other: &Client, shop: &Shop, contest: &Contest) -> Result<Vec<Uuid>> {
    let mut accepted = Vec::new();
    while !contest.over.load(Ordering::Relaxed) {
        let (id, body) = (new_id(), shop.reservation(new_id()));
        let answer = if accepted.len() % 4 == 0 {
            let (here, there) = ([mine, other], [other, mine]);
            let (one, same) = futures::try_join!(
                send_until_decided(&here, "ReserveStock", id, &body),
                send_until_decided(&there, "ReserveStock", id, &body),
            )?;
            assert_eq!(outcome(&one), outcome(&same), "one command, one answer");
            one
        } else {
            send_until_decided(&[mine, other], "ReserveStock", id, &body).await?
        };
        assert_eq!(answer["outcome"], "accepted", "{answer}");
        accepted.push(id);
        contest.accepted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_take_all_lanes_from_each_other_lose_and_double_no_command() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    // Two processes of one name do not wait for each other's lease: each takes the lanes at once.
    let first = cluster.start_ready(&[]).await?;
    let (shop, one) = cluster.shop(&first, &pool, 1_000_000).await?;
    // The second process may detect the first before it is ready, and is then not ready.
    let second = cluster.start(&[]).await?;
    let other = cluster.owner(&second, shop.tenant).await?;
    let (contest, lane) = (Contest::default(), shop.lane(&pool).await?);
    let before = take_overs(&pool, lane).await?;
    let clients = (0..CLIENTS).map(|number| {
        let (mine, theirs) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        keep_reserving(mine, theirs, &shop, &contest)
    });
    let end = async {
        eventually("both have taken the lane often enough", async || {
            let accepted = contest.accepted.load(Ordering::Relaxed);
            Ok(accepted >= ACCEPTED && take_overs(&pool, lane).await? >= before + TAKE_OVERS)
        })
        .await?;
        contest.over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (accepted, ()) = futures::try_join!(try_join_all(clients), end)?;
    let accepted: Vec<Uuid> = accepted.concat();
    let reserved: Vec<Uuid> =
        sqlx::query_scalar("SELECT command_id FROM log.events WHERE type = 'stock.reserved'").fetch_all(&pool).await?;
    assert_eq!(reserved.len(), accepted.len(), "one effect for each accepted command");
    assert!(accepted.iter().all(|id| reserved.contains(id)), "nothing acknowledged is lost");
    proofs::proven("ES-01 of two appends to one version of a stream exactly one wins");
    check_log_invariants(&pool).await?;

    // Both kept the read models up to date meanwhile.
    caught_up(&pool).await?;
    first.stop().await?;
    second.stop().await?;
    caught_up(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    check_log_invariants(&pool).await
}

/// A digest of the whole log.
async fn fingerprint(pool: &PgPool) -> Result<String> {
    let text = "SELECT md5(string_agg(e::text, ' ' ORDER BY lane, position)) ||
                       (SELECT count(*) FROM log.receipts) FROM log.events e";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_of_a_process_that_was_paused_and_replaced_changes_nothing() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let armed = Arc::new(AtomicBool::new(false));
    let trap = armed.clone();
    let proxy =
        CommitProxy::start(
            &url,
            move |_| if trap.swap(false, Ordering::SeqCst) { CommitFate::Hold } else { CommitFate::Pass },
        )?;
    let lease = ("CARTULARY_LEASE_MS", "3000");
    let paused =
        cluster.start_ready(&[("CARTULARY_DATABASE_URL", &proxy.url), ("CARTULARY_OWNER", "one"), lease]).await?;
    let (shop, mine) = cluster.shop(&paused, &pool, 1_000).await?;
    eventually("the stock is received", async || Ok(shop.count(&pool, "stock.received").await? == 1)).await?;

    armed.store(true, Ordering::SeqCst);
    let (id, body) = (new_id(), shop.reservation(new_id()));
    let asked = mine.clone();
    let in_the_middle = {
        let body = body.clone();
        tokio::spawn(async move { send_once(&asked, "ReserveStock", id, &body).await })
    };
    proxy.held(1).await?;
    paused.signal(Signal::STOP)?;
    let rival = cluster.start_ready(&[("CARTULARY_OWNER", "other"), lease]).await?;
    let theirs = cluster.owner(&rival, shop.tenant).await?;
    let first = send_until_decided(&[&theirs], "ReserveStock", id, &body).await?;
    assert_eq!((&first["outcome"], &first["receipt"]["replayed"]), (&"accepted".into(), &false.into()), "{first}");
    for _ in 0..10 {
        send_until_decided(&[&theirs], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
    }
    let before = fingerprint(&pool).await?;

    proxy.release();
    paused.signal(Signal::CONT)?;
    // The caller that still waits gets no answer of a decided command.
    let answer = in_the_middle.await?;
    assert!(!matches!(answer, Some((200 | 409, _))), "{answer:?}");
    assert_eq!(fingerprint(&pool).await?, before);
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 11);
    // From then on the resumed process forwards commands for lanes of the other process.
    send_until_decided(&[&mine], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;

    // When the other process stops, the resumed one takes the lanes and repeats the answers that were decided
    // meanwhile.
    rival.stop().await?;
    let again = send_until_decided(&[&mine], "ReserveStock", id, &body).await?;
    assert_eq!((outcome(&again), &again["receipt"]["replayed"]), (outcome(&first), &true.into()));
    send_until_decided(&[&mine], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 13);
    paused.stop().await?;
    check_log_invariants(&pool).await
}
