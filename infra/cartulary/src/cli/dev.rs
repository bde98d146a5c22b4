//! `cartulary dev`: runs the embedded engine without configuration, and opens a shop to try.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use domain::shared::{Role, TenantId};

use super::environment;
use super::first_shop::FirstShop;
use super::say;
use super::token::Bearer;
use crate::embedded;
use crate::embedded_engine::EmbeddedEngine;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder that gets a `.cartulary` folder with data and keys.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
    /// Start over: delete the data, keys and shop of this folder first, those of the demo included.
    #[arg(long)]
    fresh: bool,
}

pub(super) async fn run(args: DevArgs, settings: Settings) -> Result<ExitCode> {
    if args.fresh {
        embedded::erase(&args.project).await?;
    }
    let mut engine = EmbeddedEngine::start(&args.project, settings).await?;
    let ended = match open(&args, &engine).await {
        Ok(()) => engine.until_stopped().await,
        Err(error) => Err(error),
    };
    engine.stop().await?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Opens the first shop and prints snippets that use it.
async fn open(args: &DevArgs, engine: &EmbeddedEngine) -> Result<()> {
    let shop = FirstShop::new();
    let operator = engine.token(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
    let owner = engine.token(&Bearer::of(shop.tenant, Role::Owner))?;
    shop.open(&engine.running.router, &operator, &owner).await?;
    let tokens = vec![("OPERATOR", operator), ("OWNER", owner), ("TENANT", shop.tenant.to_string())];
    let env = environment::write(&args.project, engine, tokens)?;
    let url = engine.url();
    say(format!(
        "Cartulary is ready on {url}

  GraphQL console   {url}/graphql
  OpenAPI           {url}/openapi.json
  health            {url}/ready
  for operators     {url}/reason  {url}/metrics (with the bearer $OPERATOR, or `cartulary token --monitor`)
  data and keys     {folder} (shared with `cargo xtask demo`; `dev --fresh` starts over)

A shop is open: one store, one product (a mug), ten units in stock. In a second terminal, watch its stock:

. {env}
curl -sN $CARTULARY_URL/graphql -H \"authorization: Bearer $OWNER\" \\
  -H 'content-type: application/json' -H 'accept: text/event-stream' \\
  -d '{{\"query\":\"subscription {{ stockLevels {{ rows {{ productId onHand available }} }} }}\"}}'

In a third one, take a unit out of stock and see the second change:

. {env}
curl -s $CARTULARY_URL/v1/commands/AdjustStock -H \"authorization: Bearer $OWNER\" \\
  -H 'content-type: application/json' \\
  -d '{{\"item\":\"{item}\",\"change\":-1,\"reason\":\"broken\"}}'

`cartulary doctor` and `cartulary replay digest` find this engine from this folder. Ctrl-C stops it; the data stay.",
        folder = engine.folder().display(),
        env = env.display(),
        item = shop.stock_item,
    ));
    Ok(())
}
