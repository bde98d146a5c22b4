//! Encryption of personal data: fields are sealed when a command is admitted, and opened when a response is written.
//!
//! Every person has a data key per tenant. It is wrapped (encrypted) under a key derived from the outer key, which is
//! kept outside the database, and stored in a table outside the log. Deleting the key from that table makes every copy
//! of the person's data unreadable (crypto-shredding) as soon as no process has the key in its cache: a cached key is
//! used without asking the store.

mod data_keys;
mod field_encryption;
mod monitor_token;
mod outer_key;
mod secret_file;

pub use field_encryption::Vault;
pub use monitor_token::MonitorToken;
pub use outer_key::{KeyPurpose, OuterKey, mac_of_parts};
pub use secret_file::{read_or_create_key, read_secret};
