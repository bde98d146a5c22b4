//! Stock of one product at one store (INV-01 to INV-10).
//!
//! A reservation is a hold on units. It is open until an event records that it was released or committed or that it
//! expired. An allotment sets units aside for a flash sale, from which its orders reserve. *Available* units are the units
//! on hand minus those of all open reservations and of the allotment; alerts refer to this number.
//!
//! Invariants: on hand ≥ 0; open reservations and the allotment exceed the units on hand only after a forced adjustment or a count, and a
//! recorded shortage says by how many; a reservation ends once, and only its holder changes it.

use serde::{Deserialize, Serialize};

use super::allotment::Allotment;
use super::{StockEvent, StockRejection};
use crate::kernel::{Aggregate, Decision, PublicForm};
use crate::shared::{
    FlashSaleId, Hold, Holder, Holds, OrderId, ProductId, Quantity, Reason, ReservationId, StockItemId, StoreId,
    Timestamp, Units,
};

/// Largest number of open reservations of one item. They are part of its state, so the limit bounds the state's size.
pub const OPEN_RESERVATIONS_MOST: usize = 50_000;
/// Number of expired reservations that one decision drops when as many reservations as possible are recorded as open.
const EXPIRIES_AT_LIMIT: usize = 100;
/// Largest number of orders that a recorded shortage names.
const SHORT_ORDERS_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StockItem {
    product: Option<ProductId>,
    pub(super) on_hand: i64,
    /// Threshold of the low-stock alert, in available units.
    low_at: i64,
    level: Level,
    pub(super) reservations: Holds<ReservationId>,
    /// Units set aside for a flash sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) allotment: Option<Allotment>,
    /// Number of reservations that were ever made.
    reservations_made: u64,
    /// Reserved units that are missing, according to the last recorded shortage.
    missing: i64,
}

/// Alert level of the available units. `Out` takes precedence over `Low`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Level {
    #[default]
    Out,
    Low,
    Fine,
}

impl StockItem {
    /// Stream id of a product at a store, derived from both.
    pub fn id(product: ProductId, store: StoreId) -> StockItemId {
        StockItemId::derived(product.uuid(), &store.to_string())
    }

    /// Starts stocking the product at the store. A repeat changes nothing.
    pub fn open(&self, product: ProductId, store: StoreId) -> Decision<Self> {
        match self.product {
            Some(_) => Ok(vec![]),
            None => Ok(vec![StockEvent::Opened { product, store }]),
        }
    }

    /// Ends the stocking of the product at the store, when nothing is on hand or reserved. Does nothing if it is not
    /// stocked there. The product can be stocked again.
    pub fn close(&self, now: Timestamp) -> Decision<Self> {
        if self.product.is_none() {
            return Ok(vec![]);
        }
        if self.on_hand != 0 {
            return Err(StockRejection::UnitsOnHand { on_hand: self.on_hand });
        }
        let expired = self.reservations.expired(now);
        let mut events: Vec<_> =
            expired.map(|(reservation, units)| StockEvent::ReservationExpired { reservation, units }).collect();
        if events.len() < self.reservations.len() || self.allotment.as_ref().is_some_and(|sale| now < sale.until) {
            return Err(StockRejection::UnitsReserved { held: self.held() });
        }
        events.extend(self.end_of_allotment());
        if self.missing > 0 {
            events.push(StockEvent::ShortageResolved {});
        }
        events.push(StockEvent::Closed {});
        Ok(events)
    }

    pub fn receive(&self, units: Quantity, reason: Option<Reason>) -> Decision<Self> {
        self.require_stocked()?;
        Ok(self.with_alerts(vec![StockEvent::Received { units, reason }]))
    }

    /// Records units that a customer returned. The caller ensures with the order that they left for it.
    pub fn take_back(&self, units: Quantity, order: OrderId) -> Decision<Self> {
        self.require_stocked()?;
        Ok(self.with_alerts(vec![StockEvent::Returned { units, order: Some(order) }]))
    }

    /// Adjusts the number on hand. A decrease below the reserved units requires `force`; the shortage is recorded.
    pub fn adjust(&self, change: i64, reason: Reason, force: bool) -> Decision<Self> {
        self.require_stocked()?;
        let on_hand = self.on_hand.saturating_add(change);
        if on_hand < 0 {
            return Err(StockRejection::BelowZero {});
        }
        if change < 0 && on_hand < self.held() && !force {
            return Err(StockRejection::BelowReserved { on_hand, held: self.held() });
        }
        match change {
            0 => Ok(vec![]),
            _ => Ok(self.with_alerts(vec![StockEvent::Adjusted { change, reason }])),
        }
    }

