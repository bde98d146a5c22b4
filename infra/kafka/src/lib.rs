//! Fan-out: the log on Kafka, and Kafka as a feed for workers.
//!
//! **Here:** everything that speaks to Kafka. **Never here:** truth. The log in PostgreSQL decides what happened and a
//! worker's own checkpoint what it has taken; Kafka carries copies. Positions are dense and records carry their epoch,
//! so whoever reads sees what is missing, repeated or of a lost history, and a wiped Kafka is filled again.

mod access;
mod feed;
mod flight;
mod lane;
mod leases;
mod outage;
mod record;
mod refusal;
mod relay;
mod resume;
mod settings;
pub mod speed;
mod topic;

pub use access::{Login, Mechanism, Password, Tls, UnknownMechanism};
pub use feed::{Batch, Feed};
pub use leases::Leases;
pub use outage::Outage;
pub use record::{Foreign, decode, headers};
pub use relay::Relay;
pub use settings::{LANES, Settings};
pub use topic::{TopicError, look};
