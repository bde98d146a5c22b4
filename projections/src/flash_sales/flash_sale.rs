//! Flash sales with their figures (FLS-05, FLS-09, FLS-10, FLS-11). Invariant: allotment = sold + claimed + left.

use domain::flash_sales::{FlashSaleEvent, SaleEntry, SaleEntryEvent, SaleTerms};
use domain::kernel::Recorded;
use domain::shared::{Currency, FlashSaleId, Permission, Price, ProductId, SaleOccasionId, StoreId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};
use crate::key;

/// Flash sale of one product at one store, with its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSale {
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
    /// Currency of all amounts.
    pub currency: Currency,
    /// Largest number of units that one customer can buy; null for no limit.
    pub customer_limit: Option<i64>,
    /// Units set aside for the sale.
    pub allotment: i64,
    /// Units that are neither sold nor claimed.
    pub left: i64,
    /// Units of orders that are not paid yet.
    pub claimed: i64,
    /// Units of paid orders.
    pub sold: i64,
    /// Amount paid for the sold units, in minor units. A cancelled order no longer counts; other refunds are not deducted.
    pub revenue_minor: i64,
    /// Customers that entered the sale.
    pub participants: i64,
    /// Customers with a paid order in the sale.
    pub buyers: i64,
    /// Conversion rate: buyers per 10,000 participants.
    pub conversion_bp: i64,
    /// Sell-through: sold units per 10,000 units of the allotment.
    pub sell_through_bp: i64,
    /// True while no unit is left.
    pub sold_out: bool,
    /// First moment at which orders could buy: the start of the window, or the time of scheduling if that was later.
    pub open_from: Timestamp,
    /// Time at which the last unit was taken; null if units were left or came back during the sale.
    pub sold_out_at: Option<Timestamp>,
    /// Seconds until the last unit was taken.
    pub sold_out_after_s: Option<i64>,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

/// Status of a flash sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaleStatus {
    /// The sale has not started.
    Scheduled,
    /// Orders buy in the sale.
    Running,
    /// The window of the sale is over.
    Ended,
    /// The team cancelled the sale.
    Cancelled,
}

impl ReadModel for FlashSale {
    const NEEDS: Permission = Permission::SeeSales;
    const KEY: &'static [&'static str] = &["sale"];
    const INDEXED: &'static [&'static str] = &["product", "store", "occasion", "status", "starts_at", "ends_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::flash_sales::FlashSale>(Self::on_sale);
        from.stream::<SaleEntry>(
            |event| {
                let SaleEntryEvent::Recorded { sale, .. } = event.event;
                Some(key![sale])
            },
            Self::on_entry,
        );
    }
}

