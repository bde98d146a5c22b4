//! Flash sales as buyers see them (FLS-08). A customer reads only sales that are running.

use domain::flash_sales::{FlashSaleEvent, SaleTerms};
use domain::kernel::Recorded;
use domain::shared::{Currency, FlashSaleId, Permission, ProductId, SaleOccasionId, StoreId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SaleStatus;
use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Offer of a flash sale. Customers see it while the sale is running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SaleOffer {
    /// Id of the sale.
    pub sale: FlashSaleId,
    /// Product on sale.
    pub product: ProductId,
    /// Store that sells.
    pub store: StoreId,
    /// Occasion of which the sale is a part; null for a sale of its own.
    pub occasion: Option<SaleOccasionId>,
    /// Status by the recorded start and end.
    pub status: SaleStatus,
    /// First moment of the sale.
    pub starts_at: Timestamp,
    /// First moment after the sale.
    pub ends_at: Timestamp,
    /// Price of one unit in minor units.
    pub price_minor: i64,
    /// Currency of the price.
    pub currency: Currency,
    /// Largest number of units that one customer can buy; null for no limit.
    pub customer_limit: Option<i64>,
    /// Units that can still be bought.
    pub left: i64,
}

impl ReadModel for SaleOffer {
    const NEEDS: Permission = Permission::SeeProducts;
    const KEY: &'static [&'static str] = &["sale"];
    const INDEXED: &'static [&'static str] = &["product", "store", "occasion", "status", "ends_at"];
    const PUBLIC: &'static [&'static str] = &[
        "sale",
        "product",
        "store",
        "occasion",
        "status",
        "starts_at",
        "ends_at",
        "price_minor",
        "currency",
        "customer_limit",
        "left",
    ];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "running"));

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::flash_sales::FlashSale>(Self::on_sale);
    }
}

impl SaleOffer {
    fn on_sale(row: Option<Self>, event: &Recorded<FlashSaleEvent>) -> Folded<Self> {
        if let FlashSaleEvent::Scheduled { product, store, terms, occasion } = &event.event {
            let row = Self::new(event, *product, *store, terms);
            return Ok(Some(Self { occasion: *occasion, ..row }));
        }
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        row.apply(&event.event)?;
        Ok(Some(row))
    }

    fn new(event: &Recorded<FlashSaleEvent>, product: ProductId, store: StoreId, terms: &SaleTerms) -> Self {
        Self {
            sale: FlashSaleId::new(event.stream),
            product,
            store,
            occasion: None,
            status: SaleStatus::Scheduled,
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            price_minor: terms.price.minor(),
            currency: terms.price.currency(),
            customer_limit: terms.limit.map(i64::from),
            left: terms.allotment.get(),
        }
    }

    fn apply(&mut self, event: &FlashSaleEvent) -> Result<(), Unfoldable> {
        let change = match event {
            FlashSaleEvent::Changed { terms } => {
                (self.starts_at, self.ends_at) = (terms.starts_at, terms.ends_at);
                (self.price_minor, self.currency) = (terms.price.minor(), terms.price.currency());
                self.customer_limit = terms.limit.map(i64::from);
                self.left = terms.allotment.get();
                0
            }
            FlashSaleEvent::Cancelled {} => self.change_status(SaleStatus::Cancelled),
            FlashSaleEvent::Started {} => self.change_status(SaleStatus::Running),
            FlashSaleEvent::Ended {} => self.change_status(SaleStatus::Ended),
            FlashSaleEvent::Claimed { units, .. } => units.get().saturating_neg(),
            FlashSaleEvent::ClaimReleased { units, .. } | FlashSaleEvent::ClaimExpired { units, .. } => *units,
            FlashSaleEvent::Scheduled { .. }
            | FlashSaleEvent::ClaimConfirmed { .. }
            | FlashSaleEvent::SoldOut {}
            | FlashSaleEvent::AvailableAgain { .. } => 0,
        };
        self.left = self.left.checked_add(change).ok_or_else(|| Unfoldable::overflow("left"))?;
        Ok(())
    }

    /// Changes the status and no unit.
    fn change_status(&mut self, status: SaleStatus) -> i64 {
        self.status = status;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::flash_sale::tests::{claimed, ended, running};
    use super::*;

    #[test]
    fn offer_counts_down_and_ends_with_the_sale() {
        let offer: SaleOffer = claimed(running(), 1, 3).row();
        assert_eq!((offer.status, offer.left, offer.price_minor), (SaleStatus::Running, 2, 400));
        assert_eq!(ended(running()).row::<SaleOffer>().status, SaleStatus::Ended);
    }
}
