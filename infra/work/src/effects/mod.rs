//! Effects: requests to partners. Each is repeated under one idempotency key until its outcome is known; a follow-up
//! command then records the outcome.

mod queue;
mod target;
mod worker;

pub(crate) use queue::queue_of;
pub use target::{AttemptResult, EffectCall, EffectLimits, Target, Targets};
pub(crate) use worker::EffectQueues;
