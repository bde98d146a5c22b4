//! Queue of the scribe: it is bounded, and a command that it refuses has no effect.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use commands::kernel::NotNow;
use commands::scribe::Answer;
use futures::future::join_all;
use lab::harness::{Backend, WAIT_TIMEOUT, database, eventually, scribe_settings};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_puts_callers_off_and_decides_them_when_they_come_again() -> Result<()> {
    const QUEUE: usize = 50;
    const BATCH: usize = 10;
    const CALLERS: usize = 400;
    let url = database().await;
    let mut narrow = scribe_settings(&url);
    narrow.limits.queue_commands_most = QUEUE;
    narrow.limits.batch_commands_most = BATCH;
    let backend = Backend::start_with(&url, &narrow).await?;
    let shop = backend.shop(1_000).await?;
    // No batch commits until this transaction ends.
    let mut blocker = backend.pool.begin().await?;
    sqlx::query("LOCK TABLE log.events IN SHARE MODE").execute(&mut *blocker).await?;
    let callers: Vec<_> = (0..CALLERS).map(|_| (new_id(), shop.reservation(new_id()))).collect();
    let is_busy = |answer: &Answer| matches!(answer, Answer::NotNow(NotNow::Overloaded { retry_after_s: 1.. }));
    let refused = AtomicUsize::new(0);
    let sends = callers.iter().map(async |(id, body)| {
        let answer = backend.send_once(shop.tenant, "ReserveStock", *id, body).await?;
        refused.fetch_add(usize::from(is_busy(&answer)), Ordering::Relaxed);
        anyhow::Ok(answer)
    });
    // The queue, the batch being committed and the one being decided hold this many; all other commands are refused.
    let room = QUEUE + 2 * BATCH;
    let released = async {
        eventually("the queue is full", async || Ok(refused.load(Ordering::Relaxed) >= CALLERS - room)).await?;
        Ok::<_, anyhow::Error>(blocker.commit().await?)
    };
    let (answers, released) = futures::join!(join_all(sends), released);
    released?;
    let answers: Vec<Answer> = answers.into_iter().collect::<Result<_>>()?;
    let decided = answers.iter().filter(|answer| !is_busy(answer)).count();
    assert!((QUEUE..=room).contains(&decided), "{decided} were taken in");
    assert!(answers.iter().all(|answer| is_busy(answer) || matches!(answer, Answer::Settled { replayed: false, .. })));
    assert_eq!(shop.count(&backend.pool, "stock.reserved").await?, i64::try_from(decided)?);

    // A command that was put off left no trace, and is decided when it is sent again.
    for (id, body) in &callers {
        let answer = backend.send(shop.tenant, "ReserveStock", *id, body).await?;
        assert!(matches!(answer, Answer::Settled { .. }), "{answer:?}");
    }
    assert_eq!(shop.count(&backend.pool, "stock.reserved").await?, i64::try_from(CALLERS)?);
    check_log_invariants(&backend.pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_list_of_commands_is_answered_and_does_not_block_a_stop() -> Result<()> {
    let backend = Backend::start(&database().await).await?;
    let shop = backend.shop(1).await?;
    let answers = timeout(WAIT_TIMEOUT, backend.scribe.submit(shop.tenant, false, vec![])).await?;
    assert!(answers.is_empty());
    timeout(WAIT_TIMEOUT, backend.close()).await?;
    Ok(())
}
