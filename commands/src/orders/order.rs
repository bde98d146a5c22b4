//! Fulfilment and cancellation of orders.

use domain::kernel::Actor;
use domain::orders::{CancelledBy, Order, OrderRejection, OrderStatus};
use domain::shared::{CustomerId, Date, OrderId, Permission, Reason};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::participant::HeldOrder;
use crate::kernel::{
    Command, Context, Desk, Hint, Misuse, Refusal, StreamCommand, StreamOf, Subject, TenantStates, VerbOf, rejected,
};

/// Accept an order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptOrder {
    pub order: OrderId,
}

impl StreamCommand for AcceptOrder {
    type Aggregate = Order;
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.order;
    const VERB: VerbOf<Self> = |_, order, _| order.accept();
}

/// Reject an order as the seller. Its stock is released, and its payment must be refunded.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectOrder {
    pub order: OrderId,
    pub reason: Reason,
}

impl Command for RejectOrder {
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.reject(self.reason.clone(), on))?;
        HeldOrder::read(desk, self.order)?.release(desk, context)
    }
}

/// Record that an order is packed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkReady {
    pub order: OrderId,
}

impl StreamCommand for MarkReady {
    type Aggregate = Order;
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.order;
    const VERB: VerbOf<Self> = |_, order, _| order.mark_ready();
}

/// Record that an order was handed to the carrier. Its units leave the stock.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkInTransit {
    pub order: OrderId,
}

impl Command for MarkInTransit {
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        ship(desk, context, self.order)
    }
}

/// Record that an order has arrived.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkDelivered {
    pub order: OrderId,
}

impl StreamCommand for MarkDelivered {
    type Aggregate = Order;
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> = |command| command.order;
    const VERB: VerbOf<Self> = |_, order, _| order.mark_delivered();
}

/// Move an order to its next status, with the same effects as the command for that step.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveOrder {
    pub order: OrderId,
    pub to: OrderStatus,
    /// Required if the order is cancelled.
    pub reason: Option<Reason>,
}

impl Command for MoveOrder {
    const NEEDS: Permission = Permission::HandleOrders;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        match self.to {
            OrderStatus::Pending => remain_pending(desk, self.order),
            OrderStatus::Processing => desk.decide::<Order>(self.order, Order::accept),
            OrderStatus::Ready => desk.decide::<Order>(self.order, Order::mark_ready),
            OrderStatus::InTransit => ship(desk, context, self.order),
            OrderStatus::Delivered => desk.decide::<Order>(self.order, Order::mark_delivered),
            OrderStatus::Cancelled => match &self.reason {
                Some(reason) => cancel(desk, context, self.order, reason),
                None => Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "reason", "a cancellation needs a reason"))),
            },
        }
    }
}

/// Cancel an order before it is in transit. Its stock is released, and its payment must be refunded.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    pub order: OrderId,
    /// The customer of the order.
    pub customer: CustomerId,
    pub reason: Reason,
}

impl Command for CancelOrder {
    const NEEDS: Permission = Permission::CancelOrders;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if desk.read::<Order>(self.order)?.customer() != Ok(self.customer) {
            // The same answer as for an unknown order, so that a customer learns nothing about orders of others.
            return Err(rejected(OrderRejection::OrderUnknown {}));
        }
        cancel(desk, context, self.order, &self.reason)
    }
}

fn cancel(desk: &mut Desk, context: &Context, order: OrderId, reason: &Reason) -> Result<(), Refusal> {
    let by = match context.actor {
        Actor::Customer(_) => CancelledBy::Customer,
        Actor::Member(_) | Actor::Operator(_) => CancelledBy::Seller,
        Actor::Engine(_) => CancelledBy::Engine,
    };
    let on = today(desk, context, order)?;
    desk.decide::<Order>(order, |order| order.cancel(by, reason.clone(), on))?;
    HeldOrder::read(desk, order)?.release(desk, context)
}

/// Moves the order to the status in transit and commits what it holds; does neither if it has this status already.
fn ship(desk: &mut Desk, context: &Context, order: OrderId) -> Result<(), Refusal> {
    let before = desk.read::<Order>(order)?.status();
    desk.decide::<Order>(order, Order::mark_in_transit)?;
    if before == Ok(OrderStatus::InTransit) {
        return Ok(());
    }
    HeldOrder::read(desk, order)?.commit(desk, context)
}

/// Accepts a move to pending only for an order that is pending: no order returns to this status.
fn remain_pending(desk: &mut Desk, order: OrderId) -> Result<(), Refusal> {
    let to = OrderStatus::Pending;
    match desk.read::<Order>(order)?.status().map_err(rejected)? {
        OrderStatus::Pending => Ok(()),
        from => Err(rejected(OrderRejection::IllegalMove { from, to, allowed: from.next().into() })),
    }
}

/// Current business day at the store of the order.
pub(super) fn today(desk: &mut Desk, context: &Context, order: OrderId) -> Result<Date, Refusal> {
    let store = desk.read::<Order>(order)?.store().map_err(rejected)?;
    desk.read::<Tenant>(context.tenant)?.day_at(store, context.now).map_err(rejected)
}
