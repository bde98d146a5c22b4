//! Flash sale of one product at one store (FLS-01, FLS-03, FLS-05, FLS-11, FLS-13).
//!
//! Orders claim units of the allotment. A claim is open until its payment confirms it, until it is released with the
//! order, or until it expires; an expired claim counts no longer, also before its end is recorded. Whether the sale is
//! running is decided by the time of the decision and not by the recorded start and end.
//!
//! Invariants: claims never exceed the allotment, nor those of one customer the limit; the terms are fixed from the start
//! on, and the window of a sale in an occasion always.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FlashSaleEvent, FlashSaleRejection, SaleTerms};
use crate::kernel::{Aggregate, Decision};
use crate::shared::{
    CustomerId, FlashSaleId, Hold, Holder, Holds, OrderId, Price, ProductId, Quantity, SaleOccasionId, StoreId,
    Timestamp,
};

/// Largest number of units of a sale. Its claims are part of the state, so the limit bounds the state's size.
pub const ALLOTMENT_MOST: i64 = 50_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlashSale {
    item: Option<(ProductId, StoreId)>,
    terms: Option<SaleTerms>,
    status: Status,
    claims: Holds<OrderId>,
    /// Customer of each open claim.
    customers: BTreeMap<OrderId, CustomerId>,
    /// Units of all open claims of a customer.
    bought: BTreeMap<CustomerId, i64>,
    /// Number of paid orders of a customer.
    paid_orders: BTreeMap<CustomerId, i64>,
    sold_out: bool,
    occasion: Option<SaleOccasionId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Scheduled,
    Started,
    Ended,
    Cancelled,
}

impl FlashSale {
    /// Schedules a sale, alone or in an occasion. A repeat changes nothing. `normal` is the price of the product.
    pub fn schedule(
        &self,
        occasion: Option<SaleOccasionId>,
        product: ProductId,
        store: StoreId,
        terms: &SaleTerms,
        normal: Price,
        now: Timestamp,
    ) -> Decision<Self> {
        if self.item.is_some() {
            let same = self.item == Some((product, store)) && self.terms.as_ref() == Some(terms);
            let same = same && self.occasion == occasion;
            return if same { Ok(vec![]) } else { Err(FlashSaleRejection::SaleExists {}) };
        }
        check(terms, normal, now)?;
        Ok(vec![FlashSaleEvent::Scheduled { product, store, terms: terms.clone(), occasion }])
    }

    /// Changes the terms before the start.
    pub fn change(&self, terms: &SaleTerms, normal: Price, now: Timestamp) -> Decision<Self> {
        let known = self.terms()?;
        self.require_not_cancelled()?;
        if known == terms {
            return Ok(vec![]);
        }
        if self.status != Status::Scheduled || known.starts_at <= now {
            return Err(FlashSaleRejection::SaleStarted {});
        }
        if self.occasion.is_some() && (terms.starts_at, terms.ends_at) != (known.starts_at, known.ends_at) {
            return Err(FlashSaleRejection::SaleInOccasion {});
        }
        check(terms, normal, now)?;
        Ok(vec![FlashSaleEvent::Changed { terms: terms.clone() }])
    }

    /// Cancels the sale before its end. Claims of orders stay.
    pub fn cancel(&self, now: Timestamp) -> Decision<Self> {
        match self.status {
            Status::Cancelled => Ok(vec![]),
            Status::Ended => Err(FlashSaleRejection::SaleOver {}),
            _ if self.terms()?.ends_at <= now => Err(FlashSaleRejection::SaleOver {}),
            _ => Ok(vec![FlashSaleEvent::Cancelled {}]),
        }
    }

    /// Records that the window has begun. Does nothing before that time, and after the end or a cancellation.
    pub fn record_start(&self, now: Timestamp) -> Decision<Self> {
        let has_begun = self.terms()?.starts_at <= now;
        Ok(if self.status == Status::Scheduled && has_begun { vec![FlashSaleEvent::Started {}] } else { vec![] })
    }

    /// Records that the window is over, and its start if that was not recorded. Does nothing before that time, and after a
    /// cancellation.
    pub fn record_end(&self, now: Timestamp) -> Decision<Self> {
        if !matches!(self.status, Status::Scheduled | Status::Started) || now < self.terms()?.ends_at {
            return Ok(vec![]);
        }
        let mut events = self.record_start(now)?;
        events.push(FlashSaleEvent::Ended {});
        Ok(events)
    }

    /// Takes units for an order until the deadline for its payment. A repeat changes nothing while the claim is active.
    pub fn claim(
        &self,
        order: OrderId,
        customer: CustomerId,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        if self.claims.is_active(order, now) {
            return Ok(vec![]);
        }
        if !self.is_running(now)? {
            return Err(FlashSaleRejection::SaleNotRunning {});
        }
        let terms = self.terms()?;
        let bought = self.bought_by(customer, now);
        if let Some(most) = terms.limit.map(Quantity::get)
            && bought.saturating_add(units.get()) > most
        {
            return Err(FlashSaleRejection::SaleLimitReached { most, bought });
        }
        let (left, wanted) = (self.left(now)?, units.get());
        if wanted > left {
            return Err(FlashSaleRejection::SaleSoldOut { left, wanted });
        }
        let mut events = self.expiries(order, wanted, now)?;
        events.push(FlashSaleEvent::Claimed { order, customer, units, until });
        Ok(self.with_availability(events))
    }

