//! The way of an order to its customer, or to its end.

use domain::kernel::Actor;
use domain::orders::{CancelledBy, Order, OrderRejection, OrderStatus};
use domain::shared::{CustomerId, Date, OrderId, Permission, Reason};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::holding::holding_of;
use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject, rejected};

/// Take an order on.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptOrder {
    pub order: OrderId,
}

impl Command for AcceptOrder {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Order>(self.order, Order::accept)
    }
}

/// Refuse an order. Its stock is free again, and what was paid has to go back.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectOrder {
    pub order: OrderId,
    pub reason: Reason,
}

impl Command for RejectOrder {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let on = today(desk, context, self.order)?;
        desk.decide::<Order>(self.order, |order| order.reject(self.reason.clone(), on))?;
        holding_of(desk, self.order)?.release(desk)
    }
}

/// Report that an order is packed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkReady {
    pub order: OrderId,
}

impl Command for MarkReady {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Order>(self.order, Order::mark_ready)
    }
}

/// Report that an order is on its way. Its units have left the house.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkInTransit {
    pub order: OrderId,
}

impl Command for MarkInTransit {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        send(desk, self.order)
    }
}

/// Report that an order has arrived.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkDelivered {
    pub order: OrderId,
}

impl Command for MarkDelivered {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Order>(self.order, Order::mark_delivered)
    }
}

/// Take an order to its next state, exactly as the command for that single step would.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveOrder {
    pub order: OrderId,
    pub to: OrderStatus,
    /// Why; needed where the order is cancelled.
    pub reason: Option<Reason>,
}

impl Command for MoveOrder {
    const NEEDS: Permission = Permission::HandleOrders;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        match self.to {
            OrderStatus::Pending => stay(desk, self.order),
            OrderStatus::Processing => desk.decide::<Order>(self.order, Order::accept),
            OrderStatus::Ready => desk.decide::<Order>(self.order, Order::mark_ready),
            OrderStatus::InTransit => send(desk, self.order),
            OrderStatus::Delivered => desk.decide::<Order>(self.order, Order::mark_delivered),
            OrderStatus::Cancelled => match &self.reason {
                Some(reason) => cancel(desk, context, self.order, reason),
                None => Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "reason", "say why the order is cancelled"))),
            },
        }
    }
}

/// Call an order off before it is on its way. Its stock is free again, and what was paid has to go back.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    pub order: OrderId,
    /// Whose order it is.
    pub customer: CustomerId,
    pub reason: Reason,
}

impl Command for CancelOrder {
    const NEEDS: Permission = Permission::CancelOrders;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if desk.read::<Order>(self.order)?.customer() != Ok(self.customer) {
            // Whoever names a stranger's order learns nothing about it.
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
    holding_of(desk, order)?.release(desk)
}

/// What is on its way already has left the house already.
fn send(desk: &mut Desk, order: OrderId) -> Result<(), Refusal> {
    let before = desk.read::<Order>(order)?.status();
    desk.decide::<Order>(order, Order::mark_in_transit)?;
    if before == Ok(OrderStatus::InTransit) {
        return Ok(());
    }
    holding_of(desk, order)?.commit(desk)
}

/// No order goes back to its beginning.
fn stay(desk: &mut Desk, order: OrderId) -> Result<(), Refusal> {
    let to = OrderStatus::Pending;
    match desk.read::<Order>(order)?.status().map_err(rejected)? {
        OrderStatus::Pending => Ok(()),
        from => Err(rejected(OrderRejection::IllegalMove { from, to, allowed: from.next().into() })),
    }
}

/// The business day at the store of the order.
pub(super) fn today(desk: &mut Desk, context: &Context, order: OrderId) -> Result<Date, Refusal> {
    let store = desk.read::<Order>(order)?.store().map_err(rejected)?;
    desk.read::<Tenant>(context.tenant)?.day_at(store, context.now).map_err(rejected)
}
