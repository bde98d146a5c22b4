//! Stock of one product at one store (INV-01 to INV-10).
//!
//! A reservation is a hold on units. It is open until an event records that it was released or committed or that it
//! expired. *Available* units are the units on hand minus those of all open reservations; alerts refer to this number.
//!
//! Invariants: on hand ≥ 0; open reservations never exceed the units on hand, unless a forced adjustment or a count
//! lowered the latter; a reservation ends once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Holds, ProductId, Quantity, Reason, ReservationId, StockItemId, StoreId, Timestamp, Units};

/// Largest number of open reservations of one item. They are part of its state, so the limit bounds the state's size.
pub const OPEN_RESERVATIONS_MOST: usize = 50_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StockItem {
    product: Option<ProductId>,
    on_hand: i64,
    /// Threshold of the low-stock alert, in available units.
    low_at: i64,
    level: Level,
    reservations: Holds<ReservationId>,
}

/// Alert level of the available units. `Out` takes precedence over `Low`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Level {
    #[default]
    Out,
    Low,
    Fine,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum StockEvent {
    /// A product is now stocked at a store.
    #[serde(rename = "stock.opened")]
    Opened { product: ProductId, store: StoreId },
    /// Units were received.
    #[serde(rename = "stock.received")]
    Received { units: Quantity },
    /// Units were returned by a customer.
    #[serde(rename = "stock.returned")]
    Returned { units: Quantity },
    /// The number on hand was adjusted by hand.
    #[serde(rename = "stock.adjusted")]
    Adjusted { change: i64, reason: Reason },
    /// Stock was counted; `change` is the difference to the recorded number.
    #[serde(rename = "stock.counted")]
    Counted { on_hand: Units, change: i64 },
    /// Units are reserved until the given time.
    #[serde(rename = "stock.reserved")]
    Reserved { reservation: ReservationId, units: Quantity, until: Timestamp },
    /// A reservation was paid for: it no longer expires, and stays until it is committed or released.
    #[serde(rename = "stock.reservation_confirmed")]
    ReservationConfirmed { reservation: ReservationId },
    /// A reservation was released.
    #[serde(rename = "stock.reservation_released")]
    ReservationReleased { reservation: ReservationId, units: i64 },
    /// A reservation expired because it was not paid in time.
    #[serde(rename = "stock.reservation_expired")]
    ReservationExpired { reservation: ReservationId, units: i64 },
    /// Reserved units were shipped.
    #[serde(rename = "stock.reservation_committed")]
    ReservationCommitted { reservation: ReservationId, units: i64 },
    /// The threshold of the low-stock alert was set.
    #[serde(rename = "stock.threshold_set")]
    ThresholdSet { low_at: Units },
    /// The available quantity fell to the threshold or below.
    #[serde(rename = "stock.low_reached")]
    LowReached { available: i64, low_at: Units },
    /// The available quantity rose above the threshold again.
    #[serde(rename = "stock.recovered")]
    Recovered { available: i64 },
    /// Nothing is available any more.
    #[serde(rename = "stock.depleted")]
    Depleted {},
    /// Something is available again.
    #[serde(rename = "stock.restored")]
    Restored { available: i64 },
}

/// Rejections of a stock item.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StockRejection {
    #[error("this product is not stocked here")]
    NotStocked {},
    #[error("only {free} of {wanted} units are free")]
    OutOfStock { free: i64, wanted: i64 },
    #[error("{held} units are reserved, more than the {on_hand} that would be on hand")]
    BelowReserved { on_hand: i64, held: i64 },
    #[error("stock cannot be below zero")]
    BelowZero {},
    #[error("the reservation has expired or does not exist")]
    ReservationGone { reservation: ReservationId },
    #[error("the reservation is for {held} units, not for {wanted}")]
    ReservationDiffers { held: i64, wanted: i64 },
    #[error("{most} reservations are open already")]
    TooManyReservations { most: usize },
}

impl Rejection for StockRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ReservationDiffers { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
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

    pub fn receive(&self, units: Quantity) -> Decision<Self> {
        self.require_stocked()?;
        Ok(self.with_alerts(vec![StockEvent::Received { units }]))
    }

