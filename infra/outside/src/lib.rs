//! Connections to systems outside: webhooks.

pub mod webhooks;
