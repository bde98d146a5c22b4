//! Integration commands and policies: webhook subscriptions.

mod policies;
mod webhook_subscription;

pub use policies::*;
pub use webhook_subscription::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<Subscribe>();
    each.command::<ChangeSubscription>();
    each.command::<PauseSubscription>();
    each.command::<ResumeSubscription>();
    each.command::<RotateSecret>();
    each.command::<ShowSecret>();
    each.command::<ReplayEvents>();
    each.command::<Unsubscribe>();
    each.policy::<KeepCursorsOfWebhooks>();
    each.effect::<KeepCursors>();
}
