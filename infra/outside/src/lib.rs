//! Everything that leaves the process for an address outside: webhooks.

pub mod webhooks;
