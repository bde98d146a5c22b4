//! Accrual of points and its reversal. Each cause earns points once, even if several commands name it.

use std::borrow::Cow;

use domain::loyalty::{Earning, EntryKind, LoyaltyAccount, LoyaltyProgram};
use domain::orders::{Order, OrderStatus};
use domain::shared::{CustomerId, Date, EarningId, OrderId, Permission, PositivePoints, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account::today;
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
/// The earning rules in force at the time of this command apply, shortly after the payment; the entry names their
/// version. The share for refunds made by then is reversed at once.
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
        let total = order.total().map_err(rejected)?;
        let earned = desk.read::<LoyaltyProgram>(context.tenant)?.points_for(total.money());
        let Some((points, version)) = earned.filter(|_| order.is_paid() && !is_cancelled(&order)) else {
            return Ok(());
        };
        cause.credit(desk, points, version, self.on)?;
        cause.reverse_due(desk, &order, self.on)
    }
}

/// Reverse the points of an order in proportion to its refunds.
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

/// Cause of points: customer, kind, and the id of the cause in its own system.
struct Cause {
    customer: CustomerId,
    kind: EntryKind,
    source: Text<100>,
}

impl Cause {
    fn new(customer: CustomerId, kind: EntryKind, source: Text<100>) -> Self {
        Self { customer, kind, source }
    }

    fn purchase(customer: CustomerId, order: OrderId) -> Self {
        Self::new(customer, EntryKind::Purchase, text(order.uuid()))
    }

    fn signup(customer: CustomerId) -> Self {
        Self::new(customer, EntryKind::Signup, text(customer.uuid()))
    }

    fn id(&self) -> EarningId {
        Earning::id(self.customer, self.kind, self.source.as_str())
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Earning>(self.id()).stream::<LoyaltyAccount>(LoyaltyAccount::id(self.customer));
    }

    /// Requests all streams of a decision about points at once, so that they are loaded together.
    fn fetch(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<LoyaltyProgram>(context.tenant);
            self.streams(hint);
        })
    }

    /// Credits the points, unless the cause has earned points before.
    fn credit(&self, desk: &mut Desk, points: PositivePoints, version: u32, on: Date) -> Result<(), Refusal> {
        if desk.read::<Earning>(self.id())?.is_recorded() {
            return Ok(());
        }
        desk.decide::<Earning>(self.id(), |earning| earning.record(points))?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.credit(self.customer, points, self.kind, self.source.clone(), version, on)
        })
    }

    /// Reverses the points of the refunded part of an order, or all points of a cancelled one, less those reversed
    /// before.
    fn reverse_due(&self, desk: &mut Desk, order: &Order, on: Date) -> Result<(), Refusal> {
        let total = order.total().map_err(rejected)?;
        let lost = if is_cancelled(order) { total } else { order.refunded().map_err(rejected)? };
        let Some(points) = desk.read::<Earning>(self.id())?.reversal_due(lost, total) else { return Ok(()) };
        desk.decide::<Earning>(self.id(), |earning| earning.reverse_for(lost, total))?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.take_back(self.customer, points, self.kind, self.source.clone(), on)
        })
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

fn is_cancelled(order: &Order) -> bool {
    order.status() == Ok(OrderStatus::Cancelled)
}

fn text(id: Uuid) -> Text<100> {
    id.to_string().parse().expect("an id is a short visible text")
}
