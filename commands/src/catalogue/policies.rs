//! Policies on restrictions of products.

use domain::catalogue::{ProductRestriction, ProductRestrictionEvent};
use domain::kernel::Recorded;

use super::{FollowLifting, FollowProductRestriction};
use crate::kernel::{Policy, Reactions, Start};

/// Sends the platform's restrictions of products to the tenants that sell them. The commands may arrive out of order, so each
/// one contains the number of its decision: the sequence of the event in the stream of the restriction.
pub struct FollowModeration;

impl Policy for FollowModeration {
    const ID: &'static str = "follow_moderation";
    const START: Start = Start::Beginning;
    type Source = ProductRestriction;
    const EVENTS: &'static [&'static str] = &["product_restriction.ordered", "product_restriction.lifted"];

    fn react(event: &Recorded<ProductRestrictionEvent>, reactions: &mut Reactions) {
        let decision = event.sequence;
        match event.event.clone() {
            ProductRestrictionEvent::Ordered { tenant, product, reason } => {
                reactions.command_in(tenant, FollowProductRestriction { product, reason, decision });
            }
            ProductRestrictionEvent::Lifted { tenant, product } => {
                reactions.command_in(tenant, FollowLifting { product, decision });
            }
        }
    }
}
