//! Forwarding of commands to the process that owns their lane.
//!
//! Requests use HTTP on a port of their own. Each is authenticated by a MAC whose key all processes derive from the
//! outer key: a client without that key cannot send commands. A request may be sent twice, because command ids make
//! commands idempotent: the second answer repeats the first.

mod client;
mod failures;
mod message;
mod server;
mod signature;

pub use client::Dispatch;
pub use server::router;
pub use signature::ForwardingKey;
