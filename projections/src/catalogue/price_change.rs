//! Price history of products (CAT-02). Invariant: the last change of a product is its price.

use domain::catalogue::{Product, ProductEvent};
use domain::kernel::Recorded;
use domain::shared::{Currency, Permission, Price, Principal, ProductId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One price of a product, from its creation or a change on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceChange {
    /// Id of the product.
    pub product: ProductId,
    /// Sequence number of the event within the product; gaps are events that left the price unchanged.
    pub sequence: i64,
    /// Price before, in minor units; null for the first price.
    pub from_minor: Option<i64>,
    /// Price from then on, in minor units.
    pub to_minor: i64,
    /// Currency of both prices.
    pub currency: Currency,
    /// Principal that sent the command.
    pub principal: Principal,
    /// Time of the change.
    pub at: Timestamp,
}

impl ReadModel for PriceChange {
    const NEEDS: Permission = Permission::SeeProducts;
    const KEY: &'static [&'static str] = &["product", "sequence"];
    const INDEXED: &'static [&'static str] = &["at"];
    const APPENDS: bool = true;

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<ProductEvent>| prices(&event.event).map(|_| key![event.stream, event.sequence]);
        from.stream::<Product>(key, Self::on_product);
    }
}

impl PriceChange {
    fn on_product(_: Option<Self>, event: &Recorded<ProductEvent>) -> Folded<Self> {
        Ok(prices(&event.event).map(|(from, to)| Self {
            product: ProductId::new(event.stream),
            sequence: event.sequence,
            from_minor: from.map(Price::minor),
            to_minor: to.minor(),
            currency: to.currency(),
            principal: event.principal,
            at: event.occurred_at,
        }))
    }
}

/// Prices before and after an event; `None` if the price did not change.
fn prices(event: &ProductEvent) -> Option<(Option<Price>, Price)> {
    match *event {
        ProductEvent::Created { price, .. } => Some((None, price)),
        ProductEvent::PriceChanged { from, to } => Some((Some(from), to)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::product::tests::{created, then, usd};
    use super::*;

    #[test]
    fn history_starts_with_the_first_price_and_skips_other_changes() {
        let published = then(created(), ProductEvent::Published {});
        let story = then(published, ProductEvent::PriceChanged { from: usd(500), to: usd(450) });
        let rows: Vec<PriceChange> = story.rows();
        let listed: Vec<_> = rows.iter().map(|row| (row.sequence, row.from_minor, row.to_minor)).collect();
        assert_eq!(listed, [(1, None, 500), (3, Some(500), 450)]);
    }
}
