//! Reasons for points. Each one counts once, however often and by whatever command it is brought forward.

use domain::loyalty::{Earning, EntryKind, LoyaltyAccount, LoyaltyProgram};
use domain::orders::{Order, OrderStatus};
use domain::shared::{CustomerId, Date, EarningId, OrderId, Permission, PositivePoints, Text};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account::today;
use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject, rejected};

/// Give points for something the engine does not see by itself, such as a review elsewhere.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnPoints {
    pub customer: CustomerId,
    /// For what; purchases earn their points by themselves.
    pub kind: EntryKind,
    /// What the reason is called where it comes from. For each customer and kind it counts once, whatever the points.
    pub source: Text<100>,
    pub points: PositivePoints,
}

impl Command for EarnPoints {
    const NEEDS: Permission = Permission::ManagePoints;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        Cause::new(self.customer, self.kind, self.source.clone()).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if self.kind == EntryKind::Purchase {
            let text = "purchases earn their points by themselves";
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "kind", text)));
        }
        let cause = Cause::new(self.customer, self.kind, self.source.clone());
        cause.fetch(desk, context)?;
        if desk.read::<Earning>(cause.id())?.is_recorded() {
            return Ok(());
        }
        let version = desk.read::<LoyaltyProgram>(context.tenant)?.require_enabled().map_err(rejected)?;
        let on = today(desk, context)?;
        cause.count(desk, self.points, version, on)
    }
}

/// Give the points that a paid order earns, once.
///
/// The rules that count are those in force when the payment is followed up, right after it; the entry names their
/// version. What has gone back of the order by then is taken back at once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForOrder {
    pub order: OrderId,
    /// Whose order it is.
    pub customer: CustomerId,
    /// The business day of the payment.
    pub on: Date,
}

impl Command for EarnForOrder {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
        Cause::purchase(self.customer, self.order).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::purchase(self.customer, self.order);
        cause.fetch(desk, context)?;
        let order = desk.read::<Order>(self.order)?;
        if order.customer().map_err(rejected)? != self.customer {
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "customer", "this is another customer's order")));
        }
        let total = order.total().map_err(rejected)?;
        let earned = desk.read::<LoyaltyProgram>(context.tenant)?.points_for(total.money());
        let Some((points, version)) = earned.filter(|_| order.is_paid() && !is_cancelled(&order)) else {
            return Ok(());
        };
        cause.count(desk, points, version, self.on)?;
        cause.take_back_due(desk, &order, self.on)
    }
}

/// Take back the points of an order of which something went back: the same share of them.
///
/// An order that was cancelled loses all of them, also where its money is still on its way back.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseForOrder {
    pub order: OrderId,
    /// Whose order it is.
    pub customer: CustomerId,
    /// The business day of the refund or the cancellation.
    pub on: Date,
}

impl Command for ReverseForOrder {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
        Cause::purchase(self.customer, self.order).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::purchase(self.customer, self.order);
        cause.fetch(desk, context)?;
        let order = desk.read::<Order>(self.order)?;
        if order.customer().map_err(rejected)? != self.customer {
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "customer", "this is another customer's order")));
        }
        cause.take_back_due(desk, &order, self.on)
    }
}

/// Give the points that signing up earns, once for each customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarnForSignup {
    pub customer: CustomerId,
}

impl Command for EarnForSignup {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        Cause::signup(self.customer).streams(hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let cause = Cause::signup(self.customer);
        cause.fetch(desk, context)?;
        let earned = desk.read::<LoyaltyProgram>(context.tenant)?.signup_points();
        let Some((points, version)) = earned else { return Ok(()) };
        let on = today(desk, context)?;
        cause.count(desk, points, version, on)
    }
}

/// Why a customer has points, and how that is called where it comes from.
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

    /// Everything that a decision about points looks at, in one go.
    fn fetch(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<Tenant>(context.tenant).stream::<LoyaltyProgram>(context.tenant);
            self.streams(hint);
        })
    }

    /// Credits the points, unless the reason has counted before.
    fn count(&self, desk: &mut Desk, points: PositivePoints, version: u32, on: Date) -> Result<(), Refusal> {
        if desk.read::<Earning>(self.id())?.is_recorded() {
            return Ok(());
        }
        desk.decide::<Earning>(self.id(), |earning| earning.record(points))?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.credit(self.customer, points, self.kind, self.source.clone(), version, on)
        })
    }

    /// Takes back what the order as it stands now does not deserve any more. Doing so again takes nothing more.
    fn take_back_due(&self, desk: &mut Desk, order: &Order, on: Date) -> Result<(), Refusal> {
        let total = order.total().map_err(rejected)?;
        let gone = if is_cancelled(order) { total } else { order.refunded().map_err(rejected)? };
        let Some(points) = desk.read::<Earning>(self.id())?.reversal_due(gone, total) else { return Ok(()) };
        desk.decide::<Earning>(self.id(), |earning| earning.reverse_for(gone, total))?;
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.take_back(self.customer, points, self.kind, self.source.clone(), on)
        })
    }
}

fn is_cancelled(order: &Order) -> bool {
    order.status() == Ok(OrderStatus::Cancelled)
}

fn text(id: Uuid) -> Text<100> {
    id.to_string().parse().expect("an id is a short visible text")
}
