//! Effects: requests to partners outside. Each is repeated under one idempotency key until its outcome is known, and
//! the outcome comes back as a command.

mod queue;
mod target;
mod worker;

pub use target::{AttemptResult, EffectCall, EffectLimits, Target, Targets};
pub(crate) use worker::EffectWorker;