    /// Sets the number on hand to the result of a count. A decrease below the reserved units requires a reason; the
    /// shortage is recorded.
    pub fn count(&self, on_hand: Units, reason: Option<Reason>) -> Decision<Self> {
        self.require_stocked()?;
        let (change, held) = (on_hand.get().saturating_sub(self.on_hand), self.held());
        if change < 0 && on_hand.get() < held && reason.is_none() {
            return Err(StockRejection::ReasonMissing { on_hand: on_hand.get(), held });
        }
        match change {
            0 => Ok(vec![]),
            _ => Ok(self.with_alerts(vec![StockEvent::Counted { on_hand, change, reason }])),
        }
    }

    /// Reserves units until a time. A repeat with the same units changes nothing while the reservation is active.
    ///
    /// Units of expired reservations can be reserved at once. The decision then also records the expiry of as many of
    /// these reservations as it needs. Expired reservations do not count towards the limit of open ones.
    pub fn reserve(
        &self,
        reservation: ReservationId,
        holder: Holder,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        self.reserve_from(None, reservation, holder, units, until, now)
    }

    /// Reserves units of the allotment of a flash sale, like [`reserve`](Self::reserve).
    pub fn reserve_allotted(
        &self,
        sale: FlashSaleId,
        reservation: ReservationId,
        holder: Holder,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        self.reserve_from(Some(sale), reservation, holder, units, until, now)
    }

    fn reserve_from(
        &self,
        sale: Option<FlashSaleId>,
        reservation: ReservationId,
        holder: Holder,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        self.require_stocked()?;
        let wanted = units.get();
        let held = self.hold_of(reservation, holder)?.map_or(0, |hold| hold.units);
        if self.reservations.is_active(reservation, now) {
            return if held == wanted { Ok(vec![]) } else { Err(StockRejection::ReservationDiffers { held, wanted }) };
        }
        let free = sale.map_or_else(|| self.free(now), |sale| self.free_in(sale, now));
        if wanted > free {
            return Err(StockRejection::OutOfStock { free: free.max(0), wanted });
        }
        let is_full = self.reservations.len() >= OPEN_RESERVATIONS_MOST;
        if is_full && self.reservations.expired(now).next().is_none() {
            return Err(StockRejection::TooManyReservations { most: OPEN_RESERVATIONS_MOST });
        }
        let surplus = if is_full { EXPIRIES_AT_LIMIT } else { 0 };
        let mut events = self.expiries(wanted, Some(reservation), sale.is_some(), surplus, now);
        events.extend(sale.map(|sale| StockEvent::AllotmentDrawn { sale, reservation, units: wanted }));
        events.push(StockEvent::Reserved { reservation, units, until, holder: Some(holder) });
        Ok(self.with_alerts(events))
    }

    /// Confirms a reservation that is paid for, so that it no longer expires. A repeat changes nothing.
    pub fn confirm(&self, reservation: ReservationId, holder: Holder, now: Timestamp) -> Decision<Self> {
        match self.hold_to_change(reservation, holder)? {
            Some(hold) if hold.until.is_none() => Ok(vec![]),
            Some(_) if self.reservations.is_active(reservation, now) => {
                Ok(vec![StockEvent::ReservationConfirmed { reservation }])
            }
            _ => Err(StockRejection::ReservationGone { reservation }),
        }
    }

    /// Adds the confirmation of a reservation to the events that make it, for a payment that arrives after the expiry.
    pub fn reserved_and_confirmed(reservation: ReservationId, mut reserved: Vec<StockEvent>) -> Vec<StockEvent> {
        reserved.push(StockEvent::ReservationConfirmed { reservation });
        reserved
    }

    /// Releases a reservation. Does nothing if it is not open.
    pub fn release(&self, reservation: ReservationId, holder: Holder) -> Decision<Self> {
        let Some(hold) = self.hold_to_change(reservation, holder)? else { return Ok(vec![]) };
        let mut events = vec![StockEvent::ReservationReleased { reservation, units: hold.units }];
        events.extend(self.refill(reservation, hold.units));
        Ok(self.with_alerts(events))
    }

    /// Records that a reservation has expired. Does nothing if it is confirmed, has ended or expires later.
    pub fn expire(&self, reservation: ReservationId, now: Timestamp) -> Decision<Self> {
        match self.reservations.get(reservation) {
            Some(hold) if hold.until.is_some_and(|until| until <= now) => {
                let mut events = vec![StockEvent::ReservationExpired { reservation, units: hold.units }];
                events.extend(self.refill(reservation, hold.units));
                Ok(self.with_alerts(events))
            }
            _ => Ok(vec![]),
        }
    }

