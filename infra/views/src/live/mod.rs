//! Live updates: sends changed rows to subscribers (ADR 0008).
//!
//! **Here:** row notices of the projector of this process ([`RowNotices`]), their transport over Redis from processes that
//! project to processes that serve subscribers, and the subscriptions themselves ([`Subscriptions`]). Notices may be
//! lost: each names the checkpoints before and after it, so receivers detect a gap and read its changes from the log
//! and the row store. Without Redis, all changes of other processes are found in this way.

mod gap_recovery;
mod notice_channel;
mod notice_codec;
mod notice_dispatcher;
mod registry;
mod row_notices;
mod subscriber_queue;
mod subscriptions;

pub use notice_channel::publish;
pub use row_notices::{ChangeBatch, RowNotice, RowNotices};
pub use subscriptions::Subscriptions;
