//! Products of a tenant (CAT-01, CAT-02).

use domain::catalogue::ProductEvent;
use domain::kernel::Recorded;
use domain::shared::{Currency, Permission, ProductId, Sku, Text, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Product in the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// Id of the product.
    pub product: ProductId,
    /// Stock keeping unit: the shop's own code for the product.
    pub sku: Sku,
    /// Name shown to customers.
    pub name: Title,
    /// Description shown to customers.
    pub description: Option<Text<5000>>,
    /// Price in minor units.
    pub price_minor: i64,
    /// Currency of the price.
    pub currency: Currency,
    /// Sales status.
    pub status: ProductStatus,
    /// Time at which the product was created.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

/// Sales status of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// Not on sale: not yet published, or unpublished.
    Draft,
    /// On sale.
    Published,
    /// Removed from the catalogue.
    Archived,
}

impl ReadModel for Product {
    const NEEDS: Permission = Permission::SeeProducts;
    const KEY: &'static [&'static str] = &["product"];
    const INDEXED: &'static [&'static str] = &["sku", "name", "price_minor", "status", "created_at"];
    const PUBLIC: &'static [&'static str] =
        &["product", "sku", "name", "description", "price_minor", "currency", "status", "created_at", "changed_at"];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "published"));

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::catalogue::Product>(Self::on_product);
    }
}

impl Product {
    fn on_product(row: Option<Self>, event: &Recorded<ProductEvent>) -> Folded<Self> {
        if let ProductEvent::Created { name, sku, price, description } = &event.event {
            return Ok(Some(Self {
                product: ProductId::new(event.stream),
                sku: sku.clone(),
                name: name.clone(),
                description: description.clone(),
                price_minor: price.minor(),
                currency: price.currency(),
                status: ProductStatus::Draft,
                created_at: event.occurred_at,
                changed_at: event.occurred_at,
            }));
        }
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        row.apply(&event.event);
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn apply(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::Created { .. } => {}
            ProductEvent::Revised { name, description } => {
                self.name = name.clone();
                self.description = description.clone();
            }
            ProductEvent::PriceChanged { to, .. } => self.price_minor = to.minor(),
            ProductEvent::Published {} => self.status = ProductStatus::Published,
            ProductEvent::Unpublished {} | ProductEvent::Restored {} => self.status = ProductStatus::Draft,
            ProductEvent::Archived {} => self.status = ProductStatus::Archived,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Money, Price};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn usd(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    fn then(story: Story, event: ProductEvent) -> Story {
        story.then::<domain::catalogue::Product>(ProductId::new(Uuid::from_u128(7)), event)
    }

    fn created() -> Story {
        let (name, sku) = ("Mug".parse().expect("a name"), "MUG".parse().expect("a SKU"));
        then(Story::new(), ProductEvent::Created { name, sku, price: usd(500), description: None })
    }

    #[test]
    fn product_starts_as_a_draft_and_follows_its_events() {
        let row: Product = created().row();
        assert_eq!((row.status, row.price_minor), (ProductStatus::Draft, 500));
        let changed = then(created(), ProductEvent::PriceChanged { from: usd(500), to: usd(450) });
        let row: Product = then(changed, ProductEvent::Published {}).row();
        assert_eq!((row.status, row.price_minor, row.changed_at), (ProductStatus::Published, 450, Story::at(3)));
    }

    #[test]
    fn restored_product_is_a_draft() {
        let archived = then(then(created(), ProductEvent::Published {}), ProductEvent::Archived {});
        assert_eq!(archived.row::<Product>().status, ProductStatus::Archived);
        assert_eq!(then(archived, ProductEvent::Restored {}).row::<Product>().status, ProductStatus::Draft);
    }
}