    /// Records units that a customer returned.
    pub fn take_back(&self, units: Quantity) -> Decision<Self> {
        self.require_stocked()?;
        Ok(self.with_alerts(vec![StockEvent::Returned { units }]))
    }

    /// Adjusts the number on hand. A decrease below the reserved units requires `force`.
    pub fn adjust(&self, change: i64, reason: Reason, force: bool) -> Decision<Self> {
        self.require_stocked()?;
        let on_hand = self.on_hand.saturating_add(change);
        if on_hand < 0 {
            return Err(StockRejection::BelowZero {});
        }
        if change < 0 && on_hand < self.reservations.total() && !force {
            return Err(StockRejection::BelowReserved { on_hand, held: self.reservations.total() });
        }
        match change {
            0 => Ok(vec![]),
            _ => Ok(self.with_alerts(vec![StockEvent::Adjusted { change, reason }])),
        }
    }

    /// Sets the number on hand to the result of a count, even if that is below the reserved units.
    pub fn count(&self, on_hand: Units) -> Decision<Self> {
        self.require_stocked()?;
        match on_hand.get().saturating_sub(self.on_hand) {
            0 => Ok(vec![]),
            change => Ok(self.with_alerts(vec![StockEvent::Counted { on_hand, change }])),
        }
    }

    /// Reserves units until a time. A repeat with the same units changes nothing while the reservation is active.
    ///
    /// Units of expired reservations can be reserved at once. The decision then also records the expiry of as many of
    /// these reservations as it needs.
    pub fn reserve(
        &self,
        reservation: ReservationId,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        self.require_stocked()?;
        let wanted = units.get();
        if self.reservations.is_active(reservation, now) {
            let held = self.reservations.get(reservation).map_or(0, |hold| hold.units);
            return if held == wanted { Ok(vec![]) } else { Err(StockRejection::ReservationDiffers { held, wanted }) };
        }
        let free = self.free(now);
        if wanted > free {
            return Err(StockRejection::OutOfStock { free: free.max(0), wanted });
        }
        if self.reservations.len() >= OPEN_RESERVATIONS_MOST {
            return Err(StockRejection::TooManyReservations { most: OPEN_RESERVATIONS_MOST });
        }
        let mut events = self.expiries(wanted, reservation, now);
        events.push(StockEvent::Reserved { reservation, units, until });
        Ok(self.with_alerts(events))
    }

    /// Confirms a reservation that is paid for, so that it no longer expires. A repeat changes nothing.
    pub fn confirm(&self, reservation: ReservationId, now: Timestamp) -> Decision<Self> {
        match self.reservations.get(reservation) {
            Some(hold) if hold.until.is_none() => Ok(vec![]),
            Some(_) if self.reservations.is_active(reservation, now) => {
                Ok(vec![StockEvent::ReservationConfirmed { reservation }])
            }
            _ => Err(StockRejection::ReservationGone { reservation }),
        }
    }

    /// Releases a reservation. Does nothing if it is not open.
    pub fn release(&self, reservation: ReservationId) -> Decision<Self> {
        let Some(hold) = self.reservations.get(reservation) else { return Ok(vec![]) };
        Ok(self.with_alerts(vec![StockEvent::ReservationReleased { reservation, units: hold.units }]))
    }

    /// Records that a reservation has expired. Does nothing if it is confirmed, has ended or expires later.
    pub fn expire(&self, reservation: ReservationId, now: Timestamp) -> Decision<Self> {
        match self.reservations.get(reservation) {
            Some(hold) if hold.until.is_some_and(|until| until <= now) => {
                Ok(self.with_alerts(vec![StockEvent::ReservationExpired { reservation, units: hold.units }]))
            }
            _ => Ok(vec![]),
        }
    }