    /// Takes the units of an open reservation out of stock, because they were shipped. Does not check its expiry. Rejects
    /// more units than are on hand.
    pub fn commit(&self, reservation: ReservationId, holder: Holder) -> Decision<Self> {
        let Some(hold) = self.hold_to_change(reservation, holder)? else {
            return Err(StockRejection::ReservationGone { reservation });
        };
        if hold.units > self.on_hand {
            return Err(StockRejection::StockShort { on_hand: self.on_hand, wanted: hold.units });
        }
        Ok(self.with_alerts(vec![StockEvent::ReservationCommitted { reservation, units: hold.units }]))
    }

    /// Sets the threshold of the low-stock alert.
    pub fn set_threshold(&self, low_at: Units) -> Decision<Self> {
        self.require_stocked()?;
        if low_at.get() == self.low_at {
            return Ok(vec![]);
        }
        Ok(self.with_alerts(vec![StockEvent::ThresholdSet { low_at }]))
    }

    /// Id of the open reservation of an order, or of the one that it would make. An order that was placed before
    /// holders were recorded has a reservation with its own id.
    pub fn reservation_of(&self, order: OrderId) -> ReservationId {
        let (own, shared) = (ReservationId::of_order(order), ReservationId::new(order.uuid()));
        let is_open = self.reservations.get(own).is_some();
        if !is_open && self.has_unrecorded_holder(shared) { shared } else { own }
    }

    /// True if the reservation is open and its holder was not recorded: it was made by hand, or by the order with the
    /// same id.
    pub fn has_unrecorded_holder(&self, reservation: ReservationId) -> bool {
        self.reservations.get(reservation).is_some_and(|hold| hold.holder.is_none())
    }

    /// Units that can be reserved at this time outside of a flash sale: available units, those of expired reservations,
    /// and an allotment whose window is over.
    pub fn free(&self, now: Timestamp) -> i64 {
        let (all, drawn) = self.expired_units(now);
        match &self.allotment {
            Some(allotment) if now < allotment.until => self.available().saturating_add(all).saturating_sub(drawn),
            Some(allotment) => self.available().saturating_add(all).saturating_add(allotment.units),
            None => self.available().saturating_add(all),
        }
    }

    /// Product that is stocked.
    pub fn product(&self) -> Result<ProductId, StockRejection> {
        self.product.ok_or(StockRejection::NotStocked {})
    }

    /// True if the product is stocked at the store.
    pub fn is_open(&self) -> bool {
        self.product.is_some()
    }

    /// Units that are physically there.
    pub fn on_hand(&self) -> i64 {
        self.on_hand
    }

    pub(super) fn available(&self) -> i64 {
        self.on_hand.saturating_sub(self.held())
    }

    /// Units of all open reservations and of the allotment.
    fn held(&self) -> i64 {
        self.reservations.total().saturating_add(self.allotted())
    }

    /// The open hold of this id, if any, for a party that changes it. By hand, the id of an order is taken for the
    /// reservation of this order, unless a reservation was made by hand under the same id.
    fn hold_to_change(&self, reservation: ReservationId, holder: Holder) -> Result<Option<Hold>, StockRejection> {
        let hold = self.hold_of(reservation, holder)?;
        let order = OrderId::new(reservation.uuid());
        let of_order = ReservationId::of_order(order);
        if hold.is_none() && holder == Holder::Hand && self.reservations.get(of_order).is_some() {
            return Err(StockRejection::ReservationOfOrder { reservation: of_order, order });
        }
        Ok(hold)
    }

    /// The open hold of this id, if any; rejects a party to which it does not belong.
    fn hold_of(&self, reservation: ReservationId, holder: Holder) -> Result<Option<Hold>, StockRejection> {
        let hold = self.reservations.get(reservation);
        match (hold.and_then(|hold| hold.holder), holder) {
            (Some(Holder::Order(order)), _) if holder != Holder::Order(order) => {
                Err(StockRejection::ReservationOfOrder { reservation, order })
            }
            (Some(Holder::Hand), Holder::Order(_)) => Err(StockRejection::ReservationByHand { reservation }),
            _ => Ok(hold),
        }
    }

    pub(super) fn require_stocked(&self) -> Result<(), StockRejection> {
        self.product().map(drop)
    }

    /// Appends the alerts and the shortage that these events cause.
    pub(super) fn with_alerts(&self, mut events: Vec<StockEvent>) -> Vec<StockEvent> {
        let available =
            events.iter().fold(self.available(), |sum, event| sum.saturating_add(event.change_of_available()));
        let shortage = self.shortage(&events, available);
        events.extend(self.alerts(&events, available));
        events.extend(shortage);
        events
    }

