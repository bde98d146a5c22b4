//! Categories of a tenant as a tree, and the properties that they ask of products (CAT-09, CAT-10).
//!
//! Invariants: the tree has no cycle, and no category below a retired one; a category keeps its id for ever.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CategoryId, TenantId, Text, Title};

/// Largest number of categories of a tenant, retired ones included. All are part of one state, so the limit bounds its size.
pub const CATEGORIES_MOST: usize = 2_000;
/// Largest number of properties of a template.
pub const TEMPLATE_FIELDS_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CategoryTree {
    categories: BTreeMap<CategoryId, Category>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Category {
    name: Title,
    icon: Option<Text<100>>,
    parent: Option<CategoryId>,
    template: Vec<TemplateField>,
    retired: bool,
}

/// Property that the products of a category have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateField {
    /// Name of the property, such as Material.
    pub name: Text<100>,
    /// True if a product without it cannot be published.
    pub required: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CategoryTreeEvent {
    /// A category was added.
    #[serde(rename = "category.added")]
    Added { category: CategoryId, name: Title, icon: Option<Text<100>>, parent: Option<CategoryId> },
    /// Name or icon of a category changed.
    #[serde(rename = "category.renamed")]
    Renamed { category: CategoryId, name: Title, icon: Option<Text<100>> },
    /// A category is below another one now, or at the top.
    #[serde(rename = "category.moved")]
    Moved { category: CategoryId, parent: Option<CategoryId> },
    /// A category takes no more products.
    #[serde(rename = "category.retired")]
    Retired { category: CategoryId },
    /// The properties that a category asks of its products were replaced.
    #[serde(rename = "category.template_set")]
    TemplateSet { category: CategoryId, template: Vec<TemplateField> },
}

/// Rejections of the category tree.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CategoryTreeRejection {
    #[error("there is no such category")]
    CategoryUnknown { category: CategoryId },
    #[error("this category was added already, with other details")]
    CategoryExists {},
    #[error("this category is retired")]
    CategoryRetired { category: CategoryId },
    #[error("a category cannot be below itself")]
    CategoryCycle {},
    #[error("this category has others below it; move or retire them first")]
    CategoryHasChildren {},
    #[error("a tenant has at most {most} categories")]
    TooManyCategories { most: usize },
    #[error("two properties have the name {name}")]
    PropertyRepeated { name: Text<100> },
}

impl Rejection for CategoryTreeRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::CategoryUnknown { .. } | Self::CategoryHasChildren {} | Self::CategoryCycle {} => Retry::NewId,
            _ => Retry::Never,
        }
    }
}

impl CategoryTree {
    /// Adds a category below another one or at the top. A repeat changes nothing.
    pub fn add(
        &self,
        category: CategoryId,
        name: Title,
        icon: Option<Text<100>>,
        parent: Option<CategoryId>,
    ) -> Decision<Self> {
        if let Some(known) = self.categories.get(&category) {
            let same = known.name == name && known.icon == icon && known.parent == parent;
            return if same { Ok(vec![]) } else { Err(CategoryTreeRejection::CategoryExists {}) };
        }
        if self.categories.len() >= CATEGORIES_MOST {
            return Err(CategoryTreeRejection::TooManyCategories { most: CATEGORIES_MOST });
        }
        parent.map_or(Ok(()), |parent| self.require_active(parent))?;
        Ok(vec![CategoryTreeEvent::Added { category, name, icon, parent }])
    }

    /// Changes name and icon.
    pub fn rename(&self, category: CategoryId, name: Title, icon: Option<Text<100>>) -> Decision<Self> {
        let known = self.active(category)?;
        if known.name == name && known.icon == icon {
            return Ok(vec![]);
        }
        Ok(vec![CategoryTreeEvent::Renamed { category, name, icon }])
    }

    /// Moves a category below another one or to the top.
    pub fn place(&self, category: CategoryId, parent: Option<CategoryId>) -> Decision<Self> {
        if self.active(category)?.parent == parent {
            return Ok(vec![]);
        }
        if let Some(parent) = parent {
            self.require_active(parent)?;
            if self.path(parent).any(|above| above == category) {
                return Err(CategoryTreeRejection::CategoryCycle {});
            }
        }
        Ok(vec![CategoryTreeEvent::Moved { category, parent }])
    }

    /// Closes a category for products. Those in it keep it.
    pub fn retire(&self, category: CategoryId) -> Decision<Self> {
        if self.known(category)?.retired {
            return Ok(vec![]);
        }
        if self.categories.values().any(|other| !other.retired && other.parent == Some(category)) {
            return Err(CategoryTreeRejection::CategoryHasChildren {});
        }
        Ok(vec![CategoryTreeEvent::Retired { category }])
    }

    /// Replaces the properties that the category asks of its products. Published products stay published.
    pub fn set_template(&self, category: CategoryId, template: Vec<TemplateField>) -> Decision<Self> {
        let known = self.active(category)?;
        let mut names = BTreeSet::new();
        if let Some(twice) = template.iter().find(|field| !names.insert(field.name.to_string())) {
            return Err(CategoryTreeRejection::PropertyRepeated { name: twice.name.clone() });
        }
        if known.template == template {
            return Ok(vec![]);
        }
        Ok(vec![CategoryTreeEvent::TemplateSet { category, template }])
    }

    /// Rejects a category that takes no products.
    pub fn require_active(&self, category: CategoryId) -> Result<(), CategoryTreeRejection> {
        self.active(category).map(drop)
    }

    /// Names of the properties without which a product of the category cannot be published.
    pub fn required_properties(&self, category: CategoryId) -> impl Iterator<Item = &Text<100>> {
        let fields = self.categories.get(&category).into_iter().flat_map(|known| &known.template);
        fields.filter(|field| field.required).map(|field| &field.name)
    }

    fn known(&self, category: CategoryId) -> Result<&Category, CategoryTreeRejection> {
        self.categories.get(&category).ok_or(CategoryTreeRejection::CategoryUnknown { category })
    }

    fn active(&self, category: CategoryId) -> Result<&Category, CategoryTreeRejection> {
        match self.known(category)? {
            known if known.retired => Err(CategoryTreeRejection::CategoryRetired { category }),
            known => Ok(known),
        }
    }

    /// A category and all those above it.
    fn path(&self, category: CategoryId) -> impl Iterator<Item = CategoryId> {
        std::iter::successors(Some(category), |one| self.categories.get(one)?.parent)
    }
}

impl Aggregate for CategoryTree {
    const TYPE: &'static str = "CategoryTree";
    type Id = TenantId;
    type Event = CategoryTreeEvent;
    type Rejection = CategoryTreeRejection;

    fn apply(&mut self, event: &CategoryTreeEvent) {
        match event.clone() {
            CategoryTreeEvent::Added { category, name, icon, parent } => {
                self.categories.insert(category, Category { name, icon, parent, template: vec![], retired: false });
            }
            CategoryTreeEvent::Renamed { category, name, icon } => self.change(category, |known| {
                (known.name, known.icon) = (name, icon);
            }),
            CategoryTreeEvent::Moved { category, parent } => self.change(category, |known| known.parent = parent),
            CategoryTreeEvent::Retired { category } => self.change(category, |known| known.retired = true),
            CategoryTreeEvent::TemplateSet { category, template } => {
                self.change(category, |known| known.template = template);
            }
        }
    }
}

impl CategoryTree {
    fn change(&mut self, category: CategoryId, change: impl FnOnce(&mut Category)) {
        if let Some(known) = self.categories.get_mut(&category) {
            change(known);
        }
    }
}

#[cfg(test)]
#[path = "category_tree_tests.rs"]
mod tests;
