//! Cart of a customer at one store (BUY-05, BUY-08).
//!
//! Invariants: a product has one line; a cart that was checked out never changes again. The command that checks out
//! places the order too, all or nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CartId, CustomerId, OrderId, ProductId, Quantity, StoreId};

/// Largest number of lines of a cart, as of an order.
pub const CART_LINES_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cart {
    place: Option<(CustomerId, StoreId)>,
    lines: BTreeMap<ProductId, Quantity>,
    order: Option<OrderId>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CartEvent {
    /// A line has this quantity now; it may be new.
    #[serde(rename = "cart.quantity_set")]
    QuantitySet { customer: CustomerId, store: StoreId, product: ProductId, quantity: Quantity },
    /// A line was removed.
    #[serde(rename = "cart.item_removed")]
    ItemRemoved { product: ProductId },
    /// The cart became an order.
    #[serde(rename = "cart.checked_out")]
    CheckedOut { order: OrderId },
}

/// Rejections of a cart.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CartRejection {
    #[error("this customer has no such cart")]
    CartUnknown {},
    #[error("this cart became the order {order}")]
    CartCheckedOut { order: OrderId },
    #[error("the cart is empty")]
    CartEmpty {},
    #[error("a cart has at most {most} lines")]
    CartFull { most: usize },
    #[error("only {available} of {wanted} units are available")]
    QuantityUnavailable { available: i64, wanted: i64 },
}

impl Rejection for CartRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::CartCheckedOut { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Cart {
    /// Adds units of a product to its line. Adds on every call. `available` is the number of units that can be sold.
    pub fn add(
        &self,
        customer: CustomerId,
        store: StoreId,
        product: ProductId,
        quantity: Quantity,
        available: i64,
    ) -> Decision<Self> {
        if self.place.is_some() {
            self.require_open(customer)?;
        }
        if self.place.is_some_and(|(_, known)| known != store) {
            return Err(CartRejection::CartUnknown {});
        }
        let before = self.lines.get(&product).map_or(0, |line| line.get());
        if before == 0 && self.lines.len() >= CART_LINES_MOST {
            return Err(CartRejection::CartFull { most: CART_LINES_MOST });
        }
        let wanted = before.saturating_add(quantity.get());
        let quantity = within(wanted, available)?;
        Ok(vec![CartEvent::QuantitySet { customer, store, product, quantity }])
    }

    /// Sets the quantity of a line.
    pub fn change_quantity(
        &self,
        customer: CustomerId,
        product: ProductId,
        quantity: Quantity,
        available: i64,
    ) -> Decision<Self> {
        let store = self.require_open(customer)?;
        match self.lines.get(&product) {
            None => Err(CartRejection::CartUnknown {}),
            Some(known) if *known == quantity => Ok(vec![]),
            Some(_) => {
                let quantity = within(quantity.get(), available)?;
                Ok(vec![CartEvent::QuantitySet { customer, store, product, quantity }])
            }
        }
    }

    /// Removes a line. Does nothing if there is none.
    pub fn remove(&self, customer: CustomerId, product: ProductId) -> Decision<Self> {
        self.require_open(customer)?;
        match self.lines.contains_key(&product) {
            true => Ok(vec![CartEvent::ItemRemoved { product }]),
            false => Ok(vec![]),
        }
    }

    /// Removes all lines.
    pub fn clear(&self, customer: CustomerId) -> Decision<Self> {
        self.require_open(customer)?;
        Ok(self.lines.keys().map(|product| CartEvent::ItemRemoved { product: *product }).collect())
    }

    /// Records that the cart became an order. A repeat with the same order changes nothing.
    pub fn check_out(&self, customer: CustomerId, order: OrderId) -> Decision<Self> {
        if self.order == Some(order) {
            return Ok(vec![]);
        }
        self.require_open(customer)?;
        match self.lines.is_empty() {
            true => Err(CartRejection::CartEmpty {}),
            false => Ok(vec![CartEvent::CheckedOut { order }]),
        }
    }

    /// Store of a cart of this customer; rejects the cart of another customer.
    pub fn store(&self, customer: CustomerId) -> Result<StoreId, CartRejection> {
        let place = self.place.filter(|(owner, _)| *owner == customer);
        place.map(|(_, store)| store).ok_or(CartRejection::CartUnknown {})
    }

    /// Product and quantity of each line.
    pub fn lines(&self) -> impl Iterator<Item = (ProductId, Quantity)> {
        self.lines.iter().map(|(product, quantity)| (*product, *quantity))
    }

