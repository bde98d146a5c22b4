//! Two engines that want the same lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use cartulary::running;
use futures::future::try_join_all;
use lab::demo::client::Client;
use platform::clock::new_id;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cut::{Fate, Proxy};
use crate::laws::keeps_the_laws;
use crate::process::{Desk, once, persist};
use crate::server::database;
use crate::shop::{Shop, caught_up, digests, eventually, rebuild_all};

const CLIENTS: usize = 8;
/// For how many seconds they fight; ten without it.
const SECONDS: &str = "RIVALS_SECONDS";

/// What an answer says about the deed itself.
fn deed(answer: &Value) -> Value {
    let mut deed = answer.clone();
    deed["receipt"].as_object_mut().and_then(|receipt| receipt.remove("replayed"));
    deed
}

/// Sends reservations to both until the time is over. The ids that were accepted.
async fn keep_reserving(mine: &Client, other: &Client, shop: &Shop, until: Instant) -> Result<Vec<Uuid>> {
    let mut accepted = Vec::new();
    while Instant::now() < until {
        let (id, body) = (new_id(), shop.reservation(new_id()));
        let answer = if accepted.len() % 4 == 0 {
            let (here, there) = ([mine, other], [other, mine]);
            let (one, same) = futures::try_join!(
                persist(&here, "ReserveStock", id, &body),
                persist(&there, "ReserveStock", id, &body),
            )?;
            assert_eq!(deed(&one), deed(&same), "one command, one answer");
            one
        } else {
            persist(&[mine, other], "ReserveStock", id, &body).await?
        };
        assert_eq!(answer["outcome"], "accepted", "{answer}");
        accepted.push(id);
    }
    Ok(accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_take_every_lane_from_each_other_double_and_lose_nothing() -> Result<()> {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    // Two of one name need not wait for each other's lease: each takes what it wants at once.
    let first = desk.start_ready(&[]).await?;
    let (shop, one) = desk.shop(&first, &pool, 1_000_000).await?;
    let second = desk.start_ready(&[]).await?;
    let other = desk.owner(&second, shop.tenant).await?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let clients = (0..CLIENTS).map(|number| {
        let (mine, theirs) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        keep_reserving(mine, theirs, &shop, until)
    });
    let accepted: Vec<Uuid> = try_join_all(clients).await?.concat();
    let reserved: Vec<Uuid> =
        sqlx::query_scalar("SELECT command_id FROM log.events WHERE type = 'stock.reserved'").fetch_all(&pool).await?;
    assert_eq!(reserved.len(), accepted.len(), "one effect for each accepted command");
    assert!(accepted.iter().all(|id| reserved.contains(id)), "nothing acknowledged is lost");
    let take_overs = "SELECT count(*) FROM log.epochs WHERE lane = $1 AND since > now() - $2 * interval '1 second'";
    let take_overs: i64 = sqlx::query_scalar(take_overs)
        .bind(shop.lane(&pool).await?)
        .bind(i64::try_from(seconds)?)
        .fetch_one(&pool)
        .await?;
    assert!(take_overs > i64::try_from(seconds)?, "only {take_overs} take-overs of the lane");
    assert!(accepted.len() > 20 * usize::try_from(seconds)?, "only {} commands got through", accepted.len());
    keeps_the_laws(&pool).await?;

    // Both kept the read models all the while.
    caught_up(&pool).await?;
    first.stop().await?;
    second.stop().await?;
    caught_up(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    keeps_the_laws(&pool).await
}

/// The whole log as one word.
async fn fingerprint(pool: &PgPool) -> Result<String> {
    let text = "SELECT md5(string_agg(e::text, ' ' ORDER BY lane, position)) ||
                       (SELECT count(*) FROM log.receipts) FROM log.events e";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_paused_in_the_middle_of_a_commit_and_woken_after_a_take_over_changes_nothing() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let armed = Arc::new(AtomicBool::new(false));
    let trap = armed.clone();
    let proxy = Proxy::start(&url, move |_| if trap.swap(false, Ordering::SeqCst) { Fate::Hold } else { Fate::Pass })?;
    let lease = ("CARTULARY_LEASE_MS", "3000");
    let paused = desk.start_ready(&[("CARTULARY_DATABASE_URL", &proxy.url), ("CARTULARY_OWNER", "one"), lease]).await?;
    let (shop, mine) = desk.shop(&paused, &pool, 1_000).await?;
    eventually("the policies have settled", async || Ok(shop.count(&pool, "stock.received").await? == 1)).await?;

    armed.store(true, Ordering::SeqCst);
    let (id, body) = (new_id(), shop.reservation(new_id()));
    let asked = mine.clone();
    let in_the_middle = {
        let body = body.clone();
        tokio::spawn(async move { once(&asked, "ReserveStock", id, &body).await })
    };
    proxy.rules.held.subscribe().wait_for(|held| *held == 1).await?;
    paused.signal(Signal::STOP)?;
    let rival = desk.start_ready(&[("CARTULARY_OWNER", "other"), lease]).await?;
    let theirs = desk.owner(&rival, shop.tenant).await?;
    let told = persist(&[&theirs], "ReserveStock", id, &body).await?;
    assert_eq!((&told["outcome"], &told["receipt"]["replayed"]), (&"accepted".into(), &false.into()), "{told}");
    for _ in 0..10 {
        persist(&[&theirs], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
    }
    let before = fingerprint(&pool).await?;

    proxy.release();
    paused.signal(Signal::CONT)?;
    // Whatever it says to whoever still waits, it is not that it was done.
    let answer = in_the_middle.await?;
    assert!(!matches!(answer, Some((200 | 409, _))), "{answer:?}");
    assert_eq!(fingerprint(&pool).await?, before);
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 11);
    // From then on it hands on what is for lanes of the other one.
    persist(&[&mine], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;

    // When the other one leaves, it takes over and knows what was done meanwhile.
    rival.stop().await?;
    let again = persist(&[&mine], "ReserveStock", id, &body).await?;
    assert_eq!((deed(&again), &again["receipt"]["replayed"]), (deed(&told), &true.into()));
    persist(&[&mine], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 13);
    paused.stop().await?;
    keeps_the_laws(&pool).await
}
