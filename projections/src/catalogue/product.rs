//! Products of a tenant (CAT-01, CAT-02, CAT-07, CAT-08). Invariant: the price of a variant is that of the product plus its
//! adjustment.

use domain::catalogue::{ProductEvent, Specification};
use domain::kernel::Recorded;
use domain::shared::{
    CategoryId, Currency, Permission, PriceAdjustment, ProductId, Reason, Sku, Text, Timestamp, Title, VariantId,
};
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
    /// Category of the product.
    pub category: Option<CategoryId>,
    /// Properties, in the order in which they were set.
    pub specifications: Vec<Specification>,
    /// Variants, in the order in which they were added.
    pub variants: Vec<Variant>,
    /// Sales status.
    pub status: ProductStatus,
    /// True while the platform forbids its sale.
    pub restricted: bool,
    /// Reason of the platform.
    pub restriction: Option<Reason>,
    /// Time at which the product was created.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

/// Variant of a product, such as a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// Id of the variant.
    pub variant: VariantId,
    /// Name shown to customers.
    pub name: Title,
    /// Stock keeping unit: the shop's own code for the variant.
    pub sku: Sku,
    /// Difference to the price of the product, in minor units.
    pub adjustment_minor: i64,
    /// Price of the variant, in minor units.
    pub price_minor: i64,
    /// True if the variant is no longer offered.
    pub retired: bool,
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
    const INDEXED: &'static [&'static str] =
        &["sku", "name", "price_minor", "category", "status", "restricted", "created_at"];
    const PUBLIC: &'static [&'static str] = &[
        "product",
        "sku",
        "name",
        "description",
        "price_minor",
        "currency",
        "category",
        "specifications",
        "variants",
        "status",
        "created_at",
        "changed_at",
    ];
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
                category: None,
                specifications: vec![],
                variants: vec![],
                status: ProductStatus::Draft,
                restricted: false,
                restriction: None,
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
            ProductEvent::PriceChanged { to, .. } => {
                self.price_minor = to.minor();
                let price = self.price_minor;
                self.variants.iter_mut().for_each(|variant| variant.reprice(price));
            }
            ProductEvent::Categorized { category } => self.category = *category,
            // Counted in the category.
            ProductEvent::Listed { .. } | ProductEvent::Unlisted { .. } => {}
            ProductEvent::SpecificationsSet { specifications } => self.specifications = specifications.clone(),
            ProductEvent::VariantAdded { variant, name, sku, adjustment } => {
                let (variant, name, sku, retired) = (*variant, name.clone(), sku.clone(), false);
                let mut added =
                    Variant { variant, name, sku, adjustment_minor: adjustment.get(), price_minor: 0, retired };
                added.reprice(self.price_minor);
                self.variants.push(added);
            }
            ProductEvent::VariantRevised { variant, name, adjustment } => {
                let price = self.price_minor;
                self.variant(*variant).into_iter().for_each(|known| known.revise(name, *adjustment, price));
            }
            ProductEvent::VariantRetired { variant } => {
                self.variant(*variant).into_iter().for_each(|known| known.retired = true);
            }
            ProductEvent::Published {} => self.status = ProductStatus::Published,
            ProductEvent::Unpublished {} | ProductEvent::Restored {} => self.status = ProductStatus::Draft,
            ProductEvent::Restricted { reason, .. } => {
                (self.restricted, self.restriction) = (true, Some(reason.clone()));
            }
            ProductEvent::RestrictionLifted { .. } => (self.restricted, self.restriction) = (false, None),
            ProductEvent::Archived {} => self.status = ProductStatus::Archived,
        }
    }
}

impl Product {
    fn variant(&mut self, id: VariantId) -> Option<&mut Variant> {
        self.variants.iter_mut().find(|known| known.variant == id)
    }
}

impl Variant {
    fn revise(&mut self, name: &Title, adjustment: PriceAdjustment, price: i64) {
        (self.name, self.adjustment_minor) = (name.clone(), adjustment.get());
        self.reprice(price);
    }

    fn reprice(&mut self, price: i64) {
        self.price_minor = price.saturating_add(self.adjustment_minor);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use domain::shared::{Money, Price};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    pub(crate) fn usd(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    pub(crate) fn then(story: Story, event: ProductEvent) -> Story {
        story.then::<domain::catalogue::Product>(ProductId::new(Uuid::from_u128(7)), event)
    }

    pub(crate) fn created() -> Story {
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

    #[test]
    fn price_of_a_variant_follows_the_price_of_the_product() {
        let (variant, adjustment) = (VariantId::new(Uuid::from_u128(8)), PriceAdjustment::try_from(-50));
        let adjustment = adjustment.expect("an adjustment");
        let (name, sku): (Title, Sku) = ("Small".parse().expect("a name"), "MUG-S".parse().expect("a SKU"));
        let added = then(created(), ProductEvent::VariantAdded { variant, name: name.clone(), sku, adjustment });
        assert_eq!(added.row::<Product>().variants[0].price_minor, 450);
        let cheaper = then(added, ProductEvent::PriceChanged { from: usd(500), to: usd(300) });
        assert_eq!(cheaper.row::<Product>().variants[0].price_minor, 250);
        let adjustment = PriceAdjustment::try_from(20).expect("an adjustment");
        let row: Product = then(cheaper, ProductEvent::VariantRevised { variant, name, adjustment }).row();
        assert_eq!((row.variants[0].adjustment_minor, row.variants[0].price_minor), (20, 320));
    }
}
