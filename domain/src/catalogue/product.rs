//! A thing that is sold (CAT-01, CAT-02, CAT-03, CAT-15).
//!
//! Invariants: a price keeps its currency; only what is published and not archived has a price to sell at; what is
//! archived stays as it is until it is restored. That no other product has the same SKU is a claim of its own (ES-15).

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

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ProductEvent {
    /// A product is in the catalogue from now on; nobody can buy it yet.
    #[serde(rename = "product.created")]
    Created { name: Title, sku: Sku, price: Price, description: Option<Text<5000>> },
    /// What is said about the product has changed.
    #[serde(rename = "product.revised")]
    Revised { name: Title, description: Option<Text<5000>> },
    /// The product costs something else from now on. Orders that were placed keep their prices.
    #[serde(rename = "product.price_changed")]
    PriceChanged { from: Price, to: Price },
    /// The product can be bought.
    #[serde(rename = "product.published")]
    Published {},
    /// The product cannot be bought for now.
    #[serde(rename = "product.unpublished")]
    Unpublished {},
    /// The product has left the catalogue; old orders still show it.
    #[serde(rename = "product.archived")]
    Archived {},
    /// The product is back in the catalogue, not yet published.
    #[serde(rename = "product.restored")]
    Restored {},
}

/// Why a product could not be changed or sold.
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
    /// Puts a product into the catalogue, as a draft.
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

    /// Says something else about the product.
    pub fn revise(&self, name: Title, description: Option<Text<5000>>) -> Decision<Self> {
        let known = self.changeable()?;
        if known.name == name && known.description == description {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::Revised { name, description }])
    }

    /// Changes the price, within its currency.
    pub fn change_price(&self, to: Price) -> Decision<Self> {
        let from = self.changeable()?.price;
        if from == to {
            return Ok(vec![]);
        }
        if from.currency() != to.currency() {
            return Err(ProductRejection::CurrencyFixed { currency: from.currency() });
        }
        Ok(vec![ProductEvent::PriceChanged { from, to }])
    }

    pub fn publish(&self) -> Decision<Self> {
        self.changeable()?;
        match self.status {
            Status::Published => Ok(vec![]),
            _ => Ok(vec![ProductEvent::Published {}]),
        }
    }

    /// Takes the product off sale. What is archived is off sale already.
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

    /// Brings an archived product back as a draft, so that nothing goes on sale by surprise.
    pub fn restore(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Archived => Ok(vec![ProductEvent::Restored {}]),
            _ => Ok(vec![]),
        }
    }

    /// What it costs to buy the product now.
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

    fn changeable(&self) -> Result<&Details, ProductRejection> {
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
    fn nothing_happens_to_a_product_that_does_not_exist() {
        given([]).when(Product::publish).then_rejected(ProductRejection::ProductUnknown {});
        given([]).when(Product::archive).then_rejected(ProductRejection::ProductUnknown {});
    }

    #[test]
    fn a_product_is_created_once() {
        mug()
            .when(|product| product.create(name(), sku(), price(901), None))
            .then_rejected(ProductRejection::ProductExists {});
    }

    #[test]
    fn a_revision_is_written_only_if_something_differs() {
        let description: Option<Text<5000>> = Some(parsed("Holds 0.3 l"));
        mug().when(|product| product.revise(name(), None)).then_nothing();
        mug()
            .when(|product| product.revise(name(), description.clone()))
            .then_once([ProductEvent::Revised { name: name(), description: description.clone() }])
            .holds(|product| product.name() == Ok(&name()) && product.sku() == Ok(&sku()));
    }

    #[test]
    fn a_price_changes_within_its_currency() {
        published()
            .when(|product| product.change_price(price(950)))
            .then_once([ProductEvent::PriceChanged { from: price(900), to: price(950) }])
            .holds(|product| product.sale_price() == Ok(price(950)));
        mug()
            .when(|product| product.change_price(Price::zero(eur())))
            .then_rejected(ProductRejection::CurrencyFixed { currency: usd() });
    }

    #[test]
    fn only_what_is_published_is_for_sale() {
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
    fn what_is_archived_stays_as_it_is() {
        archived().when(Product::publish).then_rejected(ProductRejection::ProductArchived {});
        archived().when(|product| product.change_price(price(1))).then_rejected(ProductRejection::ProductArchived {});
        archived().when(Product::unpublish).then_nothing();
    }

    #[test]
    fn a_restored_product_comes_back_as_a_draft() {
        mug().when(Product::restore).then_nothing();
        archived()
            .when(Product::restore)
            .then_once([ProductEvent::Restored {}])
            .holds(|product| product.sale_price() == Err(ProductRejection::NotForSale {}));
    }
}
