//! Demo: imports the history of a real shop through the public API and runs a flash sale. Every line with a check mark is
//! compared with the input file or the log.

mod cdnow;
pub mod client;
mod deployment;
mod flash_sale;
mod history;
mod multi_process;
pub(crate) mod read_model_comparison;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use cartulary::cli::{Bearer, say, write_environment};
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;
use clap::Args;
use domain::shared::{Role, TenantId};
use platform::clock::new_id;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use client::Client;
pub(crate) use deployment::Deployment;
pub(crate) use flash_sale::{UNITS, put_on_sale};

/// Import the history of a real shop and run a flash sale through the public API, and check every printed result.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Exit after the results instead of running until Ctrl-C. The exit code is 0 only if every result is as expected.
    #[arg(long)]
    once: bool,
    /// Start PostgreSQL, Redis and Kafka, run the demo on several processes, then again on one process, and compare the
    /// read models of both.
    #[arg(long)]
    full: bool,
    /// Folder in which the `.cartulary` folder with data and keys is created.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

/// A registered tenant with a store.
pub(crate) struct DemoShop {
    pub(crate) tenant: TenantId,
    /// Id of its first store.
    pub(crate) store: Uuid,
    /// Client of its owner.
    pub(crate) owner: Client,
}

/// A printed result, compared with the expected one.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    text: String,
    pub(crate) holds: bool,
}

impl Check {
    /// Check of a value that must equal the expected one.
    pub(crate) fn equal<T: PartialEq + std::fmt::Display>(name: &str, found: T, expected: T) -> Self {
        let holds = found == expected;
        let text = format!("{name}: expected {expected}, found {found}");
        Self { text, holds }
    }

    /// Check of a condition, printed with the value that was found.
    pub(crate) fn that(name: &str, holds: bool, found: impl std::fmt::Display) -> Self {
        Self { text: format!("{name}: {found}"), holds }
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
        return multi_process::run(args, settings).await;
    }
    let mut engine = EmbeddedEngine::start(&args.project, settings).await?;
    say(format!("Cartulary is ready on {}", engine.url()));
    let result = play(&Deployment::embedded(&engine), new_id()).await;
    let holds = match &result {
        Ok(checks) => {
            say("");
            checks.iter().for_each(Check::show);
            checks.iter().all(|check| check.holds)
        }
        Err(_) => false,
    };
    if !args.once && result.is_ok() {
        print_instructions(&args, &engine)?;
        engine.until_stopped().await?;
    }
    engine.stop().await?;
    result?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how to explore the data of the demo.
fn print_instructions(args: &DemoArgs, engine: &EmbeddedEngine) -> Result<()> {
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

/// Runs history and flash sale. The ids of the flash sale are derived from the seed.
async fn play(deployment: &Deployment<'_>, seed: Uuid) -> Result<Vec<Check>> {
    let shop = open_shop(deployment).await.context("the shop could not be opened")?;
    let mut checks = history::play(&shop).await.context("the history could not be imported")?;
    checks.extend(flash_sale::play(deployment, &shop, seed).await.context("the flash sale could not be run")?);
    Ok(checks)
}

/// Tenant of the demo: the same in every run, so that a second run on the same data adds no orders.
fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v5(&TenantId::PLATFORM.uuid(), b"cartulary demo"))
}

/// Opens the shop of the demo.
pub(crate) async fn open_shop(deployment: &Deployment<'_>) -> Result<DemoShop> {
    open_shop_of(deployment, tenant(), "CD Now and Then", "cd-now-and-then").await
}

/// Registers a tenant, enables its loyalty programme, and waits until a policy has opened it.
pub(crate) async fn open_shop_of(
    deployment: &Deployment<'_>,
    tenant: TenantId,
    name: &str,
    subdomain: &str,
) -> Result<DemoShop> {
    let operator = deployment.client(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
    let register = json!({
        "tenant": tenant, "name": name, "subdomain": subdomain,
        "contact_email": format!("{subdomain}@example.org"), "currency": "USD", "zone": "America/New_York",
    });
    operator.execute("RegisterTenant", Uuid::new_v5(&tenant.uuid(), b"register"), &register).await?;
    let owner = deployment.client(&Bearer::of(tenant, Role::Owner))?;
    let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": null });
    owner.execute("SetEarningRules", new_id(), &rules).await?;
    owner.execute("EnableProgram", new_id(), &json!({})).await?;
    let store = domain::shared::StoreId::derived(tenant.uuid(), "default").uuid();
    let shop = DemoShop { tenant, store, owner };
    wait_until_open(&shop).await?;
    Ok(shop)
}

/// Waits until a policy has opened the tenant; before that, orders are rejected.
async fn wait_until_open(shop: &DemoShop) -> Result<()> {
    for _ in 0..100 {
        let open = shop.owner.query("{ stores(first: 1) { edges { node { name } } } }", json!({})).await?;
        if open["stores"]["edges"].as_array().is_some_and(|edges| !edges.is_empty()) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the tenant was not opened within 10 seconds")
}
