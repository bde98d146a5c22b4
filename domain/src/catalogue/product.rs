//! Product with its variants (CAT-01, CAT-02, CAT-03, CAT-07, CAT-08, CAT-15).
//!
//! Invariants: the currency of a price never changes, and no variant costs less than nothing; only a published product
//! has a sale price, and only a published product is listed in its category; an archived product does not change until it
//! is restored; a product that the platform restricts is not published, and of its decisions the one with the highest
//! number is in force. Name claims make the SKUs unique (ES-15).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ProductEvent, ProductRejection, Specification};
use crate::kernel::{Aggregate, Decision};
use crate::shared::{CategoryId, Money, Price, PriceAdjustment, ProductId, Reason, Sku, Text, Title, VariantId};

/// Largest number of variants of a product, retired ones included.
pub const VARIANTS_MOST: usize = 100;
/// Largest number of properties of a product.
pub const SPECIFICATIONS_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Product {
    details: Option<Details>,
    status: Status,
    category: Option<CategoryId>,
    /// Category in which buyers find the product.
    listed_in: Option<CategoryId>,
    specifications: Vec<Specification>,
    variants: BTreeMap<VariantId, Variant>,
    restricted: bool,
    /// Highest number of a decision of the platform that was applied.
    last_decision: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Variant {
    name: Title,
    sku: Sku,
    adjustment: PriceAdjustment,
    retired: bool,
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
        for (variant, known) in self.variants.iter().filter(|(_, known)| !known.retired) {
            variant_price(to, *variant, known.adjustment)?;
        }
        Ok(vec![ProductEvent::PriceChanged { from, to }])
    }

    /// Puts the product into a category, or into none. The caller ensures that the category exists.
    pub fn categorize(&self, category: Option<CategoryId>) -> Decision<Self> {
        self.editable()?;
        if self.category == category {
            return Ok(vec![]);
        }
        Ok(self.with_listing(ProductEvent::Categorized { category }, self.status, category))
    }

    /// Replaces the properties.
    pub fn set_specifications(&self, specifications: Vec<Specification>) -> Decision<Self> {
        self.editable()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = specifications.iter().find(|one| !names.insert(one.name.to_string())) {
            return Err(ProductRejection::SpecificationRepeated { name: twice.name.clone() });
        }
        if self.specifications == specifications {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::SpecificationsSet { specifications }])
    }

    /// Adds a variant. A repeat changes nothing.
    pub fn add_variant(
        &self,
        variant: VariantId,
        name: Title,
        sku: Sku,
        adjustment: PriceAdjustment,
    ) -> Decision<Self> {
        let price = self.editable()?.price;
        if let Some(known) = self.variants.get(&variant) {
            let same = known.name == name && known.sku == sku && known.adjustment == adjustment;
            return if same { Ok(vec![]) } else { Err(ProductRejection::VariantExists {}) };
        }
        if self.variants.len() >= VARIANTS_MOST {
            return Err(ProductRejection::TooManyVariants { most: VARIANTS_MOST });
        }
        variant_price(price, variant, adjustment)?;
        Ok(vec![ProductEvent::VariantAdded { variant, name, sku, adjustment }])
    }

    /// Changes name and price of a variant.
    pub fn revise_variant(&self, variant: VariantId, name: Title, adjustment: PriceAdjustment) -> Decision<Self> {
        let price = self.editable()?.price;
        let known = self.variants.get(&variant).ok_or(ProductRejection::VariantUnknown {})?;
        if known.retired {
            return Err(ProductRejection::VariantIsRetired {});
        }
        if known.name == name && known.adjustment == adjustment {
            return Ok(vec![]);
        }
        variant_price(price, variant, adjustment)?;
        Ok(vec![ProductEvent::VariantRevised { variant, name, adjustment }])
    }

    pub fn retire_variant(&self, variant: VariantId) -> Decision<Self> {
        self.editable()?;
        match self.variants.get(&variant) {
            None => Err(ProductRejection::VariantUnknown {}),
            Some(known) if known.retired => Ok(vec![]),
            Some(_) => Ok(vec![ProductEvent::VariantRetired { variant }]),
        }
    }

    pub fn publish(&self) -> Decision<Self> {
        self.editable()?;
        if self.restricted {
            return Err(ProductRejection::ProductRestricted {});
        }
        match self.status {
            Status::Published => Ok(vec![]),
            _ => Ok(self.with_listing(ProductEvent::Published {}, Status::Published, self.category)),
        }
    }

    /// Takes the product off sale. Does nothing to a draft or an archived product.
    pub fn unpublish(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Published => Ok(self.with_listing(ProductEvent::Unpublished {}, Status::Draft, self.category)),
            _ => Ok(vec![]),
        }
    }

    pub fn archive(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Archived => Ok(vec![]),
            _ => Ok(self.with_listing(ProductEvent::Archived {}, Status::Archived, self.category)),
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

    /// Takes the product off sale by a decision of the platform. A decision is ignored unless its number is above that of the
    /// last applied one: decisions may arrive twice and out of order.
    pub fn restrict(&self, reason: Reason, decision: i64) -> Decision<Self> {
        self.known()?;
        if decision <= self.last_decision {
            return Ok(vec![]);
        }
        let mut events = self.unpublish()?;
        events.push(ProductEvent::Restricted { reason, decision });
        Ok(events)
    }

    /// Lets the seller publish the product again. Ignores decisions as [`restrict`](Self::restrict) does.
    pub fn lift_restriction(&self, decision: i64) -> Decision<Self> {
        self.known()?;
        Ok(if decision > self.last_decision { vec![ProductEvent::RestrictionLifted { decision }] } else { vec![] })
    }

    /// Rejects a product that lacks a property that its category requires.
    pub fn require_specifications<'a>(
        &self,
        required: impl Iterator<Item = &'a Text<100>>,
    ) -> Result<(), ProductRejection> {
        let mut required = required;
        match required.find(|name| self.specifications.iter().all(|one| one.name != **name)) {
            Some(name) => Err(ProductRejection::SpecificationMissing { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Category of the product.
    pub fn category(&self) -> Option<CategoryId> {
        self.category
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

    /// An event, and the events that say in which category buyers find the product after it.
    fn with_listing(&self, event: ProductEvent, status: Status, category: Option<CategoryId>) -> Vec<ProductEvent> {
        let listed_in = category.filter(|_| status == Status::Published);
        let mut events = vec![event];
        if listed_in != self.listed_in {
            events.extend(self.listed_in.map(|category| ProductEvent::Unlisted { category }));
            events.extend(listed_in.map(|category| ProductEvent::Listed { category }));
        }
        events
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

/// Price of a variant; rejects one below zero.
fn variant_price(price: Price, variant: VariantId, adjustment: PriceAdjustment) -> Result<Price, ProductRejection> {
    let adjustment = Money { minor: adjustment.get(), currency: price.currency() };
    let adjusted = price.money().plus(adjustment).and_then(|sum| Price::try_from(sum).ok());
    adjusted.ok_or(ProductRejection::VariantPriceOutOfRange { variant })
}

impl Aggregate for Product {
    const TYPE: &'static str = "Product";
    const STATE_VERSION: i32 = 2;
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
            ProductEvent::Categorized { category } => self.category = category,
            ProductEvent::Listed { category } => self.listed_in = Some(category),
            ProductEvent::Unlisted { .. } => self.listed_in = None,
            ProductEvent::SpecificationsSet { specifications } => self.specifications = specifications,
            ProductEvent::VariantAdded { variant, name, sku, adjustment } => {
                self.variants.insert(variant, Variant { name, sku, adjustment, retired: false });
            }
            ProductEvent::VariantRevised { variant, name, adjustment } => {
                if let Some(known) = self.variants.get_mut(&variant) {
                    (known.name, known.adjustment) = (name, adjustment);
                }
            }
            ProductEvent::VariantRetired { variant } => {
                if let Some(known) = self.variants.get_mut(&variant) {
                    known.retired = true;
                }
            }
            ProductEvent::Published {} => self.status = Status::Published,
            ProductEvent::Unpublished {} | ProductEvent::Restored {} => self.status = Status::Draft,
            ProductEvent::Restricted { decision, .. } => (self.restricted, self.last_decision) = (true, decision),
            ProductEvent::RestrictionLifted { decision } => {
                (self.restricted, self.last_decision) = (false, decision);
            }
            ProductEvent::Archived {} => self.status = Status::Archived,
        }
    }
}

#[cfg(test)]
#[path = "product_tests.rs"]
mod tests;
