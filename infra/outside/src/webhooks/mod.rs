//! Webhooks: delivery of events to subscribed URLs, at least once, in order and signed (INT-10, PM-24).
//!
//! Every subscription has a cursor in its tenant's order of events. Events are read from the log when they are sent and
//! are not copied into a queue before, so no event can be lost between log and delivery. A URL that fails delays only
//! its own cursor.

mod cursors;
mod delivery;
mod gateway;
mod guard;
mod http_client;
mod ip_networks;
mod limits;
mod log_reader;
mod message;
mod reconciliation;
mod restore;
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
