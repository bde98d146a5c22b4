//! Attempts to reach the data of another tenant with guessed ids, over GraphQL, live updates, HTTP and webhooks.

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use domain::shared::{Role, TenantId};
use domain::tenancy::Tenant;
use lab::harness::{Engine, EventStream, HttpRequest, Receiver, Shop, caught_up, eventually, use_every_model};
use platform::clock::new_id;
use projections::kernel::{Model, Models};
use serde_json::{Value, json};
use uuid::Uuid;

/// A tenant with data in every read model, and its owner's token.
struct Store {
    tenant: TenantId,
    shop: Shop,
    token: String,
    subscription: Uuid,
    /// Id of a command that was accepted.
    command: Uuid,
}

impl Store {
    async fn open(engine: &Engine, receiver: &Receiver) -> Result<Self> {
        let (tenant, store) = engine.tenant().await?;
        let (shop, token) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.setup_commands(100) {
            engine.execute(&token, name, &body).await?;
        }
        let (customer, order, subscription, command) = (new_id(), new_id(), new_id(), new_id());
        let register = json!({ "customer": customer, "name": "Ada", "email": "ada@example.org", "phone": null });
        engine.execute(&token, "RegisterCustomer", &register).await?;
        engine.execute(&token, "PlaceOrder", &shop.order(order, customer)).await?;
        ensure!(engine.command(&token, "RecordPayment", command, &shop.payment(order)).await?.status == 200);
        let subscribe =
            json!({ "subscription": subscription, "url": receiver.url(), "events": [], "description": null });
        engine.execute(&token, "Subscribe", &subscribe).await?;
        use_every_model(async |name, body| engine.execute(&token, name, &body).await.map(drop), engine.pool(), &shop)
            .await?;
        ensure!(store == Tenant::first_store(tenant));
        Ok(Self { tenant, shop, token, subscription, command })
    }

    async fn get(&self, engine: &Engine, path: &str) -> Result<(u16, Value)> {
        let headers = vec![("authorization".to_owned(), format!("Bearer {}", self.token))];
        let got = HttpRequest { method: "GET".into(), path: path.into(), headers, ..HttpRequest::default() };
        let answer = engine.send(&got).await?;
        Ok((answer.status, answer.json()))
    }

    /// The row of a read model at a key, as this tenant's owner sees it.
    async fn row(&self, engine: &Engine, model: &Model, key: &str) -> Result<Value> {
        let mut data = engine.query(&self.token, &format!("{{ {}({key}) {{ __typename }} }}", model.field())).await?;
        Ok(data[model.field()].take())
    }

    /// Number of the rows of a read model, as this tenant's owner sees it: on the largest page, and counted.
    async fn rows(&self, engine: &Engine, model: &Model) -> Result<(usize, i64)> {
        let fields = model.fields();
        let query = format!("{{ {fields}(first: 100) {{ totalCount edges {{ node {{ __typename }} }} }} }}");
        let data = engine.query(&self.token, &query).await?;
        let edges = data[&fields]["edges"].as_array().context("edges")?.len();
        Ok((edges, data[&fields]["totalCount"].as_i64().context("a count")?))
    }

    /// Stored number of the rows, and the key of one of them as GraphQL arguments.
    async fn stored(&self, engine: &Engine, model: &Model) -> Result<(usize, Option<String>)> {
        let text = format!("SELECT to_jsonb(t) FROM reads.{} t WHERE tenant = $1", model.table());
        let rows: Vec<Value> = sqlx::query_scalar(&text).bind(self.tenant.uuid()).fetch_all(engine.pool()).await?;
        let key =
            |row: &Value| model.key.iter().map(|key| format!("{}: {}", camel(key), row[*key])).collect::<Vec<_>>();
        Ok((rows.len(), rows.first().map(|row| key(row).join(", "))))
    }
}

/// `stock_item` → `stockItem`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessed_ids_of_another_tenant_find_nothing_through_any_door() -> Result<()> {
    let (engine, receiver) = (Engine::start().await?, Receiver::open().await?);
    let (ours, theirs) = (Store::open(&engine, &receiver).await?, Store::open(&engine, &receiver).await?);
    caught_up(engine.pool()).await?;

    let mut found = 0;
    for model in Models::all().iter() {
        eventually(&format!("our rows of {} alone are listed and counted", model.name), async || {
            let count = ours.stored(&engine, model).await?.0;
            Ok(ours.rows(&engine, model).await? == (count.min(100), i64::try_from(count)?))
        })
        .await?;
        let keys = (ours.stored(&engine, model).await?.1, theirs.stored(&engine, model).await?.1);
        let (Some(our_key), Some(their_key)) = keys else { continue };
        // Some keys, such as that of the tenant itself, are the same for every caller of a tenant.
        assert_ne!(ours.row(&engine, model, &our_key).await?, Value::Null, "{} {our_key}", model.name);
        if our_key != their_key {
            assert_eq!(ours.row(&engine, model, &their_key).await?, Value::Null, "{} {their_key}", model.name);
        }
        found += 1;
    }
    assert_eq!(found, Models::all().iter().count(), "read models with rows of both; `use_every_model` makes some");
    proofs::proven("TEN-02 guessed ids of another tenant find nothing over GraphQL");

    // Live updates.
    let watch = format!(
        "subscription {{ stockLevels(filter: {{ stockItem: {{ eq: \"{}\" }} }}) {{ rows {{ stockItem }} }} }}",
        theirs.shop.item
    );
    for (store, rows) in [(&theirs, 1), (&ours, 0)] {
        let mut events = EventStream::open(&engine.url(), &store.token, &watch).await?;
        let event = events.next().await?;
        let data = event.lines().find_map(|line| line.strip_prefix("data:")).context("data")?;
        let data: Value = serde_json::from_str(data.trim())?;
        assert_eq!(data["data"]["stockLevels"]["rows"].as_array().map(Vec::len), Some(rows), "{data}");
    }

    // Receipts, webhooks and events.
    for path in [format!("/v1/receipts/{}", theirs.command), format!("/v1/webhooks/{}/secret", theirs.subscription)] {
        assert_eq!(theirs.get(&engine, &path).await?.0, 200, "{path}");
        assert_eq!(ours.get(&engine, &path).await?.0, 404, "{path}");
    }
    let path = format!("/v1/webhooks/{}/deliveries", theirs.subscription);
    assert_eq!(ours.get(&engine, &path).await?.1["deliveries"], json!([]));
    for position in 1..=10 {
        let (status, event) = ours.get(&engine, &format!("/v1/events/{position}")).await?;
        ensure!(status == 404 || event["tenant"] == json!(ours.tenant), "{event}");
    }
    // A command that names a foreign aggregate finds an empty stream of our own.
    let adjust = json!({ "item": theirs.shop.item, "units": 5 });
    assert_eq!(engine.command(&ours.token, "ReceiveStock", new_id(), &adjust).await?.status, 409);
    engine.close().await;
    Ok(())
}
