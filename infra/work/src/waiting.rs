//! How long something waits: so long after a moment, and a little by chance.

use std::time::Duration;

use domain::shared::Timestamp;

/// So long after.
pub fn later(at: Timestamp, pause: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX)))
}

/// So long before.
pub(super) fn earlier(at: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}

/// Any number. Without one, those who failed together come back together; that is bad luck and nothing worse.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes)
}
