//! Events and rejections of a product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Rejection, Retry};
use crate::shared::{CategoryId, Currency, Price, PriceAdjustment, Reason, Sku, Text, Title, VariantId};

/// Property of a product: a field of the template of its category, or one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// Name of the property, such as Material.
    pub name: Text<100>,
    /// Value of the property, such as Stoneware.
    pub value: Text<500>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ProductEvent {
    /// A product was added to the catalogue as a draft; it cannot be bought yet.
    #[serde(rename = "product.created")]
    Created { name: Title, sku: Sku, price: Price, description: Option<Text<5000>> },
    /// Name or description changed.
    #[serde(rename = "product.revised")]
    Revised { name: Title, description: Option<Text<5000>> },
    /// The price changed. Placed orders keep their prices.
    #[serde(rename = "product.price_changed")]
    PriceChanged { from: Price, to: Price },
    /// The product is in this category, or in none.
    #[serde(rename = "product.categorized")]
    Categorized { category: Option<CategoryId> },
    /// Buyers find the product in this category: it is published and belongs to it.
    #[serde(rename = "product.listed")]
    Listed { category: CategoryId },
    /// Buyers no longer find the product in this category.
    #[serde(rename = "product.unlisted")]
    Unlisted { category: CategoryId },
    /// The properties were replaced.
    #[serde(rename = "product.specifications_set")]
    SpecificationsSet { specifications: Vec<Specification> },
    /// A variant was added. Its price is that of the product plus the adjustment.
    #[serde(rename = "product.variant_added")]
    VariantAdded { variant: VariantId, name: Title, sku: Sku, adjustment: PriceAdjustment },
    /// Name or price of a variant changed.
    #[serde(rename = "product.variant_revised")]
    VariantRevised { variant: VariantId, name: Title, adjustment: PriceAdjustment },
    /// The variant is no longer offered.
    #[serde(rename = "product.variant_retired")]
    VariantRetired { variant: VariantId },
    /// The product can be bought.
    #[serde(rename = "product.published")]
    Published {},
    /// The product cannot be bought for now.
    #[serde(rename = "product.unpublished")]
    Unpublished {},
    /// The platform forbids the sale of the product; `decision` is the number of its decision.
    #[serde(rename = "product.restricted")]
    Restricted { reason: Reason, decision: i64 },
    /// The platform no longer forbids the sale.
    #[serde(rename = "product.restriction_lifted")]
    RestrictionLifted { decision: i64 },
    /// The product was removed from the catalogue; old orders still show it.
    #[serde(rename = "product.archived")]
    Archived {},
    /// The product is in the catalogue again, as a draft.
    #[serde(rename = "product.restored")]
    Restored {},
}

/// Rejections of a product.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProductRejection {
    #[error("there is no such product")]
    ProductUnknown {},
    #[error("this product was created already, with other details")]
    ProductExists {},
    #[error("this product is archived; restore it first")]
    ProductArchived {},
    #[error("the price of this product is in {currency}")]
    CurrencyFixed { currency: Currency },
    #[error("this product is not for sale")]
    NotForSale {},
    #[error("the platform forbids the sale of this product")]
    ProductRestricted {},
    #[error("the category requires the property {name}")]
    SpecificationMissing { name: Text<100> },
    #[error("two properties have the name {name}")]
    SpecificationRepeated { name: Text<100> },
    #[error("there is no such variant")]
    VariantUnknown {},
    #[error("this variant was added already, with other details")]
    VariantExists {},
    #[error("this variant is retired")]
    VariantIsRetired {},
    #[error("a product has at most {most} variants")]
    TooManyVariants { most: usize },
    #[error("the price of the variant {variant} would be below zero or too large")]
    VariantPriceOutOfRange { variant: VariantId },
}

impl Rejection for ProductRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ProductExists {}
            | Self::CurrencyFixed { .. }
            | Self::SpecificationRepeated { .. }
            | Self::VariantExists {}
            | Self::VariantIsRetired {}
            | Self::TooManyVariants { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}
