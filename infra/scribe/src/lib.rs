//! Scribe on PostgreSQL: drives the single writer of `commands::scribe` with tokio and one commit connection per loop.
//!
//! **Here:** the commit statement, lane ownership, the durability guard, presence of processes, and forwarding of
//! commands to the process that owns their lane. **Never here:** decisions, which the state machine makes.

mod commit;
mod driver;
mod durability;
pub mod forwarding;
mod handle;
mod load;
mod metrics;
pub mod presence;
mod replies;
mod settings;
mod status;
mod stream_loader;
mod take_over_delay;
mod takeover;

pub use handle::{ScribeHandle, start};
pub use load::load_receipts;
pub use settings::{Owner, ScribeSettings};