impl FlashSale {
    /// Row after an event of the sale.
    pub(super) fn on_sale(row: Option<Self>, event: &Recorded<FlashSaleEvent>) -> Folded<Self> {
        if let FlashSaleEvent::Scheduled { product, store, terms, occasion } = &event.event {
            let row = Self::new(event, *product, *store, terms);
            return Ok(Some(Self { occasion: *occasion, ..row }));
        }
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        row.apply(event)?;
        row.rate();
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn on_entry(row: Option<Self>, event: &Recorded<SaleEntryEvent>) -> Folded<Self> {
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        add(&mut row.participants, 1, "participants")?;
        row.rate();
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    /// Computes the rates from the counters.
    fn rate(&mut self) {
        let rate = |part: i64, whole: i64| part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
        self.conversion_bp = rate(self.buyers, self.participants);
        self.sell_through_bp = rate(self.sold, self.allotment);
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
            allotment: terms.allotment.get(),
            left: terms.allotment.get(),
            claimed: 0,
            sold: 0,
            revenue_minor: 0,
            participants: 0,
            buyers: 0,
            conversion_bp: 0,
            sell_through_bp: 0,
            sold_out: false,
            open_from: terms.starts_at.max(event.occurred_at),
            sold_out_at: None,
            sold_out_after_s: None,
            changed_at: event.occurred_at,
        }
    }

    fn apply(&mut self, event: &Recorded<FlashSaleEvent>) -> Result<(), Unfoldable> {
        match &event.event {
            FlashSaleEvent::Scheduled { .. } => {}
            // The terms change only before the first claim.
            FlashSaleEvent::Changed { terms } => {
                (self.starts_at, self.ends_at) = (terms.starts_at, terms.ends_at);
                self.open_from = terms.starts_at.max(event.occurred_at);
                (self.price_minor, self.currency) = (terms.price.minor(), terms.price.currency());
                self.customer_limit = terms.limit.map(i64::from);
                (self.allotment, self.left) = (terms.allotment.get(), terms.allotment.get());
            }
            FlashSaleEvent::Cancelled {} => self.status = SaleStatus::Cancelled,
            FlashSaleEvent::Started {} => self.status = SaleStatus::Running,
            FlashSaleEvent::Ended {} => self.status = SaleStatus::Ended,
            FlashSaleEvent::Claimed { units, .. } => self.move_units(units.get().saturating_neg(), units.get(), 0)?,
            FlashSaleEvent::ClaimConfirmed { units, amount, buyers, .. } => {
                self.buyers = buyers.unwrap_or(self.buyers);
                self.move_units(0, units.saturating_neg(), *units)?;
                add(&mut self.revenue_minor, amount.minor(), "revenue_minor")?;
            }
            FlashSaleEvent::ClaimReleased { units, amount: Some(amount), buyers, .. } => {
                self.buyers = buyers.unwrap_or(self.buyers);
                self.move_units(*units, 0, units.saturating_neg())?;
                add(&mut self.revenue_minor, Price::minor(*amount).saturating_neg(), "revenue_minor")?;
            }
            FlashSaleEvent::ClaimReleased { units, amount: None, .. } | FlashSaleEvent::ClaimExpired { units, .. } => {
                self.move_units(*units, units.saturating_neg(), 0)?;
            }
            FlashSaleEvent::SoldOut {} => self.change_sold_out(Some(event.occurred_at)),
            FlashSaleEvent::AvailableAgain { .. } => self.change_sold_out(None),
        }
        Ok(())
    }

    /// Changes the time of the sell-out. Units that come back after the sale do not change it.
    fn change_sold_out(&mut self, at: Option<Timestamp>) {
        self.sold_out = at.is_some();
        if self.status != SaleStatus::Ended {
            self.sold_out_at = at;
            self.sold_out_after_s = at.map(|at| at.seconds_since(self.open_from).0);
        }
    }

    fn move_units(&mut self, left: i64, claimed: i64, sold: i64) -> Result<(), Unfoldable> {
        add(&mut self.left, left, "left")?;
        add(&mut self.claimed, claimed, "claimed")?;
        add(&mut self.sold, sold, "sold")
    }
}

fn add(sum: &mut i64, change: i64, field: &str) -> Result<(), Unfoldable> {
    *sum = sum.checked_add(change).ok_or_else(|| Unfoldable::overflow(field))?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use domain::shared::{CustomerId, Money, OrderId, Quantity};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn order(number: u128) -> OrderId {
        OrderId::new(Uuid::from_u128(number))
    }

    fn ada() -> CustomerId {
        CustomerId::new(Uuid::from_u128(3))
    }

    fn quantity(number: i64) -> Quantity {
        Quantity::try_from(number).expect("a quantity")
    }

    fn usd(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    fn terms(allotment: i64) -> SaleTerms {
        let (starts_at, ends_at) = (Story::at(1), Story::at(900));
        SaleTerms { starts_at, ends_at, allotment: quantity(allotment), price: usd(400), limit: Some(quantity(3)) }
    }

    fn then(story: Story, event: FlashSaleEvent) -> Story {
        story.then::<domain::flash_sales::FlashSale>(FlashSaleId::new(Uuid::from_u128(9)), event)
    }

    /// A running sale of five units.
    pub(crate) fn running() -> Story {
        let (product, store) = (ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)));
        let story = then(Story::new(), FlashSaleEvent::Scheduled { product, store, terms: terms(4), occasion: None });
        then(then(story, FlashSaleEvent::Changed { terms: terms(5) }), FlashSaleEvent::Started {})
    }