    /// Takes the units of an open reservation out of stock, because they were shipped. Does not check its expiry.
    pub fn commit(&self, reservation: ReservationId) -> Decision<Self> {
        let Some(hold) = self.reservations.get(reservation) else {
            return Err(StockRejection::ReservationGone { reservation });
        };
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

    /// Units that can be reserved at this time: available units and those of expired reservations.
    pub fn free(&self, now: Timestamp) -> i64 {
        let expired = self.reservations.expired(now).fold(0_i64, |sum, (_, units)| sum.saturating_add(units));
        self.available().saturating_add(expired)
    }

    fn available(&self) -> i64 {
        self.on_hand.saturating_sub(self.reservations.total())
    }

    fn require_stocked(&self) -> Result<(), StockRejection> {
        self.product.map(|_| ()).ok_or(StockRejection::NotStocked {})
    }

    /// Expiry events of expired reservations, soonest first, until `wanted` units are available. If the reservation
    /// `requested` itself has expired, its expiry is always among them.
    fn expiries(&self, wanted: i64, requested: ReservationId, now: Timestamp) -> Vec<StockEvent> {
        let mut available = self.available();
        let mut events = vec![];
        for (reservation, units) in self.reservations.expired(now) {
            if available < wanted || reservation == requested {
                available = available.saturating_add(units);
                events.push(StockEvent::ReservationExpired { reservation, units });
            }
        }
        events
    }

    /// Appends the alerts that these events cause. An alert is raised when the level changes, not while it lasts.
    fn with_alerts(&self, mut events: Vec<StockEvent>) -> Vec<StockEvent> {
        let available =
            events.iter().fold(self.available(), |sum, event| sum.saturating_add(change_of_available(event)));
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
            return events;
        }
        let low_at = Units::try_from(low_at).unwrap_or_default();
        match (self.level, level) {
            (_, Level::Out) => events.push(StockEvent::Depleted {}),
            (Level::Out, _) => events.push(StockEvent::Restored { available }),
            _ => {}
        }
        match level {
            Level::Low => events.push(StockEvent::LowReached { available, low_at }),
            Level::Fine if self.level == Level::Low => events.push(StockEvent::Recovered { available }),
            _ => {}
        }
        events
    }
}

/// Change of the available units by an event.
fn change_of_available(event: &StockEvent) -> i64 {
    match event {
        StockEvent::Received { units } | StockEvent::Returned { units } => units.get(),
        StockEvent::Adjusted { change, .. } | StockEvent::Counted { change, .. } => *change,
        StockEvent::Reserved { units, .. } => units.get().saturating_neg(),
        StockEvent::ReservationReleased { units, .. } | StockEvent::ReservationExpired { units, .. } => *units,
        StockEvent::Opened { .. }
        | StockEvent::ReservationConfirmed { .. }
        | StockEvent::ReservationCommitted { .. }
        | StockEvent::ThresholdSet { .. }
        | StockEvent::LowReached { .. }
        | StockEvent::Recovered { .. }
        | StockEvent::Depleted {}
        | StockEvent::Restored { .. } => 0,
    }
}

impl Aggregate for StockItem {
    const TYPE: &'static str = "StockItem";
    type Id = StockItemId;
    type Event = StockEvent;
    type Rejection = StockRejection;

    fn apply(&mut self, event: &StockEvent) {
        match *event {
            StockEvent::Opened { product, .. } => self.product = Some(product),
            StockEvent::Received { units } | StockEvent::Returned { units } => {
                self.on_hand = self.on_hand.saturating_add(units.get());
            }
            StockEvent::Adjusted { change, .. } => self.on_hand = self.on_hand.saturating_add(change),
            StockEvent::Counted { on_hand, .. } => self.on_hand = on_hand.get(),
            StockEvent::Reserved { reservation, units, until } => {
                self.reservations.open(reservation, units.get(), Some(until));
            }
            StockEvent::ReservationConfirmed { reservation } => self.reservations.confirm(reservation),
            StockEvent::ReservationReleased { reservation, .. }
            | StockEvent::ReservationExpired { reservation, .. } => {
                self.reservations.close(reservation);
            }
            StockEvent::ReservationCommitted { reservation, units } => {
                self.reservations.close(reservation);
                self.on_hand = self.on_hand.saturating_sub(units);
            }
            StockEvent::ThresholdSet { low_at } => self.low_at = low_at.get(),
            StockEvent::LowReached { .. } => self.level = Level::Low,
            StockEvent::Restored { .. } | StockEvent::Recovered { .. } => self.level = Level::Fine,
            StockEvent::Depleted {} => self.level = Level::Out,
        }
    }
}

#[cfg(test)]
#[path = "stock_item_tests.rs"]
mod tests;
