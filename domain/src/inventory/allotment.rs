//! Allotment of a stock item: units set aside for one flash sale, from which the orders of the sale reserve (FLS-05).
//!
//! Invariant: units that a reservation has drawn from the allotment return to it when the reservation ends without
//! dispatch, until the allotment itself has ended. Then all its units are available to every order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{StockEvent, StockItem, StockRejection};
use crate::kernel::{Aggregate as _, Decision};
use crate::shared::{FlashSaleId, Quantity, ReservationId, Timestamp};

/// Units that are set aside for a flash sale and not reserved by an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Allotment {
    pub(super) sale: FlashSaleId,
    pub(super) units: i64,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Open reservations that took their units from here.
    drawn: BTreeSet<ReservationId>,
}

impl Allotment {
    pub(super) fn forget(&mut self, reservation: ReservationId) {
        self.drawn.remove(&reservation);
    }
}

impl StockItem {
    /// Sets units aside for a flash sale, or changes the window and the units before the sale has begun. A stock item has
    /// one allotment at a time.
    pub fn allot(
        &self,
        sale: FlashSaleId,
        units: Quantity,
        from: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        self.require_stocked()?;
        match &self.allotment {
            Some(open) if open.sale != sale && now < open.until => {
                return Err(StockRejection::AllottedToSale { sale: open.sale });
            }
            Some(open) if (open.sale, open.units, open.from, open.until) == (sale, units.get(), from, until) => {
                return Ok(vec![]);
            }
            _ => {}
        }
        let mut events: Vec<_> = self.end_of_allotment().into_iter().collect();
        let mut without = self.clone();
        events.iter().for_each(|event| without.apply(event));
        let (free, wanted) = (without.free(now), units.get());
        if wanted > free {
            return Err(StockRejection::OutOfStock { free: free.max(0), wanted });
        }
        events.extend(without.expiries(wanted, None, false, 0, now));
        events.push(StockEvent::Allotted { sale, units, from, until });
        Ok(self.with_alerts(events))
    }

    /// Ends the allotment of a flash sale; its units are available again. Does nothing if it has ended.
    pub fn end_allotment(&self, sale: FlashSaleId) -> Decision<Self> {
        let ended = self.end_of_allotment().filter(|_| self.allotment.as_ref().is_some_and(|open| open.sale == sale));
        Ok(self.with_alerts(ended.into_iter().collect()))
    }

    /// Flash sale in whose window this time lies.
    pub fn sale_at(&self, now: Timestamp) -> Option<FlashSaleId> {
        self.allotment.as_ref().filter(|sale| (sale.from..sale.until).contains(&now)).map(|sale| sale.sale)
    }

    /// Units of the allotment that no reservation has taken.
    pub fn allotted(&self) -> i64 {
        self.allotment.as_ref().map_or(0, |allotment| allotment.units)
    }

    /// Units that an order in the sale can reserve at this time.
    pub(super) fn free_in(&self, sale: FlashSaleId, now: Timestamp) -> i64 {
        let Some(open) = self.allotment.as_ref().filter(|open| open.sale == sale && now < open.until) else { return 0 };
        let (_, drawn) = self.expired_units(now);
        let on_hand = self.on_hand.saturating_sub(self.reservations.total());
        open.units.min(on_hand).saturating_add(drawn)
    }

    /// Units of all expired reservations, and of those among them that were drawn from the allotment.
    pub(super) fn expired_units(&self, now: Timestamp) -> (i64, i64) {
        self.reservations.expired(now).fold((0, 0), |(all, drawn), (reservation, units)| {
            let of_sale = if self.has_drawn(reservation) { units } else { 0 };
            (units.saturating_add(all), of_sale.saturating_add(drawn))
        })
    }

    pub(super) fn end_of_allotment(&self) -> Option<StockEvent> {
        let Allotment { sale, units, .. } = *self.allotment.as_ref()?;
        Some(StockEvent::AllotmentEnded { sale, units })
    }

    /// Return of the units of an ended reservation to the allotment that they came from.
    pub(super) fn refill(&self, reservation: ReservationId, units: i64) -> Option<StockEvent> {
        let sale = self.allotment.as_ref().filter(|open| open.drawn.contains(&reservation))?.sale;
        Some(StockEvent::AllotmentRefilled { sale, reservation, units })
    }

    /// Expiry events of expired reservations, soonest first, until `wanted` units are available, or are in the allotment
    /// if `in_sale`, and at least `count_least` of them. If the reservation `requested` itself has expired, its expiry is
    /// always among them. An allotment whose window is over ends first.
    pub(super) fn expiries(
        &self,
        wanted: i64,
        requested: Option<ReservationId>,
        in_sale: bool,
        count_least: usize,
        now: Timestamp,
    ) -> Vec<StockEvent> {
        let over = self.allotment.as_ref().is_some_and(|allotment| allotment.until <= now);
        let ended = self.end_of_allotment().filter(|_| over);
        let mut available = self.available().saturating_add(ended.as_ref().map_or(0, StockEvent::change_of_available));
        let mut allotted = self.allotted();
        let mut events: Vec<_> = ended.into_iter().collect();
        for (place, (reservation, units)) in self.reservations.expired(now).enumerate() {
            let refill = self.refill(reservation, units).filter(|_| !over);
            let helps = refill.is_some() == in_sale;
            let short = if in_sale { allotted < wanted } else { available < wanted };
            if (helps && short) || place < count_least || Some(reservation) == requested {
                let sum = if refill.is_some() { &mut allotted } else { &mut available };
                *sum = sum.saturating_add(units);
                events.push(StockEvent::ReservationExpired { reservation, units });
                events.extend(refill);
            }
        }
        events
    }

    /// Folds an event of the allotment.
    pub(super) fn apply_allotment(&mut self, event: &StockEvent) {
        match (event, &mut self.allotment) {
            (&StockEvent::Allotted { sale, units, from, until }, allotment) => {
                *allotment = Some(Allotment { sale, units: units.get(), from, until, drawn: BTreeSet::new() });
            }
            (&StockEvent::AllotmentDrawn { reservation, units, .. }, Some(allotment)) => {
                allotment.units = allotment.units.saturating_sub(units);
                allotment.drawn.insert(reservation);
            }
            (&StockEvent::AllotmentRefilled { reservation, units, .. }, Some(allotment)) => {
                allotment.units = allotment.units.saturating_add(units);
                allotment.forget(reservation);
            }
            (StockEvent::AllotmentEnded { .. }, allotment) => *allotment = None,
            _ => {}
        }
    }

    fn has_drawn(&self, reservation: ReservationId) -> bool {
        self.allotment.as_ref().is_some_and(|open| open.drawn.contains(&reservation))
    }
}
