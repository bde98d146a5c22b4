//! Personal data: sealed when a command is admitted, opened when an answer is written (design 7).
//!
//! Every person has a data key per tenant. It is wrapped by the outer key, which lives outside the database, and
//! kept in a table outside the log: destroying it makes every copy of the person's data unreadable at once.

mod outer_key;
mod person_keys;
mod sealing;

pub use outer_key::{OuterKey, Use, secret_file};
pub use outer_key::{mac_of_parts, secret_text};
pub use person_keys::PersonKeys;
pub use sealing::Vault;
