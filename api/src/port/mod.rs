//! Port to the engine: traits that the crates `cartulary` and `outside` implement, and the plain data they exchange.
//!
//! Nothing here imports another module of this crate. The API itself does no I/O, reads no clock and draws no random
//! numbers; it asks a [`Backend`] for all of these.

mod allowance;
mod backend;
mod caller;
mod freshness;
mod live;
mod projection_status;
mod stream_history;
mod webhooks;
mod work;

pub use allowance::{Allowance, RateLimitStatus};
pub use backend::{Backend, SealedField};
pub use caller::{Access, Caller};
pub use freshness::{Behind, Freshness};
pub use live::{Ended, LiveRow, LiveUpdates, Update};
pub use projection_status::{ProjectionState, ProjectionStatus};
pub use stream_history::{StreamEvent, StreamQuery};
pub use webhooks::{Delivery, NotPermitted, ShownSecret, Webhooks};
pub use work::{Breaker, BreakerState, DeadLetter, DeadLetterKind, LetterCursor, LetterRemoval, ProcessStatus, Work};
