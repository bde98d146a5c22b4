//! Sale occasion: flash sales of several products at one store, in one window (FLS-01).
//!
//! Each product has a flash sale with a price, an allotment and a limit of its own. All of them start and end with the
//! window, and the occasion cancels all of them.
//!
//! Invariants: an occasion has 1 to 50 products, each once; its products, store and window do not change.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{FlashSaleId, ProductId, SaleOccasionId, StoreId, Text, Timestamp};

/// Largest number of products of an occasion.
pub const OCCASION_PRODUCTS_MOST: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SaleOccasion {
    content: Option<OccasionContent>,
    is_cancelled: bool,
}

/// Name, store, window and products of an occasion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OccasionContent {
    pub name: Text<200>,
    pub store: StoreId,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub products: Vec<ProductId>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SaleOccasionEvent {
    /// Flash sales of these products were scheduled together.
    #[serde(rename = "sale_occasion.scheduled")]
    Scheduled { name: Text<200>, store: StoreId, starts_at: Timestamp, ends_at: Timestamp, products: Vec<ProductId> },
    /// All flash sales of the occasion were cancelled.
    #[serde(rename = "sale_occasion.cancelled")]
    Cancelled {},
}

/// Rejections of a sale occasion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SaleOccasionRejection {
    #[error("there is no such occasion")]
    OccasionUnknown {},
    #[error("this occasion exists already, with other products or another window")]
    OccasionExists {},
    #[error("an occasion has at least one product")]
    OccasionEmpty {},
    #[error("an occasion has at most {most} products")]
    OccasionTooLarge { most: usize },
    #[error("product {product} is in the occasion twice")]
    ProductTwice { product: ProductId },
}

impl Rejection for SaleOccasionRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::OccasionUnknown {} => Retry::NewId,
            _ => Retry::Never,
        }
    }
}

impl SaleOccasion {
    /// Id of the flash sale of one product of an occasion.
    pub fn sale(occasion: SaleOccasionId, product: ProductId) -> FlashSaleId {
        FlashSaleId::derived(occasion.uuid(), &product.to_string())
    }

    /// Schedules the occasion. A repeat changes nothing.
    pub fn schedule(&self, content: &OccasionContent) -> Decision<Self> {
        if let Some(known) = &self.content {
            return if known == content { Ok(vec![]) } else { Err(SaleOccasionRejection::OccasionExists {}) };
        }
        match content.products.len() {
            0 => return Err(SaleOccasionRejection::OccasionEmpty {}),
            1..=OCCASION_PRODUCTS_MOST => {}
            _ => return Err(SaleOccasionRejection::OccasionTooLarge { most: OCCASION_PRODUCTS_MOST }),
        }
        let mut seen = BTreeSet::new();
        if let Some(&product) = content.products.iter().find(|product| !seen.insert(**product)) {
            return Err(SaleOccasionRejection::ProductTwice { product });
        }
        let OccasionContent { name, store, starts_at, ends_at, products } = content.clone();
        Ok(vec![SaleOccasionEvent::Scheduled { name, store, starts_at, ends_at, products }])
    }

    /// Cancels the occasion. A repeat changes nothing.
    pub fn cancel(&self) -> Decision<Self> {
        self.content()?;
        Ok(if self.is_cancelled { vec![] } else { vec![SaleOccasionEvent::Cancelled {}] })
    }

    pub fn content(&self) -> Result<&OccasionContent, SaleOccasionRejection> {
        self.content.as_ref().ok_or(SaleOccasionRejection::OccasionUnknown {})
    }
}

impl Aggregate for SaleOccasion {
    const TYPE: &'static str = "SaleOccasion";
    type Id = SaleOccasionId;
    type Event = SaleOccasionEvent;
    type Rejection = SaleOccasionRejection;

    fn apply(&mut self, event: &SaleOccasionEvent) {
        match event.clone() {
            SaleOccasionEvent::Scheduled { name, store, starts_at, ends_at, products } => {
                self.content = Some(OccasionContent { name, store, starts_at, ends_at, products });
            }
            SaleOccasionEvent::Cancelled {} => self.is_cancelled = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{STORE, at, id, parsed};
    use crate::testing::{Given, given};

    fn product(number: u128) -> ProductId {
        ProductId::new(id(number))
    }

    fn content(numbers: impl IntoIterator<Item = u128>) -> OccasionContent {
        let products = numbers.into_iter().map(product).collect();
        OccasionContent { name: parsed("Black Friday"), store: STORE, starts_at: at(100), ends_at: at(900), products }
    }

    fn scheduled() -> Given<SaleOccasion> {
        let OccasionContent { name, store, starts_at, ends_at, products } = content([1, 2]);
        given([])
            .when(|occasion: &SaleOccasion| occasion.schedule(&content([1, 2])))
            .then_once([SaleOccasionEvent::Scheduled { name, store, starts_at, ends_at, products }])
    }

    #[test]
    fn occasion_has_one_to_fifty_products_each_once() {
        let rejected = |content: OccasionContent, rejection| {
            given([]).when(|occasion: &SaleOccasion| occasion.schedule(&content)).then_rejected(rejection);
        };
        rejected(content([]), SaleOccasionRejection::OccasionEmpty {});
        rejected(content(1..=51), SaleOccasionRejection::OccasionTooLarge { most: 50 });
        rejected(content([1, 2, 1]), SaleOccasionRejection::ProductTwice { product: product(1) });
        assert_eq!(SaleOccasion::default().schedule(&content(1..=50)).map(|events| events.len()), Ok(1));
    }

    #[test]
    fn occasion_does_not_change() {
        scheduled()
            .when(|occasion| occasion.schedule(&content([1, 3])))
            .then_rejected(SaleOccasionRejection::OccasionExists {});
    }

    #[test]
    fn occasion_is_cancelled_once() {
        scheduled().when(SaleOccasion::cancel).then_once([SaleOccasionEvent::Cancelled {}]);
        given([]).when(SaleOccasion::cancel).then_rejected(SaleOccasionRejection::OccasionUnknown {});
    }
}