    /// Alerts that these events cause. An alert is raised when the level changes, not while it lasts.
    fn alerts(&self, events: &[StockEvent], available: i64) -> Vec<StockEvent> {
        let mut alerts = vec![];
        let low_at = events.iter().fold(self.low_at, |before, event| match event {
            StockEvent::ThresholdSet { low_at } => low_at.get(),
            _ => before,
        });
        let level = match available {
            ..=0 => Level::Out,
            _ if available <= low_at => Level::Low,
            _ => Level::Fine,
        };
        if level == self.level {
            return alerts;
        }
        let low_at = Units::try_from(low_at).unwrap_or_default();
        match (self.level, level) {
            (_, Level::Out) => alerts.push(StockEvent::Depleted {}),
            (Level::Out, _) => alerts.push(StockEvent::Restored { available }),
            _ => {}
        }
        match level {
            Level::Low => alerts.push(StockEvent::LowReached { available, low_at }),
            Level::Fine if self.level == Level::Low => alerts.push(StockEvent::Recovered { available }),
            _ => {}
        }
        alerts
    }

    /// The change of the shortage by these events, if any.
    fn shortage(&self, events: &[StockEvent], available: i64) -> Option<StockEvent> {
        let missing = available.min(0).saturating_neg();
        if missing == self.missing {
            return None;
        }
        if missing == 0 {
            return Some(StockEvent::ShortageResolved {});
        }
        let mut after = self.clone();
        events.iter().for_each(|event| after.apply(event));
        let reason = events.iter().find_map(|event| match event {
            StockEvent::Adjusted { reason, .. } => Some(reason.clone()),
            StockEvent::Counted { reason, .. } => reason.clone(),
            _ => None,
        });
        Some(StockEvent::ShortageRecorded { missing, orders: after.short_orders(), reason })
    }

    /// Orders for which no units are left on hand, at most [`SHORT_ORDERS_MOST`].
    fn short_orders(&self) -> Vec<OrderId> {
        let (mut left, mut orders) = (self.on_hand, vec![]);
        for hold in self.reservations.by_precedence() {
            match hold.holder {
                _ if hold.units <= left => left = left.saturating_sub(hold.units),
                Some(Holder::Order(order)) if orders.len() < SHORT_ORDERS_MOST => orders.push(order),
                _ => {}
            }
        }
        orders
    }
}

impl Aggregate for StockItem {
    const TYPE: &'static str = "StockItem";
    const STATE_VERSION: i32 = 2;
    // Units that an order takes from the allotment of a sale are published with its reservation and its claim.
    const PUBLIC_FORMS: &'static [PublicForm<StockEvent>] =
        &[PublicForm::private("stock.allotment_drawn"), PublicForm::private("stock.allotment_refilled")];
    type Id = StockItemId;
    type Event = StockEvent;
    type Rejection = StockRejection;

    fn apply(&mut self, event: &StockEvent) {
        match *event {
            StockEvent::Opened { product, .. } => self.product = Some(product),
            StockEvent::Closed {} => *self = Self::default(),
            StockEvent::Received { units, .. } | StockEvent::Returned { units, .. } => {
                self.on_hand = self.on_hand.saturating_add(units.get());
            }
            StockEvent::Adjusted { change, .. } => self.on_hand = self.on_hand.saturating_add(change),
            StockEvent::Counted { on_hand, .. } => self.on_hand = on_hand.get(),
            StockEvent::Reserved { reservation, units, until, holder } => {
                let (units, until, number) = (units.get(), Some(until), self.reservations_made);
                self.reservations.open(reservation, Hold { units, until, number, holder });
                self.reservations_made = number.saturating_add(1);
            }
            StockEvent::ReservationConfirmed { reservation } => self.reservations.confirm(reservation),
            StockEvent::ReservationReleased { reservation, .. }
            | StockEvent::ReservationExpired { reservation, .. } => self.reservations.close(reservation),
            StockEvent::ReservationCommitted { reservation, units } => {
                self.reservations.close(reservation);
                self.allotment.iter_mut().for_each(|allotment| allotment.forget(reservation));
                self.on_hand = self.on_hand.saturating_sub(units);
            }
            StockEvent::Allotted { .. }
            | StockEvent::AllotmentDrawn { .. }
            | StockEvent::AllotmentRefilled { .. }
            | StockEvent::AllotmentEnded { .. } => self.apply_allotment(event),
            StockEvent::ThresholdSet { low_at } => self.low_at = low_at.get(),
            StockEvent::LowReached { .. } => self.level = Level::Low,
            StockEvent::Restored { .. } | StockEvent::Recovered { .. } => self.level = Level::Fine,
            StockEvent::Depleted {} => self.level = Level::Out,
            StockEvent::ShortageRecorded { missing, .. } => self.missing = missing,
            StockEvent::ShortageResolved {} => self.missing = 0,
        }
    }
}

#[cfg(test)]
#[path = "stock_item_tests.rs"]
mod tests;
