//! The scribe on PostgreSQL: drives the state machine of `commands::scribe` with tokio and one connection.

mod commit;
mod driver;
mod figures;
mod guard;
mod handle;
mod load;
pub mod peers;
pub mod presence;
mod take_over;

pub use handle::{ScribeHandle, ScribeSettings, start};
pub use load::recall;
pub use take_over::Owner;
