//! Policies that award and reverse points on purchases, sign-ups, reviews, referrals, refunds and cancellations, award
//! badges, and expire redemptions.
//!
//! The commands about an order read its current state, so that their order of arrival does not matter.

use domain::customers::{Customer, CustomerEvent};
use domain::kernel::Recorded;
use domain::loyalty::{Membership, MembershipEvent, Redemption, RedemptionEvent, Standing};
use domain::orders::{Order, OrderEvent};
use domain::referrals::{Advocate, AdvocateEvent};
use domain::reviews::{Review, ReviewEvent};
use domain::shared::{CustomerId, OrderId, RedemptionId, ReviewId};

use super::{
    AwardBadges, EarnForOrder, EarnForReferral, EarnForReview, EarnForSignup, ExpireRedemption, GrantEntryReward,
    ReverseForOrder, ReverseForReview,
};
use crate::kernel::{Policy, Reactions, Start};

/// Awards points when an order is paid.
pub struct EarnOnOrderPaid;

impl Policy for EarnOnOrderPaid {
    const ID: &'static str = "earn_on_order_paid";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.paid"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Paid { customer, on, .. } = event.event {
            reactions.command(EarnForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}

/// Awards points when an order of another shop system is imported, because it is already paid.
pub struct EarnOnOrderImported;

impl Policy for EarnOnOrderImported {
    const ID: &'static str = "earn_on_order_imported";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.imported"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Imported { customer, ordered_on, .. } = event.event {
            reactions.command(EarnForOrder { order: OrderId::new(event.stream), customer, on: ordered_on });
        }
    }
}

/// Awards points for a sign-up. An imported customer earns none.
pub struct EarnOnSignup;

impl Policy for EarnOnSignup {
    const ID: &'static str = "earn_on_signup";
    const START: Start = Start::Introduction;
    type Source = Customer;
    const EVENTS: &'static [&'static str] = &["customer.registered"];

    fn react(event: &Recorded<CustomerEvent>, reactions: &mut Reactions) {
        if let CustomerEvent::Registered { .. } = event.event {
            reactions.command(EarnForSignup { customer: CustomerId::new(event.stream) });
        }
    }
}

/// Reverses the points that belong to the refunded part of an order.
pub struct ReverseOnOrderRefunded;

impl Policy for ReverseOnOrderRefunded {
    const ID: &'static str = "reverse_on_order_refunded";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.refunded"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Refunded { customer, on, .. } = event.event {
            reactions.command(ReverseForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}

/// Reverses all points of a cancelled order.
pub struct ReverseOnOrderCancelled;

impl Policy for ReverseOnOrderCancelled {
    const ID: &'static str = "reverse_on_order_cancelled";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.cancelled"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Cancelled { customer, on, .. } = event.event {
            reactions.command(ReverseForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}

/// Awards points for a review.
pub struct EarnOnReviewPublished;

impl Policy for EarnOnReviewPublished {
    const ID: &'static str = "earn_on_review_published";
    const START: Start = Start::Introduction;
    type Source = Review;
    const EVENTS: &'static [&'static str] = &["review.published"];

    fn react(event: &Recorded<ReviewEvent>, reactions: &mut Reactions) {
        if let ReviewEvent::Published { customer, .. } = event.event {
            reactions.command(EarnForReview { review: ReviewId::new(event.stream), customer });
        }
    }
}

/// Reverses the points for a review that was removed or hidden.
pub struct ReverseOnReviewGone;

impl Policy for ReverseOnReviewGone {
    const ID: &'static str = "reverse_on_review_gone";
    const START: Start = Start::Introduction;
    type Source = Review;
    const EVENTS: &'static [&'static str] = &["review.removed", "review.hidden"];

    fn react(event: &Recorded<ReviewEvent>, reactions: &mut Reactions) {
        if let ReviewEvent::Removed { customer, .. } | ReviewEvent::Hidden { customer, .. } = event.event {
            reactions.command(ReverseForReview { review: ReviewId::new(event.stream), customer });
        }
    }
}

/// Awards points and badges for a completed referral.
pub struct RewardOnFriendCompleted;

impl Policy for RewardOnFriendCompleted {
    const ID: &'static str = "reward_on_friend_completed";
    const START: Start = Start::Introduction;
    type Source = Advocate;
    const EVENTS: &'static [&'static str] = &["advocate.friend_completed"];

    fn react(event: &Recorded<AdvocateEvent>, reactions: &mut Reactions) {
        if let AdvocateEvent::FriendCompleted { customer, friend, completed, advocate_points, friend_points, .. } =
            event.event
        {
            reactions.command(AwardBadges { customer, purchases: None, referrals: Some(completed) });
            if let Some(points) = advocate_points {
                reactions.command(EarnForReferral { customer, other: friend, points });
            }
            if let Some(points) = friend_points {
                reactions.command(EarnForReferral { customer: friend, other: customer, points });
            }
        }
    }
}

/// Awards badges for purchases.
pub struct AwardOnPurchase;

impl Policy for AwardOnPurchase {
    const ID: &'static str = "award_on_purchase";
    const START: Start = Start::Introduction;
    type Source = Membership;
    const EVENTS: &'static [&'static str] = &["membership.spent"];

    fn react(event: &Recorded<MembershipEvent>, reactions: &mut Reactions) {
        if let MembershipEvent::Spent { customer, orders, change_minor: 1.., .. } = event.event {
            reactions.command(AwardBadges { customer, purchases: Some(orders), referrals: None });
        }
    }
}

/// Key of the timer that expires a redemption.
const EXPIRY: &str = "expiry";

/// Expires a redemption that is not used in time.
pub struct ExpireOnRedemptionOpened;

impl Policy for ExpireOnRedemptionOpened {
    const ID: &'static str = "expire_on_redemption_opened";
    const START: Start = Start::Introduction;
    type Source = Redemption;
    const EVENTS: &'static [&'static str] =
        &["redemption.opened", "redemption.granted", "redemption.applied", "redemption.cancelled"];

    fn react(event: &Recorded<RedemptionEvent>, reactions: &mut Reactions) {
        match event.event {
            RedemptionEvent::Opened { customer, expires_at: Some(expires_at), .. }
            | RedemptionEvent::Granted { customer, expires_at: Some(expires_at), .. } => {
                let redemption = RedemptionId::new(event.stream);
                reactions.timer(EXPIRY, expires_at, ExpireRedemption { customer, redemption });
            }
            RedemptionEvent::Applied { .. } | RedemptionEvent::Cancelled { .. } => reactions.cancel(EXPIRY),
            _ => {}
        }
    }
}

/// Grants the entry reward of a tier that a customer reached.
pub struct GrantOnTierChanged;

impl Policy for GrantOnTierChanged {
    const ID: &'static str = "grant_on_tier_changed";
    const START: Start = Start::Introduction;
    type Source = Membership;
    const EVENTS: &'static [&'static str] = &["membership.tier_changed"];

    fn react(event: &Recorded<MembershipEvent>, reactions: &mut Reactions) {
        if let MembershipEvent::TierChanged { customer, standing: Standing { tier: Some(tier), .. }, .. } = event.event
        {
            reactions.command(GrantEntryReward { customer, tier });
        }
    }
}
