//! Webhooks to real HTTP servers.

mod webhook_api;
mod webhook_retries;
mod webhooks;
