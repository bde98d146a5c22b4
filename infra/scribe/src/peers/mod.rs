//! Commands between processes: who receives one for a lane that another process writes hands it on to that process.
//!
//! Letters travel over HTTP on a port of their own and are sealed with a MAC whose key every process derives from the
//! outer key: whoever cannot read personal data cannot speak for the engine either. A letter may be sent twice, because
//! a command id may: the answer to the second is that to the first.

mod letter;
mod receiving;
mod seal;
mod sending;
mod unanswered;

pub use receiving::router;
pub use seal::PeerSeal;
pub use sending::Dispatch;
