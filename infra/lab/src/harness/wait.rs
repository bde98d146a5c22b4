//! Waiting for a condition instead of a time.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

/// Time after which a test gives up waiting. It guards against hanging only; a busy machine needs much less.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a condition holds; the error names the condition that never held.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        ensure!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(PAUSE).await;
    }
    Ok(())
}