    fn require_open(&self, customer: CustomerId) -> Result<StoreId, CartRejection> {
        let store = self.store(customer)?;
        match self.order {
            Some(order) => Err(CartRejection::CartCheckedOut { order }),
            None => Ok(store),
        }
    }
}

fn within(wanted: i64, available: i64) -> Result<Quantity, CartRejection> {
    let quantity = Quantity::try_from(wanted).ok().filter(|_| wanted <= available);
    quantity.ok_or(CartRejection::QuantityUnavailable { available, wanted })
}

impl Aggregate for Cart {
    const TYPE: &'static str = "Cart";
    type Id = CartId;
    type Event = CartEvent;
    type Rejection = CartRejection;

    fn apply(&mut self, event: &CartEvent) {
        match *event {
            CartEvent::QuantitySet { customer, store, product, quantity } => {
                self.place = Some((customer, store));
                self.lines.insert(product, quantity);
            }
            CartEvent::ItemRemoved { product } => {
                self.lines.remove(&product);
            }
            CartEvent::CheckedOut { order } => self.order = Some(order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, STORE, id, quantity};
    use crate::testing::{Given, given};

    const MUG: ProductId = ProductId::new(id(3));
    const ORDER: OrderId = OrderId::new(id(9));

    fn set(number: i64) -> CartEvent {
        CartEvent::QuantitySet { customer: ADA, store: STORE, product: MUG, quantity: quantity(number) }
    }

    fn with_two_mugs() -> Given<Cart> {
        given([]).when(|cart: &Cart| cart.add(ADA, STORE, MUG, quantity(2), 5)).then([set(2)])
    }

    #[test]
    fn adding_the_same_product_merges_its_lines_up_to_what_is_available() {
        with_two_mugs().when(|cart| cart.add(ADA, STORE, MUG, quantity(3), 5)).then([set(5)]);
        with_two_mugs()
            .when(|cart| cart.add(ADA, STORE, MUG, quantity(4), 5))
            .then_rejected(CartRejection::QuantityUnavailable { available: 5, wanted: 6 });
        with_two_mugs()
            .when(|cart| cart.change_quantity(ADA, MUG, quantity(6), 5))
            .then_rejected(CartRejection::QuantityUnavailable { available: 5, wanted: 6 });
        with_two_mugs().when(|cart| cart.change_quantity(ADA, MUG, quantity(1), 5)).then_once([set(1)]);
    }

    #[test]
    fn cart_belongs_to_one_customer_at_one_store() {
        with_two_mugs()
            .when(|cart| cart.add(BEN, STORE, MUG, quantity(1), 5))
            .then_rejected(CartRejection::CartUnknown {});
        with_two_mugs()
            .when(|cart| cart.add(ADA, StoreId::new(id(8)), MUG, quantity(1), 5))
            .then_rejected(CartRejection::CartUnknown {});
        given([]).when(|cart: &Cart| cart.clear(ADA)).then_rejected(CartRejection::CartUnknown {});
    }

    #[test]
    fn full_cart_takes_more_of_its_products_and_no_other_one() {
        let products = (1..=100).map(|number| ProductId::new(id(number)));
        let first = ProductId::new(id(1));
        let set = |product, number| CartEvent::QuantitySet {
            customer: ADA,
            store: STORE,
            product,
            quantity: quantity(number),
        };
        let full = given(products.map(|product| set(product, 1)));
        full.when(|cart: &Cart| cart.add(ADA, STORE, first, quantity(1), 5)).then([set(first, 2)]);
        given((1..=100).map(|number| set(ProductId::new(id(number)), 1)))
            .when(|cart: &Cart| cart.add(ADA, STORE, ProductId::new(id(101)), quantity(1), 5))
            .then_rejected(CartRejection::CartFull { most: 100 });
    }

    #[test]
    fn lines_are_removed_one_by_one_or_together() {
        let removed = CartEvent::ItemRemoved { product: MUG };
        with_two_mugs().when(|cart| cart.remove(ADA, MUG)).then_once([removed.clone()]);
        with_two_mugs()
            .when(|cart| cart.clear(ADA))
            .then_once([removed])
            .when(|cart| cart.check_out(ADA, ORDER))
            .then_rejected(CartRejection::CartEmpty {});
    }

    #[test]
    fn checked_out_cart_never_changes_again() {
        let gone = || CartRejection::CartCheckedOut { order: ORDER };
        let checked_out = || {
            let when = with_two_mugs().when(|cart| cart.check_out(ADA, ORDER));
            when.then_once([CartEvent::CheckedOut { order: ORDER }])
        };
        checked_out().when(|cart| cart.add(ADA, STORE, MUG, quantity(1), 5)).then_rejected(gone());
        checked_out().when(|cart| cart.remove(ADA, MUG)).then_rejected(gone());
        checked_out().when(|cart| cart.clear(ADA)).then_rejected(gone());
        checked_out().when(|cart| cart.check_out(ADA, OrderId::new(id(8)))).then_rejected(gone());
    }
}
