//! Live updates: sends changed rows to subscribers (design 5, *Live*).
//!
//! **Here:** row notices of the projector of this process ([`RowNotices`]), their way over Redis from processes that keep
//! read models to those that serve subscribers, and the subscriptions themselves ([`Subscriptions`]). Notices may be
//! lost: each names the checkpoints before and after it, so a gap is noticed, and the changes in the gap are read from the
//! log and the row store. Without Redis, all changes of other processes are found that way.

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
