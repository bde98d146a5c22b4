//! Accrual of points and its reversal. Each cause earns points once, even if several commands name it.

use std::borrow::Cow;

use domain::loyalty::{Earning, EntryKind, LoyaltyProgram, Membership, TierLadder};
use domain::orders::Order;
use domain::reviews::Review;
use domain::shared::{CustomerId, Date, OrderId, Permission, PositivePoints, ReviewId, Text};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::today;
use super::cause::{Cause, is_cancelled};
use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, TenantStates, rejected};

/// Award points for a cause outside the engine, such as a review on another site.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnPoints {
    pub customer: CustomerId,
    /// The kind of cause, except `purchase`: purchases earn points automatically.
    pub kind: EntryKind,
    /// The id of the cause in its own system. It counts once for each customer and kind; other points are rejected.
    pub source: Text<100>,
    pub points: PositivePoints,
}

impl Command for EarnPoints {
    const NEEDS: Permission = Permission::ManagePoints;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn streams(&self, hint: &mut Hint) {
        Cause::new(self.customer, self.kind, self.source.clone()).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if self.kind == EntryKind::Purchase {
            let text = "purchases earn points automatically; name another kind";
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "kind", text)));
        }
        let cause = Cause::new(self.customer, self.kind, self.source.clone());
        cause.fetch(desk, context)?;
        if desk.read::<Earning>(cause.id())?.is_recorded() {
            return desk.decide::<Earning>(cause.id(), |earning| earning.record(self.points));
        }
        let version = desk.read::<LoyaltyProgram>(context.tenant)?.require_enabled().map_err(rejected)?;
        let on = today(desk, context)?;
        cause.credit(desk, self.points, version, on)
    }
}

/// Award the points for a paid order, once.
///
/// The earning rules in force when the order was placed apply; the entry names their version. The tier of the customer
/// before this order multiplies the points, and the order counts towards the next tier. The share for refunds made by
/// then is reversed at once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForOrder {
    pub order: OrderId,
    /// The customer of the order.
    pub customer: CustomerId,
    /// The business day of the payment.
    pub on: Date,
}

impl Command for EarnForOrder {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    // The rules of the programme can change before a repeat.
    const DECIDED_ONCE: bool = true;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
        Cause::purchase(self.customer, self.order).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::purchase(self.customer, self.order);
        cause.fetch(desk, context)?;
        let order = order_of(desk, self.order, self.customer)?;
        if !order.is_paid() {
            return Ok(());
        }
        if !is_cancelled(&order) {
            self.earn(desk, context, &cause, &order)?;
        }
        cause.count_spending(desk, context, &order)?;
        cause.reverse_due(desk, &order, self.on)
    }
}

impl EarnForOrder {
    /// Credits the points by the rules of the order's time, multiplied for the tier of the customer.
    fn earn(&self, desk: &mut Desk, context: &Context, cause: &Cause, order: &Order) -> Result<(), Refusal> {
        let total = order.total().map_err(rejected)?;
        // The rules count minor units of the tenant's own currency.
        if desk.read::<Tenant>(context.tenant)?.currency().map_err(rejected)? != total.currency() {
            return Ok(());
        }
        let program = desk.read::<LoyaltyProgram>(context.tenant)?;
        let Some((base, version)) = program.points_for(total.money(), order.placed_at()) else { return Ok(()) };
        let tier = desk.read::<Membership>(Membership::id(self.customer))?.tier();
        let points = desk.read::<TierLadder>(context.tenant)?.multiplier(tier).of(base);
        cause.credit_multiplied(desk, points, Some(base).filter(|base| *base != points), version, self.on)
    }
}

/// Reverse the points of an order in proportion to its refunds, which no longer count towards the next tier.
///
/// A cancelled order loses all of its points, even before its money is refunded.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseForOrder {
    pub order: OrderId,
    /// The customer of the order.
    pub customer: CustomerId,
    /// The business day of the refund or the cancellation.
    pub on: Date,
}

impl Command for ReverseForOrder {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
        Cause::purchase(self.customer, self.order).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::purchase(self.customer, self.order);
        cause.fetch(desk, context)?;
        let order = order_of(desk, self.order, self.customer)?;
        cause.count_spending(desk, context, &order)?;
        cause.reverse_due(desk, &order, self.on)
    }
}

/// Award the points for signing up, once per customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForSignup {
    pub customer: CustomerId,
}

impl Command for EarnForSignup {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    // The rules of the programme can change before a repeat.
    const DECIDED_ONCE: bool = true;

    fn streams(&self, hint: &mut Hint) {
        Cause::signup(self.customer).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::signup(self.customer);
        cause.fetch(desk, context)?;
        let earned = desk.read::<LoyaltyProgram>(context.tenant)?.signup_points();
        let Some((points, version)) = earned else { return Ok(()) };
        let on = today(desk, context)?;
        cause.credit(desk, points, version, on)
    }
}

/// Award the points for a review, once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForReview {
    pub review: ReviewId,
    /// The customer who wrote it.
    pub customer: CustomerId,
}

impl Command for EarnForReview {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    // The rules of the programme can change before a repeat.
    const DECIDED_ONCE: bool = true;

    fn streams(&self, hint: &mut Hint) {
        Cause::review(self.customer, self.review).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::review(self.customer, self.review);
        cause.fetch(desk, context)?;
        let is_published = desk.read::<Review>(self.review)?.require_published().is_ok();
        let earned = desk.read::<LoyaltyProgram>(context.tenant)?.review_points().filter(|_| is_published);
        let Some((points, version)) = earned else { return Ok(()) };
        let on = today(desk, context)?;
        cause.credit(desk, points, version, on)
    }
}

/// Reverse the points for a review that was removed or hidden.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseForReview {
    pub review: ReviewId,
    /// The customer who wrote it.
    pub customer: CustomerId,
}

impl Command for ReverseForReview {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        Cause::review(self.customer, self.review).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::review(self.customer, self.review);
        cause.fetch(desk, context)?;
        let on = today(desk, context)?;
        cause.reverse_all(desk, on)
    }
}

/// Award the points for a completed referral to both customers, once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForReferral {
    /// The customer who gets the points.
    pub customer: CustomerId,
    /// The other customer of the referral.
    pub other: CustomerId,
    pub points: PositivePoints,
}

impl Command for EarnForReferral {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;
    // The programme can be disabled before a repeat.
    const DECIDED_ONCE: bool = true;

    fn streams(&self, hint: &mut Hint) {
        Cause::referral(self.customer, self.other).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::referral(self.customer, self.other);
        cause.fetch(desk, context)?;
        let Ok(version) = desk.read::<LoyaltyProgram>(context.tenant)?.require_enabled() else { return Ok(()) };
        let on = today(desk, context)?;
        cause.credit(desk, self.points, version, on)
    }
}

/// The order; refuses a customer to whom it does not belong.
fn order_of<'a>(desk: &mut Desk<'a>, id: OrderId, customer: CustomerId) -> Result<Cow<'a, Order>, Refusal> {
    let order = desk.read::<Order>(id)?;
    if order.customer().map_err(rejected)? == customer {
        return Ok(order);
    }
    Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "customer", "the order belongs to another customer")))
}
