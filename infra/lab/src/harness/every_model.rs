//! Commands that change every read model, for tests that compare all of them.

use anyhow::Result;
use domain::referrals::Advocate;
use domain::reviews::{Review, ReviewSubject};
use domain::shared::{CustomerId, OrderId, TenantId};
use domain::tenancy::Tenant;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Shop, eventually};

/// Executes commands that change every read model. `done` executes one that must be accepted.
pub async fn use_every_model(
    done: impl AsyncFn(&'static str, Value) -> Result<()>,
    pool: &PgPool,
    shop: &Shop,
) -> Result<()> {
    let tenant = shop.tenant;
    done("SetPaymentMode", json!({ "mode": "marketplace" })).await?;
    done("SetEarningRules", json!({ "purchase": { "points": 3, "per_minor": 100 }, "signup": 50 })).await?;
    done("EnableProgram", json!({})).await?;
    let reward = new_id();
    let value = json!({ "minor": 500, "currency": "USD" });
    done("AddReward", json!({ "reward": reward, "name": "Five off", "cost": 20, "value": value })).await?;
    let retired = new_id();
    let value = json!({ "minor": 100, "currency": "USD" });
    done("AddReward", json!({ "reward": retired, "name": "One off", "cost": 5, "value": value })).await?;
    done("RetireReward", json!({ "reward": retired })).await?;
    done("NameCurrency", json!({ "singular": "Star", "plural": "Stars" })).await?;
    done("TrackActivity", json!({ "kind": "product_viewed", "subject": shop.product, "customer": null })).await?;
    done("SetLowStockThreshold", json!({ "item": shop.item, "low_at": 35 })).await?;
    for number in 0..6 {
        let customer = new_id();
        let person = json!({ "customer": customer, "name": format!("Ada {number}"),
                             "email": format!("ada{number}@example.org"), "phone": null });
        done("RegisterCustomer", person).await?;
        let orders: Vec<Uuid> = (0..3).map(|_| new_id()).collect();
        for order in &orders {
            done("PlaceOrder", shop.order(*order, customer)).await?;
        }
        for order in &orders[..2] {
            done("RecordPayment", shop.payment(*order)).await?;
        }
        let refund = json!({ "order": orders[0], "amount": { "minor": 300, "currency": "USD" }, "reference": "back" });
        done("RecordRefund", refund).await?;
        done("RejectOrder", json!({ "order": orders[2], "reason": "sold at the till" })).await?;
        for step in ["AcceptOrder", "MarkReady", "MarkInTransit", "MarkDelivered"] {
            done(step, json!({ "order": orders[1] })).await?;
        }
        let earned = format!(
            "SELECT count(*) FROM log.events WHERE type = 'points.earned' AND tenant = $1 AND payload::text LIKE '%{customer}%'"
        );
        eventually("the points are earned", async || Ok(count(pool, &earned, tenant).await? >= 2)).await?;
        let redemption = json!({ "customer": customer, "redemption": new_id() });
        let mut redeem = redemption.clone();
        redeem["reward"] = json!(reward);
        done("RedeemReward", redeem).await?;
        if number % 2 == 0 {
            done("CancelRedemption", redemption).await?;
        }
        done("AdjustPoints", json!({ "customer": customer, "change": 7, "reason": "sorry" })).await?;
        done("AdjustStock", json!({ "item": shop.item, "change": -1, "reason": "broken" })).await?;
    }
    // A shortage, until the units are found again.
    done("CountStock", json!({ "item": shop.item, "on_hand": 3, "reason": "water damage" })).await?;
    done("CountStock", json!({ "item": shop.item, "on_hand": 30 })).await?;
    use_shop_models(&done, shop).await?;
    use_content_models(&done, pool, shop).await?;
    use_customer_models(&done, shop).await
}

/// Executes commands that change the read models of flash sales, webhooks, categories and days of the past.
async fn use_shop_models(done: &impl AsyncFn(&'static str, Value) -> Result<()>, shop: &Shop) -> Result<()> {
    let terms = json!({ "starts_at": "2100-01-01T00:00:00Z", "ends_at": "2100-01-02T00:00:00Z", "allotment": 1,
                        "price": { "minor": 400, "currency": "USD" }, "limit": null });
    let store = Tenant::first_store(shop.tenant);
    done("ScheduleFlashSale", json!({ "sale": new_id(), "product": shop.product, "store": store, "terms": terms }))
        .await?;
    for (url, events) in [("https://127.0.0.1/one", json!([])), ("https://127.0.0.1/two", json!(["order.placed"]))] {
        let subscription = new_id();
        done("Subscribe", json!({ "subscription": subscription, "url": url, "events": events, "description": null }))
            .await?;
        done("PauseSubscription", json!({ "subscription": subscription, "reason": "a holiday" })).await?;
    }
    let category = new_id();
    done("AddCategory", json!({ "category": category, "name": "Mugs" })).await?;
    done("CategorizeProduct", json!({ "product": shop.product, "category": category })).await?;
    done("ReviseProduct", json!({ "product": shop.product, "name": "Müg \t\"№ 1\" \\", "description": "a\nb" }))
        .await?;
    for (number, day) in ["2025-12-01", "2025-12-01", "2025-12-02", "2026-01-01"].iter().enumerate() {
        let import = json!({ "order": new_id(), "customer": new_id(), "store": store, "units": 1,
                             "total": { "minor": 700, "currency": "USD" }, "ordered_at": format!("{day}T12:00:00Z"),
                             "source": format!("old shop {number}") });
        done("ImportOrder", import).await?;
    }
    Ok(())
}

/// Executes commands that change the read models of tiers, badges, referrals, carts, wishlists and payment methods.
async fn use_customer_models(done: &impl AsyncFn(&'static str, Value) -> Result<()>, shop: &Shop) -> Result<()> {
    let (customer, friend) = (new_id(), new_id());
    let (tier, badge) = (new_id(), new_id());
    let terms = json!({ "name": "Silver", "threshold": { "minor": 500, "currency": "USD" }, "multiplier_percent": 150,
                        "perks": ["early_access"] });
    done("AddTier", json!({ "tier": tier, "terms": terms })).await?;
    done("SetTier", json!({ "customer": customer, "tier": tier, "reason": "a friend of the house" })).await?;
    let terms = json!({ "name": "Loyal Customer", "action": "purchase", "count": 1 });
    done("DefineBadge", json!({ "badge": badge, "terms": terms })).await?;
    done("AwardBadge", json!({ "customer": customer, "badge": badge })).await?;
    let rules = json!({ "enabled": true, "condition": "signup", "advocate_points": 30, "friend_points": null, "goal": 3,
                        "window_days": 0 });
    done("SetReferralRules", json!({ "rules": rules })).await?;
    done("IssueReferralCode", json!({ "customer": customer })).await?;
    let code = Advocate::code(CustomerId::new(customer));
    done("StartReferral", json!({ "code": code, "friend": friend })).await?;
    let (cart, product, store) = (new_id(), shop.product, Tenant::first_store(shop.tenant));
    let line = json!({ "cart": cart, "customer": customer, "store": store, "product": product, "quantity": 1 });
    done("AddToCart", line).await?;
    done("CheckOut", json!({ "cart": cart, "customer": customer, "order": new_id() })).await?;
    let wishlist = new_id();
    done("CreateWishlist", json!({ "wishlist": wishlist, "customer": customer, "name": "Kitchen" })).await?;
    done("AddWish", json!({ "wishlist": wishlist, "customer": customer, "product": product })).await?;
    let method = json!({ "method": new_id(), "customer": customer, "kind": "card", "provider": "stripe",
                         "token": "tok_9f2", "last_digits": "1111" });
    done("AddPaymentMethod", method).await?;
    Ok(())
}

/// Executes commands of customers and the team that change the read models of reviews, questions and posts, and of the
/// tenant's setup and payouts.
async fn use_content_models(
    done: &impl AsyncFn(&'static str, Value) -> Result<()>,
    pool: &PgPool,
    shop: &Shop,
) -> Result<()> {
    let tenant = shop.tenant;
    let (order, customer) = (new_id(), new_id());
    done("PlaceOrder", shop.order(order, customer)).await?;
    let product = shop.product;
    let text = "Keeps tea warm";
    let review = json!({ "customer": customer, "order": order, "product": product, "stars": 4, "text": text });
    done("ReviewProduct", review).await?;
    let review = Review::id(OrderId::new(order), ReviewSubject::Product(product));
    done("RespondToReview", json!({ "review": review, "text": "Thank you" })).await?;
    done("VoteForReview", json!({ "review": review, "customer": customer })).await?;
    let report = new_id();
    done("ReportReview", json!({ "report": report, "review": review, "customer": customer, "reason": "spam" })).await?;
    done("DismissReport", json!({ "report": report })).await?;
    let (question, answer) = (new_id(), new_id());
    done("AskQuestion", json!({ "question": question, "customer": customer, "product": product, "text": "Why?" }))
        .await?;
    done("AnswerAsSeller", json!({ "answer": answer, "question": question, "text": "Because" })).await?;
    done("VoteForAnswer", json!({ "answer": answer, "customer": customer })).await?;
    let post = new_id();
    done("PublishPost", json!({ "post": post, "content": "New mugs", "kind": "update", "media": null })).await?;
    done("LikePost", json!({ "post": post, "customer": customer })).await?;
    done("CompleteSetupTask", json!({ "task": "add_widget" })).await?;
    let held = "SELECT count(*) FROM log.events WHERE type = 'settlement.sale_credited' AND tenant = $1";
    eventually("a sale is settled", async || Ok(count(pool, held, tenant).await? > 0)).await?;
    let amount = json!({ "minor": 1, "currency": "USD" });
    done("RequestPayout", json!({ "payout": new_id(), "amount": amount })).await?;
    Ok(())
}

async fn count(pool: &PgPool, text: &str, tenant: TenantId) -> Result<i64> {
    Ok(sqlx::query_scalar(text).bind(tenant.uuid()).fetch_one(pool).await?)
}
