//! Webhooks: delivery of events to subscribed URLs, at least once, in order and signed.
//!
//! Every subscription has a cursor in its tenant's order of events. Events are read from the log when they are sent,
//! and there is no queue in which one could be lost. A URL that fails delays only its own subscription.

mod cursor_run;
mod cursors;
mod gateway;
mod guard;
mod http_client;
mod ip_networks;
mod limits;
mod log_reader;
mod message;
mod reconciliation;
mod restore;
mod retry_schedule;
mod runner;
mod signature;

pub use gateway::WebhookGateway;
pub use guard::{Forbidden, Guard, Resolver};
pub use http_client::HttpClient;
pub use ip_networks::AddressList;
pub use limits::WebhookLimits;
pub use reconciliation::CursorReconciler;
pub use runner::WebhookRunner;
pub use signature::SigningKeys;