    pub(crate) fn claimed(story: Story, number: u128, units: i64) -> Story {
        let (order, units) = (order(number), quantity(units));
        then(story, FlashSaleEvent::Claimed { order, customer: ada(), units, until: Story::at(900) })
    }

    pub(crate) fn ended(story: Story) -> Story {
        then(story, FlashSaleEvent::Ended {})
    }

    fn figures(story: &Story) -> [i64; 4] {
        let row: FlashSale = story.row();
        assert_eq!(row.allotment, row.sold + row.claimed + row.left);
        [row.left, row.claimed, row.sold, row.revenue_minor]
    }

    #[test]
    fn units_move_between_left_claimed_and_sold() {
        let (customer, units) = (ada(), 3);
        let story = claimed(claimed(running(), 1, 3), 2, 2);
        assert_eq!(figures(&story), [0, 5, 0, 0]);
        let paid =
            FlashSaleEvent::ClaimConfirmed { order: order(1), customer, units, amount: usd(1_200), buyers: Some(1) };
        let story = then(story, paid);
        assert_eq!(figures(&story), [0, 2, 3, 1_200]);
        let story = then(story, FlashSaleEvent::ClaimExpired { order: order(2), customer, units: 2 });
        assert_eq!(figures(&story), [2, 0, 3, 1_200]);
        let cancelled = FlashSaleEvent::ClaimReleased {
            order: order(1),
            customer,
            units,
            amount: Some(usd(1_200)),
            buyers: Some(0),
        };
        assert_eq!(figures(&then(story, cancelled)), [5, 0, 0, 0]);
    }

    #[test]
    fn sale_is_sold_out_until_units_come_back() {
        let out = then(claimed(running(), 1, 5), FlashSaleEvent::SoldOut {});
        assert!(out.row::<FlashSale>().sold_out);
        assert!(!then(out, FlashSaleEvent::AvailableAgain { left: 5 }).row::<FlashSale>().sold_out);
    }

    #[test]
    fn status_follows_start_end_and_cancellation() {
        let status = |story: &Story| story.row::<FlashSale>().status;
        assert_eq!(status(&running()), SaleStatus::Running);
        assert_eq!(status(&ended(running())), SaleStatus::Ended);
        assert_eq!(status(&then(running(), FlashSaleEvent::Cancelled {})), SaleStatus::Cancelled);
    }

    fn entered(story: Story, number: u128) -> Story {
        let (sale, customer) = (FlashSaleId::new(Uuid::from_u128(9)), CustomerId::new(Uuid::from_u128(number)));
        story.then::<SaleEntry>(SaleEntry::id(sale, customer), SaleEntryEvent::Recorded { sale, customer })
    }

    #[test]
    fn conversion_is_buyers_per_participant() {
        let (customer, units, amount, buyers) = (ada(), 4, usd(1_600), Some(1));
        let story = claimed((3..6).fold(running(), entered), 1, 4);
        let story = then(story, FlashSaleEvent::ClaimConfirmed { order: order(1), customer, units, amount, buyers });
        let row: FlashSale = story.row();
        assert_eq!((row.participants, row.buyers, row.conversion_bp, row.sell_through_bp), (3, 1, 3_333, 8_000));
    }

    #[test]
    fn time_to_sell_out_counts_from_the_first_moment_of_the_sale_and_stays_after_the_end() {
        let out = then(claimed(running(), 1, 5), FlashSaleEvent::SoldOut {});
        let row: FlashSale = out.row();
        assert_eq!((row.open_from, row.sold_out_at, row.sold_out_after_s), (Story::at(2), Some(Story::at(5)), Some(3)));
        let again = then(out.clone(), FlashSaleEvent::AvailableAgain { left: 5 });
        assert_eq!(again.row::<FlashSale>().sold_out_after_s, None);
        let late = then(ended(out), FlashSaleEvent::AvailableAgain { left: 5 });
        assert_eq!(late.row::<FlashSale>().sold_out_after_s, Some(3));
    }
}
