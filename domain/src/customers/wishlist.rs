//! Wishlist of a customer (BUY-09). A customer can have several.
//!
//! Invariant: a product is on a list at most once.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, ProductId, Title, WishlistId};

/// Largest number of products on a list. They are part of its state, so the limit bounds its size.
pub const WISHES_MOST: usize = 200;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wishlist {
    owner: Option<(CustomerId, Title)>,
    products: BTreeSet<ProductId>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WishlistEvent {
    /// A customer created a list.
    #[serde(rename = "wishlist.created")]
    Created { customer: CustomerId, name: Title },
    /// A product was put on the list.
    #[serde(rename = "wishlist.product_added")]
    ProductAdded { customer: CustomerId, product: ProductId },
    /// A product was taken off the list.
    #[serde(rename = "wishlist.product_removed")]
    ProductRemoved { customer: CustomerId, product: ProductId },
}

/// Rejections of a wishlist.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WishlistRejection {
    #[error("this customer has no such wishlist")]
    WishlistUnknown {},
    #[error("this wishlist exists already, with another name or of another customer")]
    WishlistExists {},
    #[error("a wishlist has at most {most} products")]
    WishlistFull { most: usize },
}

impl Rejection for WishlistRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::WishlistExists {} => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Wishlist {
    /// Creates the list. A repeat changes nothing.
    pub fn create(&self, customer: CustomerId, name: Title) -> Decision<Self> {
        match &self.owner {
            None => Ok(vec![WishlistEvent::Created { customer, name }]),
            Some(known) if *known == (customer, name) => Ok(vec![]),
            Some(_) => Err(WishlistRejection::WishlistExists {}),
        }
    }

    /// Puts a product on the list.
    pub fn add(&self, customer: CustomerId, product: ProductId) -> Decision<Self> {
        self.require_owner(customer)?;
        match self.products.contains(&product) {
            true => Ok(vec![]),
            false if self.products.len() >= WISHES_MOST => Err(WishlistRejection::WishlistFull { most: WISHES_MOST }),
            false => Ok(vec![WishlistEvent::ProductAdded { customer, product }]),
        }
    }

    /// Takes a product off the list. Does nothing if it is not on it.
    pub fn remove(&self, customer: CustomerId, product: ProductId) -> Decision<Self> {
        self.require_owner(customer)?;
        match self.products.contains(&product) {
            true => Ok(vec![WishlistEvent::ProductRemoved { customer, product }]),
            false => Ok(vec![]),
        }
    }

    fn require_owner(&self, customer: CustomerId) -> Result<(), WishlistRejection> {
        let owns = self.owner.as_ref().is_some_and(|(owner, _)| *owner == customer);
        if owns { Ok(()) } else { Err(WishlistRejection::WishlistUnknown {}) }
    }
}

impl Aggregate for Wishlist {
    const TYPE: &'static str = "Wishlist";
    type Id = WishlistId;
    type Event = WishlistEvent;
    type Rejection = WishlistRejection;

    fn apply(&mut self, event: &WishlistEvent) {
        match event.clone() {
            WishlistEvent::Created { customer, name } => self.owner = Some((customer, name)),
            WishlistEvent::ProductAdded { product, .. } => {
                self.products.insert(product);
            }
            WishlistEvent::ProductRemoved { product, .. } => {
                self.products.remove(&product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, id, parsed};
    use crate::testing::{Given, given};

    const MUG: ProductId = ProductId::new(id(3));

    fn created() -> Given<Wishlist> {
        given([])
            .when(|list: &Wishlist| list.create(ADA, parsed("Kitchen")))
            .then_once([WishlistEvent::Created { customer: ADA, name: parsed("Kitchen") }])
    }

    #[test]
    fn product_is_on_a_list_once() {
        created()
            .when(|list| list.add(ADA, MUG))
            .then_once([WishlistEvent::ProductAdded { customer: ADA, product: MUG }])
            .when(|list| list.remove(ADA, MUG))
            .then_once([WishlistEvent::ProductRemoved { customer: ADA, product: MUG }]);
    }

    #[test]
    fn list_belongs_to_its_customer() {
        created().when(|list| list.add(BEN, MUG)).then_rejected(WishlistRejection::WishlistUnknown {});
        created().when(|list| list.create(BEN, parsed("Kitchen"))).then_rejected(WishlistRejection::WishlistExists {});
        given([]).when(|list: &Wishlist| list.remove(ADA, MUG)).then_rejected(WishlistRejection::WishlistUnknown {});
    }

    #[test]
    fn number_of_products_is_limited() {
        let wished = (1..=WISHES_MOST as u128).map(|number| ProductId::new(id(number)));
        let wished = wished.map(|product| WishlistEvent::ProductAdded { customer: ADA, product });
        let created = WishlistEvent::Created { customer: ADA, name: parsed("All") };
        given(std::iter::once(created).chain(wished))
            .when(|list: &Wishlist| list.add(ADA, ProductId::new(id(999))))
            .then_rejected(WishlistRejection::WishlistFull { most: WISHES_MOST });
    }
}
