//! The shop that `cartulary dev` opens, through the public API: one store, one product on sale, ten units in stock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use domain::inventory::StockItem;
use domain::shared::{ProductId, StockItemId, StoreId, TenantId};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use uuid::Uuid;

/// Time limit for the policy that opens the registered tenant.
const OPENED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Maximum size of an answer in bytes.
const ANSWER_BYTES_MOST: usize = 1024 * 1024;

/// Ids of the shop. They are the same at every start, so that earlier tokens and snippets stay valid.
pub(super) struct FirstShop {
    pub(super) tenant: TenantId,
    pub(super) product: ProductId,
    pub(super) stock_item: StockItemId,
    store: StoreId,
}

impl FirstShop {
    pub(super) fn new() -> Self {
        let tenant = TenantId::new(Uuid::new_v5(&TenantId::PLATFORM.uuid(), b"cartulary dev"));
        let store = StoreId::derived(tenant.uuid(), "default");
        let product = ProductId::derived(tenant.uuid(), "mug");
        Self { tenant, product, stock_item: StockItem::id(product, store), store }
    }

    /// Opens the shop. Every command has a fixed id, so a second start changes nothing.
    pub(super) async fn open(&self, router: &Router, operator: &str, owner: &str) -> Result<()> {
        let register = json!({
            "tenant": self.tenant, "name": "My shop", "subdomain": "my-shop", "contact_email": "me@example.org",
            "currency": "USD", "zone": "Europe/Berlin",
        });
        command(router, operator, "RegisterTenant", &register).await?;
        timeout(OPENED_WITHIN, self.until_open(router, owner)).await.context("the shop was not opened in time")??;
        let mug = json!({
            "product": self.product, "name": "Mug", "sku": "MUG", "price": { "minor": 900, "currency": "USD" },
            "description": null,
        });
        command(router, owner, "CreateProduct", &mug).await?;
        command(router, owner, "PublishProduct", &json!({ "product": self.product })).await?;
        command(router, owner, "OpenStockItem", &json!({ "product": self.product, "store": self.store })).await?;
        command(router, owner, "ReceiveStock", &json!({ "item": self.stock_item, "units": 10 })).await
    }

    /// Waits until the policy that follows the registration has opened the tenant with its first store.
    async fn until_open(&self, router: &Router, owner: &str) -> Result<()> {
        let query = json!({ "query": "{ stores(first: 1) { edges { node { name } } } }" });
        loop {
            let answer = post(router, owner, "/graphql", "", &query).await?;
            if answer["data"]["stores"]["edges"].as_array().is_some_and(|edges| !edges.is_empty()) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}

/// Sends one command under a fixed id.
async fn command(router: &Router, token: &str, name: &str, body: &Value) -> Result<()> {
    let answer = post(router, token, &format!("/v1/commands/{name}"), &format!("dev-first-shop-{name}"), body).await?;
    ensure!(answer["outcome"] == "accepted", "{name} was answered {answer}");
    Ok(())
}

async fn post(router: &Router, token: &str, path: &str, id: &str, body: &Value) -> Result<Value> {
    let mut request = Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    if !id.is_empty() {
        request = request.header("idempotency-key", id);
    }
    let answer = router.clone().oneshot(request.body(Body::from(body.to_string()))?).await?;
    Ok(serde_json::from_slice(&to_bytes(answer.into_body(), ANSWER_BYTES_MOST).await?)?)
}
