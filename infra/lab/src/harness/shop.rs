//! A shop: one tenant with one product on sale, and the bodies of the commands that tests send for it.

use anyhow::Result;
use domain::inventory::StockItem;
use domain::shared::{ProductId, StockItemId, TenantId};
use domain::tenancy::Tenant;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// A tenant with one product in its first store.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    /// The tenant.
    pub tenant: TenantId,
    /// The product on sale, at 9.00 USD.
    pub product: ProductId,
    /// The stock of the product in the first store.
    pub item: StockItemId,
}

impl Shop {
    /// Ids of a shop of this tenant. The product does not exist yet.
    pub fn new(tenant: TenantId) -> Self {
        let product = ProductId::new(new_id());
        Self { tenant, product, item: StockItem::id(product, Tenant::first_store(tenant)) }
    }

    /// Commands that create the product and put this many units of it on sale.
    pub fn setup_commands(&self, units: i64) -> Vec<(&'static str, Value)> {
        let (product, store) = (self.product, Tenant::first_store(self.tenant));
        let price = json!({ "minor": 900, "currency": "USD" });
        let sku = format!("MUG-{}", &product.to_string()[24..]);
        vec![
            (
                "CreateProduct",
                json!({ "product": product, "name": "Mug", "sku": sku, "price": price, "description": null }),
            ),
            ("PublishProduct", json!({ "product": product })),
            ("OpenStockItem", json!({ "product": product, "store": store })),
            ("ReceiveStock", json!({ "item": self.item, "units": units })),
        ]
    }

    /// Body of `PlaceOrder` for one unit.
    pub fn order(&self, order: Uuid, customer: Uuid) -> Value {
        let lines = json!([{ "product": self.product, "quantity": 1 }]);
        json!({ "order": order, "customer": customer, "store": Tenant::first_store(self.tenant), "lines": lines })
    }

    /// Body of `RecordPayment` for the whole order.
    pub fn payment(&self, order: Uuid) -> Value {
        let reference = format!("pay-{order}");
        json!({ "order": order, "amount": { "minor": 900, "currency": "USD" }, "reference": reference })
    }

    /// Body of `ReserveStock` for one unit.
    pub fn reservation(&self, reservation: Uuid) -> Value {
        json!({ "item": self.item, "reservation": reservation, "units": 1 })
    }

    /// Number of events of this type in the tenant's log.
    pub async fn count(&self, pool: &PgPool, event: &str) -> Result<i64> {
        let text = "SELECT count(*) FROM log.events WHERE tenant = $1 AND type = $2";
        Ok(sqlx::query_scalar(text).bind(self.tenant.uuid()).bind(event).fetch_one(pool).await?)
    }

    /// Lane of the tenant.
    pub async fn lane(&self, pool: &PgPool) -> Result<i16> {
        let text = "SELECT lane FROM log.routes WHERE tenant = $1";
        Ok(sqlx::query_scalar(text).bind(self.tenant.uuid()).fetch_one(pool).await?)
    }
}
