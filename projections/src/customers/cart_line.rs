//! Lines of carts (BUY-05).

use domain::customers::{Cart, CartEvent};
use domain::kernel::Recorded;
use domain::shared::{CartId, CustomerId, Permission, ProductId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Product in a cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CartLine {
    /// Cart.
    pub cart: CartId,
    /// Product.
    pub product: ProductId,
    /// Customer who fills the cart.
    pub customer: CustomerId,
    /// Number of units.
    pub quantity: i64,
}

impl ReadModel for CartLine {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["cart", "product"];
    const INDEXED: &'static [&'static str] = &["customer", "product"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Cart>(
            |event| match event.event {
                CartEvent::QuantitySet { product, .. } | CartEvent::ItemRemoved { product } => {
                    Some(key![event.stream, product])
                }
                CartEvent::CheckedOut { .. } => None,
            },
            Self::on_cart,
        );
    }
}

impl CartLine {
    fn on_cart(_: Option<Self>, event: &Recorded<CartEvent>) -> Folded<Self> {
        Ok(match event.event {
            CartEvent::QuantitySet { customer, product, quantity, .. } => {
                Some(Self { cart: CartId::new(event.stream), product, customer, quantity: quantity.get() })
            }
            CartEvent::ItemRemoved { .. } | CartEvent::CheckedOut { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Quantity, StoreId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn line_has_its_last_quantity_until_it_is_removed() {
        let then = |story: Story, event| story.then::<Cart>(CartId::new(Uuid::from_u128(9)), event);
        let (customer, store) = (CustomerId::new(Uuid::from_u128(5)), StoreId::new(Uuid::from_u128(2)));
        let product = ProductId::new(Uuid::from_u128(3));
        let set = |story, number| {
            let quantity = Quantity::try_from(number).expect("a quantity");
            then(story, CartEvent::QuantitySet { customer, store, product, quantity })
        };
        let filled = set(set(Story::new(), 2), 5);
        let row: CartLine = filled.row();
        assert_eq!((row.product, row.quantity), (product, 5));
        let rows: Vec<CartLine> = then(filled, CartEvent::ItemRemoved { product }).rows();
        assert_eq!(rows, []);
    }
}
