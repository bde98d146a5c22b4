//! A thing that is sold.

use domain::catalogue::Product;
use domain::shared::{Permission, Price, ProductId, Sku, Text, Title};
use domain::tenancy::{NameClaim, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject, rejected};

/// Put a product into the catalogue, as a draft that nobody can buy yet.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// Made by the caller, so that sending it again makes no second product.
    pub product: ProductId,
    pub name: Title,
    /// Unique within the tenant, whatever its case; it stays taken when the product is archived.
    pub sku: Sku,
    /// In the currency of the tenant.
    pub price: Price,
    pub description: Option<Text<5000>>,
}

impl Command for CreateProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let claim = NameClaim::id("sku", context.tenant.uuid(), &self.sku.to_string());
        desk.fetch(|hint| {
            hint.stream::<Tenant>(context.tenant).stream::<Product>(self.product).stream::<NameClaim>(claim);
        })?;
        desk.read::<Tenant>(context.tenant)?.require_currency(self.price.currency()).map_err(rejected)?;
        desk.decide::<Product>(self.product, |product| {
            product.create(self.name.clone(), self.sku.clone(), self.price, self.description.clone())
        })?;
        desk.decide::<NameClaim>(claim, |name| name.claim("sku", self.product.uuid()))
    }
}

/// Say something else about a product. What is left out is removed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviseProduct {
    pub product: ProductId,
    pub name: Title,
    pub description: Option<Text<5000>>,
}

impl Command for ReviseProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, |product| product.revise(self.name.clone(), self.description.clone()))
    }
}

/// Let a product cost something else from now on. Orders that were placed keep their prices.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePrice {
    pub product: ProductId,
    /// The new price, in the currency of the old one.
    pub price: Price,
}

impl Command for ChangePrice {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, |product| product.change_price(self.price))
    }
}

/// Put a product on sale.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishProduct {
    pub product: ProductId,
}

impl Command for PublishProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, Product::publish)
    }
}

/// Take a product off sale for now.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpublishProduct {
    pub product: ProductId,
}

impl Command for UnpublishProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, Product::unpublish)
    }
}

/// Take a product out of the catalogue; old orders still show it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveProduct {
    pub product: ProductId,
}

impl Command for ArchiveProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, Product::archive)
    }
}

/// Bring an archived product back, as a draft.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreProduct {
    pub product: ProductId,
}

impl Command for RestoreProduct {
    const NEEDS: Permission = Permission::ManageProducts;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<Product>(self.product, Product::restore)
    }
}
