//! Product (CAT-01, CAT-02, CAT-03, CAT-15).
//!
//! Invariants: the currency of a price never changes; only a published product has a sale price; an archived product
//! does not change until it is restored. A name claim makes the SKU unique (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Price, ProductId, Sku, Text, Title};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Product {
    details: Option<Details>,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Details {
    name: Title,
    sku: Sku,
    price: Price,
    description: Option<Text<5000>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Draft,
    Published,
    Archived,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ProductEvent {
    /// A product was added to the catalogue as a draft; it cannot be bought yet.
    #[serde(rename = "product.created")]
    Created { name: Title, sku: Sku, price: Price, description: Option<Text<5000>> },
    /// Name or description changed.
    #[serde(rename = "product.revised")]
    Revised { name: Title, description: Option<Text<5000>> },
    /// The price changed. Placed orders keep their prices.
    #[serde(rename = "product.price_changed")]
    PriceChanged { from: Price, to: Price },
    /// The product can be bought.
    #[serde(rename = "product.published")]
    Published {},
    /// The product cannot be bought for now.
    #[serde(rename = "product.unpublished")]
    Unpublished {},
    /// The product was removed from the catalogue; old orders still show it.
    #[serde(rename = "product.archived")]
    Archived {},
    /// The product is in the catalogue again, as a draft.
    #[serde(rename = "product.restored")]
    Restored {},
}

/// Rejections of a product.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProductRejection {
    #[error("there is no such product")]
    ProductUnknown {},
    #[error("this product was created already, with other details")]
    ProductExists {},
    #[error("this product is archived; restore it first")]
    ProductArchived {},
    #[error("the price of this product is in {currency}")]
    CurrencyFixed { currency: Currency },
    #[error("this product is not for sale")]
    NotForSale {},
}

impl Rejection for ProductRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ProductExists {} | Self::CurrencyFixed { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Product {
    /// Adds a product to the catalogue, as a draft.
    pub fn create(&self, name: Title, sku: Sku, price: Price, description: Option<Text<5000>>) -> Decision<Self> {
        let details = Details { name, sku, price, description };
        match &self.details {
            Some(known) if *known == details => Ok(vec![]),
            Some(_) => Err(ProductRejection::ProductExists {}),
            None => {
                let Details { name, sku, price, description } = details;
                Ok(vec![ProductEvent::Created { name, sku, price, description }])
            }
        }
    }

    /// Changes name and description.
    pub fn revise(&self, name: Title, description: Option<Text<5000>>) -> Decision<Self> {
        let known = self.editable()?;
        if known.name == name && known.description == description {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::Revised { name, description }])
    }

    /// Changes the price, within its currency.
    pub fn change_price(&self, to: Price) -> Decision<Self> {
        let from = self.editable()?.price;
        if from == to {
            return Ok(vec![]);
        }
        if from.currency() != to.currency() {
            return Err(ProductRejection::CurrencyFixed { currency: from.currency() });
        }
        Ok(vec![ProductEvent::PriceChanged { from, to }])
    }

    pub fn publish(&self) -> Decision<Self> {
        self.editable()?;
        match self.status {
            Status::Published => Ok(vec![]),
            _ => Ok(vec![ProductEvent::Published {}]),
        }
    }

    /// Takes the product off sale. Does nothing to a draft or an archived product.
    pub fn unpublish(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Published => Ok(vec![ProductEvent::Unpublished {}]),
            _ => Ok(vec![]),
        }
    }

    pub fn archive(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Archived => Ok(vec![]),
            _ => Ok(vec![ProductEvent::Archived {}]),
        }
    }

    /// Restores an archived product as a draft, so that it is not for sale until it is published again.
    pub fn restore(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Archived => Ok(vec![ProductEvent::Restored {}]),
            _ => Ok(vec![]),
        }
    }

    /// Rejects a product that is not in the catalogue, or not any more.
    pub fn require_in_catalogue(&self) -> Result<(), ProductRejection> {
        self.editable().map(drop)
    }

    /// Price at which the product can be bought now.
    pub fn sale_price(&self) -> Result<Price, ProductRejection> {
        match self.status {
            Status::Published => Ok(self.known()?.price),
            _ => Err(ProductRejection::NotForSale {}),
        }
    }

    pub fn name(&self) -> Result<&Title, ProductRejection> {
        self.known().map(|details| &details.name)
    }

    pub fn sku(&self) -> Result<&Sku, ProductRejection> {
        self.known().map(|details| &details.sku)
    }

    fn known(&self) -> Result<&Details, ProductRejection> {
        self.details.as_ref().ok_or(ProductRejection::ProductUnknown {})
    }

    fn editable(&self) -> Result<&Details, ProductRejection> {
        match self.status {
            Status::Archived => Err(ProductRejection::ProductArchived {}),
            _ => self.known(),
        }
    }
}

