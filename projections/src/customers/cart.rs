//! Carts of a customer (BUY-05, BUY-08).

use domain::customers::CartEvent;
use domain::kernel::Recorded;
use domain::shared::{CartId, CustomerId, OrderId, Permission, StoreId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Cart of a customer at one store. Its lines are the read model `CartLine`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cart {
    /// Id of the cart, chosen by the caller.
    pub cart: CartId,
    /// Customer who fills it.
    pub customer: CustomerId,
    /// Store that sells.
    pub store: StoreId,
    /// Order that it became; null while it is open.
    pub order: Option<OrderId>,
    /// Time of its first line.
    pub begun_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for Cart {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["cart"];
    const INDEXED: &'static [&'static str] = &["customer", "store", "changed_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::customers::Cart>(Self::on_cart);
    }
}

impl Cart {
    fn on_cart(row: Option<Self>, event: &Recorded<CartEvent>) -> Folded<Self> {
        let changed_at = event.occurred_at;
        let row = match (row, &event.event) {
            (Some(row), _) => row,
            (None, CartEvent::QuantitySet { customer, store, .. }) => Self {
                cart: CartId::new(event.stream),
                customer: *customer,
                store: *store,
                order: None,
                begun_at: changed_at,
                changed_at,
            },
            (None, _) => return Err(Unfoldable::no_row()),
        };
        let order = if let CartEvent::CheckedOut { order } = event.event { Some(order) } else { row.order };
        Ok(Some(Self { order, changed_at, ..row }))
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{ProductId, Quantity};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn cart_is_open_until_it_becomes_an_order() {
        let then = |story: Story, event| story.then::<domain::customers::Cart>(CartId::new(Uuid::from_u128(9)), event);
        let (customer, store) = (CustomerId::new(Uuid::from_u128(5)), StoreId::new(Uuid::from_u128(2)));
        let (product, quantity) = (ProductId::new(Uuid::from_u128(3)), Quantity::try_from(2).expect("a quantity"));
        let begun = then(Story::new(), CartEvent::QuantitySet { customer, store, product, quantity });
        let row: Cart = begun.row();
        assert_eq!((row.customer, row.order, row.begun_at), (customer, None, Story::at(1)));
        let order = OrderId::new(Uuid::from_u128(4));
        let row: Cart = then(begun, CartEvent::CheckedOut { order }).row();
        assert_eq!((row.order, row.changed_at), (Some(order), Story::at(2)));
    }
}
