//! The engine acknowledges nothing that could be lost, and takes nothing in that it cannot hold.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::running;
use commands::kernel::NotNow;
use commands::scribe::Answer;
use futures::future::join_all;
use lab::demo::client::Client;
use lab::fleet::Member;
use platform::clock::new_id;
use sqlx::{PgExecutor, PgPool};
use tokio::time::Instant;

use crate::laws::keeps_the_laws;
use crate::process::{Desk, once};
use crate::server::database;
use crate::shop::{House, Shop, eventually, settings};

/// The guard looks every two seconds; on a busy machine it may be a little late.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

async fn set(pool: &PgPool, change: &str) -> Result<()> {
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(pool).await?;
    sqlx::query(&format!("ALTER DATABASE {name} {change}")).execute(pool).await?;
    Ok(())
}

/// Ends the sessions of the engine, as a fail-over or an impatient operator does.
pub(crate) async fn cut_sessions(by: impl PgExecutor<'_>) -> Result<()> {
    let text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name <> 'witness'";
    sqlx::query(text).execute(by).await?;
    Ok(())
}

/// Whether commands are refused because the store is unsafe, and everybody is told why.
async fn refuses(engine: &Member, owner: &Client, shop: &Shop) -> Result<bool> {
    let (status, answer) =
        once(owner, "ReserveStock", new_id(), &shop.reservation(new_id())).await.context("an answer")?;
    if status != 503 || answer["code"] != "STORE_UNSAFE" {
        return Ok(false);
    }
    ensure!(answer["retry"] == "SAME_ID", "{answer}");
    // Callers learn that it is so; what exactly is wrong is for those who run the engine.
    let (ready, _) = engine.get("/ready").await?;
    let (_, reason) = engine.get("/reason").await?;
    Ok(ready == 503 && reason.contains("synchronous_commit is off"))
}

async fn accepts(engine: &Member, owner: &Client, shop: &Shop) -> Result<bool> {
    let answer = once(owner, "ReserveStock", new_id(), &shop.reservation(new_id())).await;
    Ok(answer.is_some_and(|(status, _)| status == 200) && engine.get("/ready").await?.0 == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_commits_could_be_lost_none_is_acknowledged_and_the_setting_is_named() -> Result<()> {
    let url = database().await;
    let pool = running::connect(&format!("{url}&application_name=witness")).await?;
    let desk = Desk::new(&url).await?;
    let engine = desk.start_ready(&[]).await?;
    let (shop, owner) = desk.shop(&engine, &pool, 1_000).await?;
    assert!(accepts(&engine, &owner, &shop).await?);

    // First while its sessions go on, then with every session begun anew under the weak setting.
    for cut in [false, true] {
        set(&pool, "SET synchronous_commit = off").await?;
        if cut {
            cut_sessions(&pool).await?;
        }
        let begun = Instant::now();
        eventually("commands are refused", async || refuses(&engine, &owner, &shop).await).await?;
        assert!(begun.elapsed() < NOTICED_WITHIN, "noticed after {:?}", begun.elapsed());
        let before = shop.count(&pool, "stock.reserved").await?;
        for _ in 0..20 {
            assert!(refuses(&engine, &owner, &shop).await?);
        }
        assert_eq!(shop.count(&pool, "stock.reserved").await?, before);

        set(&pool, "RESET synchronous_commit").await?;
        let begun = Instant::now();
        eventually("commands are accepted again", async || accepts(&engine, &owner, &shop).await).await?;
        assert!(begun.elapsed() < NOTICED_WITHIN, "recovered after {:?}", begun.elapsed());
    }
    engine.stop().await?;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_puts_callers_off_and_forgets_nobody() -> Result<()> {
    const QUEUE: usize = 50;
    const CALLERS: usize = 400;
    let url = database().await;
    let mut narrow = settings(&url);
    narrow.limits.queue_commands_most = QUEUE;
    narrow.limits.batch_commands_most = 10;
    let house = House::open(&url, &narrow).await?;
    let shop = house.shop(1_000).await?;
    // Nobody can write until this lets go.
    let mut blocker = house.pool.begin().await?;
    sqlx::query("LOCK TABLE log.events IN SHARE MODE").execute(&mut *blocker).await?;
    let callers: Vec<_> = (0..CALLERS).map(|_| (new_id(), shop.reservation(new_id()))).collect();
    let sends = callers.iter().map(|(id, body)| house.send_once(shop.tenant, "ReserveStock", *id, body));
    let released = async {
        let refused_at_once = tokio::time::sleep(Duration::from_millis(500)).await;
        blocker.commit().await.map(|()| refused_at_once)
    };
    let (answers, released) = futures::join!(join_all(sends), released);
    released?;
    let answers: Vec<Answer> = answers.into_iter().collect::<Result<_>>()?;
    let busy = |answer: &&Answer| matches!(answer, Answer::NotNow(NotNow::Overloaded { retry_after_s: 1.. }));
    let (put_off, decided) =
        (answers.iter().filter(busy).count(), answers.iter().filter(|answer| !busy(answer)).count());
    // Beside the queue there is room for the batch under way and the one being decided.
    assert!((QUEUE..=QUEUE + 20).contains(&decided), "{decided} were taken in, {put_off} put off");
    assert!(answers.iter().all(|answer| busy(&answer) || matches!(answer, Answer::Settled { replayed: false, .. })));
    assert_eq!(shop.count(&house.pool, "stock.reserved").await?, i64::try_from(decided)?);

    // Whoever was put off has left no trace, and is served when she comes again.
    for (id, body) in &callers {
        let answer = house.send(shop.tenant, "ReserveStock", *id, body).await?;
        assert!(matches!(answer, Answer::Settled { .. }), "{answer:?}");
    }
    assert_eq!(shop.count(&house.pool, "stock.reserved").await?, i64::try_from(CALLERS)?);
    keeps_the_laws(&house.pool).await?;
    house.close().await;
    Ok(())
}
