//! Waits of tests for a condition.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

/// Time limit of every wait in tests. It only keeps a failing test from hanging; a passing one needs much less.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a condition holds. `what` names the condition in the error after [`WAIT_TIMEOUT`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "not within {WAIT_TIMEOUT:?}: {what}");
        sleep(PAUSE).await;
    }
    Ok(())
}
