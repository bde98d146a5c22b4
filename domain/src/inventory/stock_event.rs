//! Events and rejections of a stock item.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Rejection, Retry};
use crate::shared::{
    FlashSaleId, Holder, OrderId, ProductId, Quantity, Reason, ReservationId, StoreId, Timestamp, Units,
};

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum StockEvent {
    /// A product is now stocked at a store.
    #[serde(rename = "stock.opened")]
    Opened { product: ProductId, store: StoreId },
    /// The product is no longer stocked at the store. Nothing was left there.
    #[serde(rename = "stock.closed")]
    Closed {},
    /// Units were received.
    #[serde(rename = "stock.received")]
    Received {
        units: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Units were returned by a customer.
    #[serde(rename = "stock.returned")]
    Returned {
        units: Quantity,
        /// Absent in events that were written before returns named their order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<OrderId>,
    },
    /// The number on hand was adjusted by hand.
    #[serde(rename = "stock.adjusted")]
    Adjusted { change: i64, reason: Reason },
    /// Stock was counted; `change` is the difference to the recorded number.
    #[serde(rename = "stock.counted")]
    Counted {
        on_hand: Units,
        change: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Units are reserved until the given time.
    #[serde(rename = "stock.reserved")]
    Reserved {
        reservation: ReservationId,
        units: Quantity,
        until: Timestamp,
        /// Absent in events that were written before reservations of orders had ids of their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
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
    /// Units were set aside for a flash sale with this window. Only orders in the sale take them.
    #[serde(rename = "stock.allotted")]
    Allotted { sale: FlashSaleId, units: Quantity, from: Timestamp, until: Timestamp },
    /// A reservation takes units of the allotment.
    #[serde(rename = "stock.allotment_drawn")]
    AllotmentDrawn { sale: FlashSaleId, reservation: ReservationId, units: i64 },
    /// Units of a reservation that has ended are in the allotment again.
    #[serde(rename = "stock.allotment_refilled")]
    AllotmentRefilled { sale: FlashSaleId, reservation: ReservationId, units: i64 },
    /// The allotment has ended; its unsold units are available to all.
    #[serde(rename = "stock.allotment_ended")]
    AllotmentEnded { sale: FlashSaleId, units: i64 },
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
    /// Reserved units are missing: fewer are on hand than are reserved. `orders` are those for which nothing is left, at
    /// most 100: units go to confirmed reservations first, then to the others, each in the order in which they were made.
    #[serde(rename = "stock.shortage_recorded")]
    ShortageRecorded { missing: i64, orders: Vec<OrderId>, reason: Option<Reason> },
    /// No reserved unit is missing any more.
    #[serde(rename = "stock.shortage_resolved")]
    ShortageResolved {},
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
    #[error("{on_hand} units are on hand; correct the stock to zero first")]
    UnitsOnHand { on_hand: i64 },
    #[error("{held} units are reserved")]
    UnitsReserved { held: i64 },
    #[error("stock cannot be below zero")]
    BelowZero {},
    #[error("{held} units are reserved, more than the {on_hand} that were counted; name a reason")]
    ReasonMissing { on_hand: i64, held: i64 },
    #[error("only {on_hand} of the {wanted} units are on hand")]
    StockShort { on_hand: i64, wanted: i64 },
    #[error("the reservation has expired or does not exist")]
    ReservationGone { reservation: ReservationId },
    #[error("the reservation is for {held} units, not for {wanted}")]
    ReservationDiffers { held: i64, wanted: i64 },
    #[error("this reservation belongs to an order and changes only with it")]
    ReservationOfOrder { reservation: ReservationId, order: OrderId },
    #[error("this reservation was made by hand under the id of another one")]
    ReservationByHand { reservation: ReservationId },
    #[error("units of this product are set aside for another flash sale")]
    AllottedToSale { sale: FlashSaleId },
    #[error("{most} reservations are open already")]
    TooManyReservations { most: usize },
}

impl Rejection for StockRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ReservationDiffers { .. } | Self::ReservationOfOrder { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl StockEvent {
    /// Change of the available units by the event.
    pub(super) fn change_of_available(&self) -> i64 {
        match self {
            Self::Received { units, .. } | Self::Returned { units, .. } => units.get(),
            Self::Adjusted { change, .. } | Self::Counted { change, .. } => *change,
            Self::Reserved { units, .. } => units.get().saturating_neg(),
            Self::Allotted { units, .. } => units.get().saturating_neg(),
            Self::AllotmentRefilled { units, .. } => units.saturating_neg(),
            Self::ReservationReleased { units, .. }
            | Self::ReservationExpired { units, .. }
            | Self::AllotmentDrawn { units, .. }
            | Self::AllotmentEnded { units, .. } => *units,
            Self::Opened { .. }
            | Self::Closed {}
            | Self::ReservationConfirmed { .. }
            | Self::ReservationCommitted { .. }
            | Self::ThresholdSet { .. }
            | Self::LowReached { .. }
            | Self::Recovered { .. }
            | Self::Depleted {}
            | Self::Restored { .. }
            | Self::ShortageRecorded { .. }
            | Self::ShortageResolved {} => 0,
        }
    }
}