impl Aggregate for Product {
    const TYPE: &'static str = "Product";
    type Id = ProductId;
    type Event = ProductEvent;
    type Rejection = ProductRejection;

    fn apply(&mut self, event: &ProductEvent) {
        match event.clone() {
            ProductEvent::Created { name, sku, price, description } => {
                self.details = Some(Details { name, sku, price, description });
            }
            ProductEvent::Revised { name, description } => {
                self.details = self.details.take().map(|known| Details { name, description, ..known });
            }
            ProductEvent::PriceChanged { to, .. } => {
                self.details = self.details.take().map(|known| Details { price: to, ..known });
            }
            ProductEvent::Published {} => self.status = Status::Published,
            ProductEvent::Unpublished {} | ProductEvent::Restored {} => self.status = Status::Draft,
            ProductEvent::Archived {} => self.status = Status::Archived,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{eur, parsed, price, usd};
    use crate::testing::{Given, given};

    fn name() -> Title {
        parsed("Mug")
    }

    fn sku() -> Sku {
        parsed("MUG-1")
    }

    fn mug() -> Given<Product> {
        given([])
            .when(|product: &Product| product.create(name(), sku(), price(900), None))
            .then_once([ProductEvent::Created { name: name(), sku: sku(), price: price(900), description: None }])
    }

    fn published() -> Given<Product> {
        mug().when(Product::publish).then_once([ProductEvent::Published {}])
    }

    fn archived() -> Given<Product> {
        published().when(Product::archive).then_once([ProductEvent::Archived {}])
    }

    #[test]
    fn unknown_product_rejects_every_change() {
        given([]).when(Product::publish).then_rejected(ProductRejection::ProductUnknown {});
        given([]).when(Product::archive).then_rejected(ProductRejection::ProductUnknown {});
    }

    #[test]
    fn product_is_created_once() {
        mug()
            .when(|product| product.create(name(), sku(), price(901), None))
            .then_rejected(ProductRejection::ProductExists {});
    }

    #[test]
    fn revision_without_a_change_is_not_recorded() {
        let description: Option<Text<5000>> = Some(parsed("Holds 0.3 l"));
        mug().when(|product| product.revise(name(), None)).then_nothing();
        mug()
            .when(|product| product.revise(name(), description.clone()))
            .then_once([ProductEvent::Revised { name: name(), description: description.clone() }])
            .holds(|product| product.name() == Ok(&name()) && product.sku() == Ok(&sku()));
    }

    #[test]
    fn price_changes_within_its_currency() {
        published()
            .when(|product| product.change_price(price(950)))
            .then_once([ProductEvent::PriceChanged { from: price(900), to: price(950) }])
            .holds(|product| product.sale_price() == Ok(price(950)));
        mug()
            .when(|product| product.change_price(Price::zero(eur())))
            .then_rejected(ProductRejection::CurrencyFixed { currency: usd() });
    }

    #[test]
    fn only_a_published_product_is_for_sale() {
        let not_for_sale = Err(ProductRejection::NotForSale {});
        given([]).holds(|product: &Product| product.sale_price() == not_for_sale);
        mug().holds(|product| product.sale_price() == not_for_sale);
        published().holds(|product| product.sale_price() == Ok(price(900)));
        published()
            .when(Product::unpublish)
            .then_once([ProductEvent::Unpublished {}])
            .holds(|product| product.sale_price() == not_for_sale);
        archived().holds(|product| product.sale_price() == not_for_sale);
    }

    #[test]
    fn archived_product_cannot_be_changed() {
        archived().when(Product::publish).then_rejected(ProductRejection::ProductArchived {});
        archived().when(|product| product.change_price(price(1))).then_rejected(ProductRejection::ProductArchived {});
        archived().when(Product::unpublish).then_nothing();
    }

    #[test]
    fn restored_product_is_a_draft() {
        mug().when(Product::restore).then_nothing();
        archived()
            .when(Product::restore)
            .then_once([ProductEvent::Restored {}])
            .holds(|product| product.sale_price() == Err(ProductRejection::NotForSale {}));
    }
}
