//! Wishlists of a customer (BUY-09).

use domain::customers::WishlistEvent;
use domain::kernel::Recorded;
use domain::shared::{CustomerId, Permission, Timestamp, Title, WishlistId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, add};

/// Wishlist of a customer. Its products are the read model `Wish`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wishlist {
    /// Id of the list, chosen by the caller.
    pub wishlist: WishlistId,
    /// Customer to whom it belongs.
    pub customer: CustomerId,
    /// Name of the list.
    pub name: Title,
    /// Number of products on it.
    pub products: i64,
    /// Time of its creation.
    pub created_at: Timestamp,
}

impl ReadModel for Wishlist {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["wishlist"];
    const INDEXED: &'static [&'static str] = &["customer", "created_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::customers::Wishlist>(Self::on_wishlist);
    }
}

impl Wishlist {
    fn on_wishlist(row: Option<Self>, event: &Recorded<WishlistEvent>) -> Folded<Self> {
        if let WishlistEvent::Created { customer, name } = event.event.clone() {
            let (wishlist, created_at) = (WishlistId::new(event.stream), event.occurred_at);
            return Ok(Some(Self { wishlist, customer, name, products: 0, created_at }));
        }
        let Some(mut row) = row else { return Ok(None) };
        let change = if matches!(event.event, WishlistEvent::ProductAdded { .. }) { 1 } else { -1 };
        add(&mut row.products, change, "products")?;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::ProductId;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn list_counts_its_products() {
        let (customer, name) = (CustomerId::new(Uuid::from_u128(5)), "Kitchen".parse().expect("a name"));
        let then =
            |story: Story, event| story.then::<domain::customers::Wishlist>(WishlistId::new(Uuid::from_u128(9)), event);
        let product = |number| ProductId::new(Uuid::from_u128(number));
        let story = then(Story::new(), WishlistEvent::Created { customer, name });
        let story = then(story, WishlistEvent::ProductAdded { customer, product: product(1) });
        let story = then(story, WishlistEvent::ProductAdded { customer, product: product(2) });
        let row: Wishlist = then(story, WishlistEvent::ProductRemoved { customer, product: product(1) }).row();
        assert_eq!((row.products, row.created_at), (1, Story::at(1)));
    }
}
