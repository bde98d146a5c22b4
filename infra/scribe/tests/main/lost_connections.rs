//! Connections that are cut around a commit.

use anyhow::Result;
use commands::scribe::{Answer, Settled};
use futures::{StreamExt, TryStreamExt, stream};
use lab::harness::{Backend, CommitFate, CommitProxy, database, scribe_settings};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_around_a_commit_lose_and_double_no_command() -> Result<()> {
    const COMMANDS: i64 = 2_000;
    let url = database().await;
    let proxy = CommitProxy::start(&url, |number| match number % 5 {
        0 => CommitFate::CutAtOnce,
        2 | 3 => CommitFate::CutAfterAnswer,
        4 => CommitFate::CutBefore,
        _ => CommitFate::Pass,
    })?;
    let backend = Backend::start_with(&url, &scribe_settings(&proxy.url)).await?;
    let shop = backend.shop(COMMANDS / 2).await?;
    // Half of the commands find no stock left, so that rejections are cut as well.
    let reservations: Vec<(Uuid, Uuid)> = (0..COMMANDS).map(|_| (new_id(), new_id())).collect();
    let send = async |(id, reservation): (Uuid, Uuid)| {
        let answer = backend.send(shop.tenant, "ReserveStock", id, &shop.reservation(reservation)).await?;
        let Answer::Settled { settled, replayed } = answer else { anyhow::bail!("{answer:?}") };
        anyhow::Ok((id, reservation, settled, replayed))
    };
    let answers: Vec<_> = stream::iter(reservations).map(send).buffer_unordered(32).try_collect().await?;
    let accepted = answers.iter().filter(|(_, _, settled, _)| matches!(settled, Settled::Accepted(_))).count();
    assert_eq!(i64::try_from(accepted)?, COMMANDS / 2);
    assert_eq!(shop.count(&backend.pool, "stock.reserved").await?, COMMANDS / 2);
    // The outcome of a batch that was cut is read from its receipts, so its answers are marked as replayed.
    let recovered = answers.iter().filter(|(.., replayed)| *replayed).count();
    assert!(
        recovered * 10 >= answers.len(),
        "{recovered} of {} commands were cut after they were written",
        answers.len()
    );
    check_log_invariants(&backend.pool).await?;

    // A repeated command has the same answer, also from a scribe that has nothing in memory.
    backend.close().await;
    let backend = Backend::start(&url).await?;
    for (id, reservation, settled, _) in answers.iter().step_by(10) {
        let again = backend.send(shop.tenant, "ReserveStock", *id, &shop.reservation(*reservation)).await?;
        assert_eq!(again, Answer::Settled { settled: settled.clone(), replayed: true });
    }
    let refused = "SELECT count(*) FROM log.receipts WHERE code = 'OUT_OF_STOCK'";
    assert_eq!(sqlx::query_scalar::<_, i64>(refused).fetch_one(&backend.pool).await?, COMMANDS / 2);
    assert!(proxy.commits() > 40, "{} commits", proxy.commits());
    backend.close().await;
    Ok(())
}
