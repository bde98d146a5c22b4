//! Products on wishlists (BUY-09).

use domain::customers::{Wishlist, WishlistEvent};
use domain::kernel::Recorded;
use domain::shared::{CustomerId, Permission, ProductId, Timestamp, WishlistId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Product on a wishlist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wish {
    /// Wishlist.
    pub wishlist: WishlistId,
    /// Product.
    pub product: ProductId,
    /// Customer to whom the list belongs.
    pub customer: CustomerId,
    /// Time at which it was put on the list.
    pub added_at: Timestamp,
}

impl ReadModel for Wish {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["wishlist", "product"];
    const INDEXED: &'static [&'static str] = &["customer", "product", "added_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Wishlist>(
            |event| match event.event {
                WishlistEvent::ProductAdded { product, .. } | WishlistEvent::ProductRemoved { product, .. } => {
                    Some(key![event.stream, product])
                }
                WishlistEvent::Created { .. } => None,
            },
            Self::on_wishlist,
        );
    }
}

impl Wish {
    fn on_wishlist(_: Option<Self>, event: &Recorded<WishlistEvent>) -> Folded<Self> {
        Ok(match event.event {
            WishlistEvent::ProductAdded { customer, product } => {
                let (wishlist, added_at) = (WishlistId::new(event.stream), event.occurred_at);
                Some(Self { wishlist, product, customer, added_at })
            }
            WishlistEvent::ProductRemoved { .. } | WishlistEvent::Created { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn product_is_on_the_list_until_it_is_removed() {
        let (customer, product) = (CustomerId::new(Uuid::from_u128(5)), ProductId::new(Uuid::from_u128(3)));
        let then = |story: Story, event| story.then::<Wishlist>(WishlistId::new(Uuid::from_u128(9)), event);
        let added = then(Story::new(), WishlistEvent::ProductAdded { customer, product });
        let row: Wish = added.row();
        assert_eq!((row.customer, row.product, row.added_at), (customer, product, Story::at(1)));
        let rows: Vec<Wish> = then(added, WishlistEvent::ProductRemoved { customer, product }).rows();
        assert_eq!(rows, []);
    }
}