    /// Records that an order was paid. An expired claim is made again first; rejects if that is no longer possible.
    pub fn confirm(
        &self,
        order: OrderId,
        customer: CustomerId,
        units: Quantity,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Self> {
        let mut events = self.claim(order, customer, units, until, now)?;
        let is_confirmed = events.is_empty() && self.claims.get(order).is_some_and(|claim| claim.until.is_none());
        if !is_confirmed {
            let (units, amount) = (units.get(), self.amount(units.get())?);
            let buyers = Some(self.buyers_after(customer, 1));
            events.push(FlashSaleEvent::ClaimConfirmed { order, customer, units, amount, buyers });
        }
        Ok(events)
    }

    /// Gives the units of a cancelled order back. Does nothing if its claim has ended.
    pub fn release(&self, order: OrderId) -> Decision<Self> {
        let Some((customer, claim)) = self.open_claim(order) else { return Ok(vec![]) };
        let is_paid = claim.until.is_none();
        let amount = if is_paid { Some(self.amount(claim.units)?) } else { None };
        let (units, buyers) = (claim.units, is_paid.then(|| self.buyers_after(customer, -1)));
        Ok(self.with_availability(vec![FlashSaleEvent::ClaimReleased { order, customer, units, amount, buyers }]))
    }

    /// Records that an order was not paid in time. Does nothing if its claim is confirmed, has ended or expires later.
    pub fn expire(&self, order: OrderId, now: Timestamp) -> Decision<Self> {
        match self.open_claim(order) {
            Some((customer, claim)) if claim.until.is_some_and(|until| until <= now) => {
                let units = claim.units;
                Ok(self.with_availability(vec![FlashSaleEvent::ClaimExpired { order, customer, units }]))
            }
            _ => Ok(vec![]),
        }
    }

    /// True if a claim is open and is confirmed or has not expired.
    pub fn has_claim(&self, order: OrderId, now: Timestamp) -> bool {
        self.claims.is_active(order, now)
    }

    /// Product and store of the sale.
    pub fn item(&self) -> Result<(ProductId, StoreId), FlashSaleRejection> {
        self.item.ok_or(FlashSaleRejection::SaleUnknown {})
    }

    pub fn terms(&self) -> Result<&SaleTerms, FlashSaleRejection> {
        self.terms.as_ref().ok_or(FlashSaleRejection::SaleUnknown {})
    }

    /// Units that can be claimed at this time.
    pub fn left(&self, now: Timestamp) -> Result<i64, FlashSaleRejection> {
        let expired = self.claims.expired(now).fold(0_i64, |sum, (_, units)| sum.saturating_add(units));
        Ok(self.unclaimed().saturating_add(expired))
    }

    /// True if orders are in the sale at this time.
    pub fn is_running(&self, now: Timestamp) -> Result<bool, FlashSaleRejection> {
        let terms = self.terms()?;
        let open = matches!(self.status, Status::Scheduled | Status::Started);
        Ok(open && (terms.starts_at..terms.ends_at).contains(&now))
    }

    fn require_not_cancelled(&self) -> Result<(), FlashSaleRejection> {
        if self.status == Status::Cancelled { Err(FlashSaleRejection::SaleCancelled {}) } else { Ok(()) }
    }

    /// Units of the allotment without an open claim.
    fn unclaimed(&self) -> i64 {
        self.terms.as_ref().map_or(0, |terms| terms.allotment.get()).saturating_sub(self.claims.total())
    }

    /// Units of the active claims of a customer.
    fn bought_by(&self, customer: CustomerId, now: Timestamp) -> i64 {
        let expired = self.claims.expired(now).filter(|(order, _)| self.customers.get(order) == Some(&customer));
        let all = self.bought.get(&customer).copied().unwrap_or(0);
        expired.fold(all, |sum, (_, units)| sum.saturating_sub(units))
    }

    /// Number of customers with a paid order, once this customer has so many more or fewer.
    fn buyers_after(&self, customer: CustomerId, change: i64) -> i64 {
        let before = self.paid_orders.get(&customer).copied().unwrap_or(0);
        let others = self.paid_orders.len().saturating_sub(usize::from(before > 0));
        let buyers = others.saturating_add(usize::from(before.saturating_add(change) > 0));
        i64::try_from(buyers).unwrap_or(i64::MAX)
    }

    fn count_paid_order(&mut self, customer: CustomerId, change: i64) {
        let orders = self.paid_orders.get(&customer).map_or(0, |orders| *orders).saturating_add(change);
        match orders {
            ..=0 => self.paid_orders.remove(&customer),
            _ => self.paid_orders.insert(customer, orders),
        };
    }

    fn open_claim(&self, order: OrderId) -> Option<(CustomerId, Hold)> {
        Some((*self.customers.get(&order)?, self.claims.get(order)?))
    }

    fn amount(&self, units: i64) -> Result<Price, FlashSaleRejection> {
        let units = Quantity::try_from(units).ok();
        let amount = units.and_then(|units| self.terms.as_ref()?.price.times(units));
        amount.ok_or(FlashSaleRejection::SaleAmountTooLarge {})
    }

    /// Expiry events of expired claims, soonest first, until `wanted` units are unclaimed. If the claim of this order has
    /// expired, its expiry is always among them.
    fn expiries(
        &self,
        requested: OrderId,
        wanted: i64,
        now: Timestamp,
    ) -> Result<Vec<FlashSaleEvent>, FlashSaleRejection> {
        let mut unclaimed = self.unclaimed();
        let mut events = vec![];
        for (order, units) in self.claims.expired(now) {
            if let Some(&customer) = self.customers.get(&order)
                && (unclaimed < wanted || order == requested)
            {
                unclaimed = unclaimed.saturating_add(units);
                events.push(FlashSaleEvent::ClaimExpired { order, customer, units });
            }
        }
        Ok(events)
    }

    /// Appends the event that says that nothing, or something again, is left after these events.
    fn with_availability(&self, mut events: Vec<FlashSaleEvent>) -> Vec<FlashSaleEvent> {
        let left = events.iter().fold(self.unclaimed(), |left, event| match event {
            FlashSaleEvent::Claimed { units, .. } => left.saturating_sub(units.get()),
            FlashSaleEvent::ClaimReleased { units, .. } | FlashSaleEvent::ClaimExpired { units, .. } => {
                left.saturating_add(*units)
            }
            _ => left,
        });
        match (self.sold_out, left) {
            (false, ..=0) => events.push(FlashSaleEvent::SoldOut {}),
            (true, 1..) => events.push(FlashSaleEvent::AvailableAgain { left }),
            _ => {}
        }
        events
    }

    fn close_claim(&mut self, order: OrderId, customer: CustomerId, units: i64) {
        self.claims.close(order);
        self.customers.remove(&order);
        let left = self.bought.get(&customer).map_or(0, |all| all.saturating_sub(units));
        match left {
            ..=0 => self.bought.remove(&customer),
            _ => self.bought.insert(customer, left),
        };
    }
}

/// Rejects terms that no sale can have.
fn check(terms: &SaleTerms, normal: Price, now: Timestamp) -> Result<(), FlashSaleRejection> {
    let &SaleTerms { starts_at, ends_at, allotment, price, .. } = terms;
    if ends_at <= starts_at || ends_at <= now {
        return Err(FlashSaleRejection::SaleWindowEmpty { starts_at, ends_at });
    }
    if allotment.get() > ALLOTMENT_MOST {
        return Err(FlashSaleRejection::AllotmentTooLarge { most: ALLOTMENT_MOST });
    }
    if price.currency() != normal.currency() || price.minor() >= normal.minor() {
        return Err(FlashSaleRejection::SalePriceNotReduced { normal });
    }
    Ok(())
}

impl Aggregate for FlashSale {
    const TYPE: &'static str = "FlashSale";
    const STATE_VERSION: i32 = 3;
    type Id = FlashSaleId;
    type Event = FlashSaleEvent;
    type Rejection = FlashSaleRejection;

