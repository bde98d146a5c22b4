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

/// Time limit for a policy or a read model that must have processed the commands so far.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
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

    /// Opens the shop and waits until its stock is visible in queries. Every command has a fixed id, so a second start
    /// changes nothing.
    pub(super) async fn open(&self, router: &Router, operator: &str, owner: &str) -> Result<()> {
        let register = json!({
            "tenant": self.tenant, "name": "My shop", "subdomain": "my-shop", "contact_email": "me@example.org",
            "currency": "USD", "zone": "Europe/Berlin",
        });
        command(router, operator, "RegisterTenant", &register).await?;
        // A policy opens the registered tenant with its first store.
        self.until_visible(router, owner, "stores").await?;
        let mug = json!({
            "product": self.product, "name": "Mug", "sku": "MUG", "price": { "minor": 900, "currency": "USD" },
            "description": null,
        });
        command(router, owner, "CreateProduct", &mug).await?;
        command(router, owner, "PublishProduct", &json!({ "product": self.product })).await?;
        command(router, owner, "OpenStockItem", &json!({ "product": self.product, "store": self.store })).await?;
        let receive = json!({ "item": self.stock_item, "units": 10 });
        let token = command(router, owner, "ReceiveStock", &receive).await?;
        self.until_visible(router, owner, &format!("stockLevels(minPosition: \"{token}\")")).await
    }

    /// Waits until a query for the rows of one read model returns at least one.
    async fn until_visible(&self, router: &Router, owner: &str, rows: &str) -> Result<()> {
        let query = json!({ "query": format!("{{ rows: {rows} {{ edges {{ cursor }} }} }}") });
        let is_visible = async {
            loop {
                let answer = post(router, owner, "/graphql", "", &query).await?;
                if answer["data"]["rows"]["edges"].as_array().is_some_and(|edges| !edges.is_empty()) {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        };
        timeout(VISIBLE_WITHIN, is_visible).await.with_context(|| format!("{rows}: not visible in time"))?
    }
}

/// Sends one command under a fixed id. Returns the token of its receipt.
async fn command(router: &Router, token: &str, name: &str, body: &Value) -> Result<String> {
    let answer = post(router, token, &format!("/v1/commands/{name}"), &format!("dev-first-shop-{name}"), body).await?;
    ensure!(answer["outcome"] == "accepted", "{name} was answered {answer}");
    Ok(answer["receipt"]["token"].as_str().with_context(|| format!("{name}: a receipt without a token"))?.to_owned())
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
