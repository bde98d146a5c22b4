//! Categories of products (CAT-09, CAT-10). Invariant: the product count is the number of published products in the category.

use domain::catalogue::{CategoryTree, CategoryTreeEvent, Product, ProductEvent, TemplateField};
use domain::kernel::Recorded;
use domain::shared::{CategoryId, Permission, Text, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, Key, ReadModel, Sources, Unfoldable};
use crate::key;

/// Category of products.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Category {
    /// Id of the category.
    pub category: CategoryId,
    /// Name shown to customers.
    pub name: Title,
    /// Name of an icon in the shop's own set.
    pub icon: Option<Text<100>>,
    /// Category above it; null at the top.
    pub parent: Option<CategoryId>,
    /// Properties that its products have, in the order of a form.
    pub template: Vec<TemplateField>,
    /// Number of its published products, without those of the categories below it.
    pub product_count: i64,
    /// Current status.
    pub status: CategoryStatus,
}

/// Status of a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CategoryStatus {
    /// Takes products.
    Active,
    /// Takes no more products.
    Retired,
}

impl ReadModel for Category {
    const NEEDS: Permission = Permission::SeeProducts;
    const KEY: &'static [&'static str] = &["category"];
    const INDEXED: &'static [&'static str] = &["name", "parent", "status"];
    const PUBLIC: &'static [&'static str] =
        &["category", "name", "icon", "parent", "template", "product_count", "status"];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "active"));

    fn sources(from: &mut Sources<Self>) {
        from.stream::<CategoryTree>(|event| Some(key![category(&event.event)]), Self::on_tree);
        from.stream::<Product>(|event| listing(&event.event).map(listed_key), Self::on_product);
    }
}

impl Category {
    fn on_tree(row: Option<Self>, event: &Recorded<CategoryTreeEvent>) -> Folded<Self> {
        if let CategoryTreeEvent::Added { category, name, icon, parent } = event.event.clone() {
            let (template, product_count, status) = (vec![], 0, CategoryStatus::Active);
            return Ok(Some(Self { category, name, icon, parent, template, product_count, status }));
        }
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        match event.event.clone() {
            CategoryTreeEvent::Added { .. } => {}
            CategoryTreeEvent::Renamed { name, icon, .. } => (row.name, row.icon) = (name, icon),
            CategoryTreeEvent::Moved { parent, .. } => row.parent = parent,
            CategoryTreeEvent::Retired { .. } => row.status = CategoryStatus::Retired,
            CategoryTreeEvent::TemplateSet { template, .. } => row.template = template,
        }
        Ok(Some(row))
    }

    fn on_product(row: Option<Self>, event: &Recorded<ProductEvent>) -> Folded<Self> {
        let row = row.ok_or_else(Unfoldable::no_row)?;
        let change = listing(&event.event).map_or(0, |(_, change)| change);
        let product_count =
            row.product_count.checked_add(change).ok_or_else(|| Unfoldable::overflow("product_count"))?;
        Ok(Some(Self { product_count, ..row }))
    }
}

fn category(event: &CategoryTreeEvent) -> CategoryId {
    match event {
        CategoryTreeEvent::Added { category, .. }
        | CategoryTreeEvent::Renamed { category, .. }
        | CategoryTreeEvent::Moved { category, .. }
        | CategoryTreeEvent::Retired { category }
        | CategoryTreeEvent::TemplateSet { category, .. } => *category,
    }
}

/// Category of an event, and by how much it changes the product count.
fn listing(event: &ProductEvent) -> Option<(CategoryId, i64)> {
    match event {
        ProductEvent::Listed { category } => Some((*category, 1)),
        ProductEvent::Unlisted { category } => Some((*category, -1)),
        _ => None,
    }
}

fn listed_key((category, _): (CategoryId, i64)) -> Key {
    key![category]
}

#[cfg(test)]
mod tests {
    use domain::shared::TenantId;
    use uuid::Uuid;

    use super::super::product::tests::{created, then};
    use super::*;

    #[test]
    fn count_follows_the_listings_of_products() {
        let category = CategoryId::new(Uuid::from_u128(1));
        let added =
            CategoryTreeEvent::Added { category, name: "Mugs".parse().expect("a name"), icon: None, parent: None };
        let story = created().then::<CategoryTree>(TenantId::new(Uuid::from_u128(0xa)), added);
        let listed = then(story, ProductEvent::Listed { category });
        assert_eq!(listed.row::<Category>().product_count, 1);
        let unlisted = then(listed, ProductEvent::Unlisted { category });
        assert_eq!(unlisted.row::<Category>().product_count, 0);
    }
}