    fn apply(&mut self, event: &FlashSaleEvent) {
        match *event {
            FlashSaleEvent::Scheduled { product, store, ref terms, occasion } => {
                (self.item, self.terms) = (Some((product, store)), Some(terms.clone()));
                self.occasion = occasion;
            }
            FlashSaleEvent::Changed { ref terms } => self.terms = Some(terms.clone()),
            FlashSaleEvent::Cancelled {} => self.status = Status::Cancelled,
            FlashSaleEvent::Started {} => self.status = Status::Started,
            FlashSaleEvent::Ended {} => self.status = Status::Ended,
            FlashSaleEvent::Claimed { order, customer, units, until } => {
                let (units, holder) = (units.get(), Some(Holder::Order(order)));
                self.claims.open(order, Hold { units, until: Some(until), number: 0, holder });
                self.customers.insert(order, customer);
                let all = self.bought.entry(customer).or_default();
                *all = all.saturating_add(units);
            }
            FlashSaleEvent::ClaimConfirmed { order, customer, .. } => {
                self.claims.confirm(order);
                self.count_paid_order(customer, 1);
            }
            FlashSaleEvent::ClaimReleased { order, customer, units, amount, .. } => {
                self.close_claim(order, customer, units);
                if amount.is_some() {
                    self.count_paid_order(customer, -1);
                }
            }
            FlashSaleEvent::ClaimExpired { order, customer, units } => self.close_claim(order, customer, units),
            FlashSaleEvent::SoldOut {} => self.sold_out = true,
            FlashSaleEvent::AvailableAgain { .. } => self.sold_out = false,
        }
    }
}

#[cfg(test)]
#[path = "flash_sale_tests.rs"]
mod tests;
