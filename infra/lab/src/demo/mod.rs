//! Demo: a real shop's history through the public API, then a flash sale. Every printed result is checked.

mod cdnow;
pub mod client;
pub(crate) mod compared;
mod flash;
mod full;
mod history;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use domain::shared::{Role, TenantId};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use cartulary::cli::{Bearer, say, write_environment};
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;
use client::Client;
pub(crate) use flash::{UNITS, put_on_sale};
use platform::clock::new_id;
pub(crate) use stage::Stage;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the results instead of running until Ctrl-C. Exits 0 only if every result is as expected.
    #[arg(long)]
    once: bool,
    /// Play it through separate processes with real PostgreSQL, Redis and Kafka, which are started for it, then again in one
    /// process, and compare the read models of both.
    #[arg(long)]
    full: bool,
    /// The folder that gets a `.cartulary` folder with data and keys.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

/// A shop that the demo opened.
pub(crate) struct Shop {
    pub(crate) tenant: TenantId,
    /// Its first store.
    pub(crate) store: Uuid,
    /// Its owner, over the public API.
    pub(crate) owner: Client,
}

/// A printed result, compared with what was expected.
#[derive(Debug, Serialize)]
pub(crate) struct Claim {
    text: String,
    pub(crate) holds: bool,
}

impl Claim {
    /// A value that must equal the expected one.
    pub(crate) fn equal<T: PartialEq + std::fmt::Display>(what: &str, found: T, expected: T) -> Self {
        let holds = found == expected;
        let text = format!("{what}: expected {expected}, found {found}");
        Self { text, holds }
    }

    /// A condition that must hold, with what was found.
    pub(crate) fn that(what: &str, holds: bool, found: impl std::fmt::Display) -> Self {
        Self { text: format!("{what}: {found}"), holds }
    }

    fn show(&self) {
        say(self.line());
    }

    pub(crate) fn line(&self) -> String {
        format!("  {} {}", if self.holds { "✓" } else { "✗" }, self.text)
    }
}

pub async fn run(args: DemoArgs, settings: Settings) -> Result<ExitCode> {
    if args.full {
        return full::run(args, settings).await;
    }
    let mut engine = EmbeddedEngine::start(&args.project, settings).await?;
    say(format!("Cartulary is ready on {}", engine.url()));
    let played = play(&Stage::embedded(&engine), new_id()).await;
    let holds = match &played {
        Ok(claims) => {
            say("");
            claims.iter().for_each(Claim::show);
            claims.iter().all(|claim| claim.holds)
        }
        Err(_) => false,
    };
    if !args.once && played.is_ok() {
        invite(&args, &engine)?;
        engine.until_stopped().await?;
    }
    engine.stop().await?;
    played?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says how to look around in the shop that was played.
fn invite(args: &DemoArgs, engine: &EmbeddedEngine) -> Result<()> {
    let owner = engine.token(&Bearer::of(tenant(), Role::Owner))?;
    let env = write_environment(&args.project, engine, vec![("OWNER", owner), ("TENANT", tenant().to_string())])?;
    say(format!(
        "
The engine keeps running until Ctrl-C. GraphQL console: {url}/graphql, with the token in {env} (OWNER).
Data and keys: {folder}; they stay, and `cargo xtask dev` shares them. `cargo xtask dev --fresh` deletes them.",
        url = engine.url(),
        env = env.display(),
        folder = engine.folder().display(),
    ));
    Ok(())
}

/// Plays both parts. The ids of the flash sale are derived from the seed.
async fn play(stage: &Stage<'_>, seed: Uuid) -> Result<Vec<Claim>> {
    let shop = open_shop(stage).await.context("the shop cannot be opened")?;
    let mut claims = history::play(&shop).await.context("the history cannot be played")?;
    claims.extend(flash::play(stage, &shop, seed).await.context("the flash sale cannot be played")?);
    Ok(claims)
}

/// The demo's tenant: the same at every start, so that a second demo on the same data adds no orders.
fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v5(&TenantId::PLATFORM.uuid(), b"cartulary demo"))
}

/// The demo's own shop.
pub(crate) async fn open_shop(stage: &Stage<'_>) -> Result<Shop> {
    open_shop_of(stage, tenant(), "CD Now and Then", "cd-now-and-then").await
}

/// Registers a tenant, waits until the policy has opened it, and switches its loyalty programme on.
pub(crate) async fn open_shop_of(stage: &Stage<'_>, tenant: TenantId, name: &str, subdomain: &str) -> Result<Shop> {
    let operator = stage.client(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
    let register = json!({
        "tenant": tenant, "name": name, "subdomain": subdomain,
        "contact_email": format!("{subdomain}@example.org"), "currency": "USD", "zone": "America/New_York",
    });
    operator.do_it("RegisterTenant", Uuid::new_v5(&tenant.uuid(), b"register"), &register).await?;
    let owner = stage.client(&Bearer::of(tenant, Role::Owner))?;
    let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": null });
    owner.do_it("SetEarningRules", new_id(), &rules).await?;
    owner.do_it("EnableProgram", new_id(), &json!({})).await?;
    let store = domain::shared::StoreId::derived(tenant.uuid(), "default").uuid();
    let shop = Shop { tenant, store, owner };
    wait_until_open(&shop).await?;
    Ok(shop)
}

/// Waits until a policy has opened the tenant; before that, orders are rejected.
async fn wait_until_open(shop: &Shop) -> Result<()> {
    for _ in 0..100 {
        let open = shop.owner.query("{ stores(first: 1) { edges { node { name } } } }", json!({})).await?;
        if open["stores"]["edges"].as_array().is_some_and(|edges| !edges.is_empty()) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the tenant was not opened within ten seconds")
}
