//! Cause of points: it earns once, and is reversed in part or as a whole.

use domain::loyalty::{Earned, Earning, EntryKind, LoyaltyAccount, LoyaltyProgram, Membership, TierLadder};
use domain::orders::{Order, OrderStatus};
use domain::shared::{CustomerId, Date, EarningId, Money, OrderId, PositivePoints, Price, ReviewId, Text};
use domain::tenancy::Tenant;
use uuid::Uuid;

use crate::kernel::{Context, Desk, Hint, Refusal, rejected};

/// Cause of points: customer, kind, and the id of the cause in its own system.
pub(super) struct Cause {
    customer: CustomerId,
    kind: EntryKind,
    source: Text<100>,
}

impl Cause {
    pub(super) fn new(customer: CustomerId, kind: EntryKind, source: Text<100>) -> Self {
        Self { customer, kind, source }
    }

    pub(super) fn purchase(customer: CustomerId, order: OrderId) -> Self {
        Self::new(customer, EntryKind::Purchase, text(order.uuid()))
    }

    pub(super) fn signup(customer: CustomerId) -> Self {
        Self::new(customer, EntryKind::Signup, text(customer.uuid()))
    }

    pub(super) fn review(customer: CustomerId, review: ReviewId) -> Self {
        Self::new(customer, EntryKind::Review, text(review.uuid()))
    }

    pub(super) fn referral(customer: CustomerId, other: CustomerId) -> Self {
        Self::new(customer, EntryKind::Referral, text(other.uuid()))
    }

    pub(super) fn id(&self) -> EarningId {
        Earning::id(self.customer, self.kind, self.source.as_str())
    }

    pub(super) fn streams(&self, hint: &mut Hint) {
        hint.stream::<Earning>(self.id()).stream::<LoyaltyAccount>(LoyaltyAccount::id(self.customer));
    }

    /// Requests all streams of a decision about points at once, so that they are loaded together.
    pub(super) fn fetch(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<LoyaltyProgram>(context.tenant).stream::<TierLadder>(context.tenant);
            hint.stream::<Membership>(Membership::id(self.customer));
            self.streams(hint);
        })
    }

    /// Credits the points, unless the cause has earned points before.
    pub(super) fn credit(
        &self,
        desk: &mut Desk,
        points: PositivePoints,
        version: u32,
        on: Date,
    ) -> Result<(), Refusal> {
        self.credit_multiplied(desk, points, None, version, on)
    }

    /// Credits points as [`credit`](Self::credit) does; `base` is their number before a multiplier raised it.
    pub(super) fn credit_multiplied(
        &self,
        desk: &mut Desk,
        points: PositivePoints,
        base: Option<PositivePoints>,
        rule_version: u32,
        on: Date,
    ) -> Result<(), Refusal> {
        if desk.read::<Earning>(self.id())?.is_recorded() {
            return Ok(());
        }
        desk.decide::<Earning>(self.id(), |earning| earning.record(points))?;
        let earned = Earned { points, kind: self.kind, source: self.source.clone(), rule_version, base };
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.credit(self.customer, earned, on)
        })
    }

    /// Reverses the points of the refunded part of an order, or all points of a cancelled one, less those reversed
    /// before.
    pub(super) fn reverse_due(&self, desk: &mut Desk, order: &Order, on: Date) -> Result<(), Refusal> {
        let total = order.total().map_err(rejected)?;
        let lost = if is_cancelled(order) { total } else { order.refunded().map_err(rejected)? };
        self.reverse(desk, lost, total, on)
    }

    /// Counts what is paid and not refunded of an order towards the tier of the customer. Only money in the tenant's own
    /// currency counts.
    pub(super) fn count_spending(&self, desk: &mut Desk, context: &Context, order: &Order) -> Result<(), Refusal> {
        let (total, refunded) = (order.total().map_err(rejected)?, order.refunded().map_err(rejected)?);
        let own = desk.read::<Tenant>(context.tenant)?.currency().map_err(rejected)?;
        let net = total.minus(refunded).filter(|net| order.is_paid() && net.currency() == own).map_or(0, Price::minor);
        let change = net.saturating_sub(desk.read::<Earning>(self.id())?.counted());
        if change == 0 {
            return Ok(());
        }
        desk.decide::<Earning>(self.id(), |earning| earning.count(Money { minor: net, currency: own }))?;
        let ladder = desk.read::<TierLadder>(context.tenant)?;
        desk.decide::<Membership>(Membership::id(self.customer), |membership| {
            membership.spend(self.customer, Money { minor: change, currency: own }, &ladder)
        })
    }

    /// Reverses all points that are left.
    pub(super) fn reverse_all(&self, desk: &mut Desk, on: Date) -> Result<(), Refusal> {
        let Some(points) = desk.read::<Earning>(self.id())?.reversal_of_all() else { return Ok(()) };
        desk.decide::<Earning>(self.id(), Earning::reverse_all)?;
        self.take_back(desk, points, on)
    }

    /// Reverses the points that belong to a part of a payment.
    fn reverse(&self, desk: &mut Desk, lost: Price, total: Price, on: Date) -> Result<(), Refusal> {
        let Some(points) = desk.read::<Earning>(self.id())?.reversal_due(lost, total) else { return Ok(()) };
        desk.decide::<Earning>(self.id(), |earning| earning.reverse_for(lost, total))?;
        self.take_back(desk, points, on)
    }

    fn take_back(&self, desk: &mut Desk, points: PositivePoints, on: Date) -> Result<(), Refusal> {
        desk.decide::<LoyaltyAccount>(LoyaltyAccount::id(self.customer), |account| {
            account.take_back(self.customer, points, self.kind, self.source.clone(), on)
        })
    }
}

pub(super) fn is_cancelled(order: &Order) -> bool {
    order.status() == Ok(OrderStatus::Cancelled)
}

fn text(id: Uuid) -> Text<100> {
    id.to_string().parse().expect("an id is a short visible text")
}
