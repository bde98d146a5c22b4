//! Restriction of a product by the platform, as a stream of the platform's tenant (CAT-15). Policies send each decision as a
//! command to [`Product`](super::Product), a stream of the tenant that sells it.
//!
//! Invariant: restriction and lifting alternate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{ProductId, ProductRestrictionId, Reason, TenantId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProductRestriction {
    restricted: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ProductRestrictionEvent {
    /// The platform ordered that the product is not sold.
    #[serde(rename = "product_restriction.ordered")]
    Ordered { tenant: TenantId, product: ProductId, reason: Reason },
    /// The platform ordered that the product may be sold again.
    #[serde(rename = "product_restriction.lifted")]
    Lifted { tenant: TenantId, product: ProductId },
}

/// Rejections of a restriction.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProductRestrictionRejection {
    #[error("this product is not restricted")]
    ProductNotRestricted {},
}

impl Rejection for ProductRestrictionRejection {
    fn retry(&self) -> Retry {
        Retry::NewId
    }
}

impl ProductRestriction {
    /// Stream id of a product of a tenant.
    pub fn id(tenant: TenantId, product: ProductId) -> ProductRestrictionId {
        ProductRestrictionId::derived(tenant.uuid(), &product.to_string())
    }

    /// Orders the restriction. If the product is restricted already, the first reason is kept.
    pub fn order(&self, tenant: TenantId, product: ProductId, reason: Reason) -> Decision<Self> {
        Ok(if self.restricted { vec![] } else { vec![ProductRestrictionEvent::Ordered { tenant, product, reason }] })
    }

    /// Orders the end of the restriction.
    pub fn lift(&self, tenant: TenantId, product: ProductId) -> Decision<Self> {
        match self.restricted {
            true => Ok(vec![ProductRestrictionEvent::Lifted { tenant, product }]),
            false => Err(ProductRestrictionRejection::ProductNotRestricted {}),
        }
    }
}

impl Aggregate for ProductRestriction {
    const TYPE: &'static str = "ProductRestriction";
    type Id = ProductRestrictionId;
    type Event = ProductRestrictionEvent;
    type Rejection = ProductRestrictionRejection;

    fn apply(&mut self, event: &ProductRestrictionEvent) {
        self.restricted = matches!(event, ProductRestrictionEvent::Ordered { .. });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{id, parsed};

    const TENANT: TenantId = TenantId::new(id(1));
    const PRODUCT: ProductId = ProductId::new(id(2));

    #[test]
    fn restriction_and_lifting_alternate() {
        let reason: Reason = parsed("counterfeit");
        let ordered = ProductRestrictionEvent::Ordered { tenant: TENANT, product: PRODUCT, reason: reason.clone() };
        let lift = |restriction: &ProductRestriction| restriction.lift(TENANT, PRODUCT);
        given([]).when(lift).then_rejected(ProductRestrictionRejection::ProductNotRestricted {});
        given([])
            .when(|restriction: &ProductRestriction| restriction.order(TENANT, PRODUCT, reason.clone()))
            .then_once([ordered])
            .when(lift)
            .then([ProductRestrictionEvent::Lifted { tenant: TENANT, product: PRODUCT }])
            .when(lift)
            .then_rejected(ProductRestrictionRejection::ProductNotRestricted {});
    }
}
