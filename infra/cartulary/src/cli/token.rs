//! `cartulary token`: signs tokens for callers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use api::auth::{Claims, SigningKey};
use clap::Args;
use domain::shared::{CustomerId, Principal, Role, TenantId};
use platform::clock::now;
use uuid::Uuid;
use vault::{MonitorToken, read_or_create_key};

use super::say;
use crate::embedded_engine::{TOKEN_KEY, token_key_file};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The tenant of the caller; operators need none.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// customer, staff, manager, admin, owner or operator.
    #[arg(long, required_unless_present = "monitor")]
    role: Option<String>,
    /// Instead of a caller's token, print the one with which a monitoring system reads /reason and /metrics. It is derived
    /// from the outer key and does not expire.
    #[arg(long, conflicts_with_all = ["role", "tenant", "customer", "subject", "key"])]
    monitor: bool,
    /// The customer; only with the role `customer`.
    #[arg(long)]
    customer: Option<CustomerId>,
    /// The principal; by default the customer, or an id derived from tenant and role.
    #[arg(long)]
    subject: Option<Principal>,
    /// The private key as kid=path/to/key.pem; by default the key of `dev` in this folder.
    #[arg(long, value_name = "KID=FILE")]
    key: Option<String>,
    /// The folder in which `dev` runs.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

/// The caller that a token names.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub tenant: TenantId,
    pub role: Role,
    pub subject: Principal,
    pub customer: Option<CustomerId>,
}

impl Bearer {
    /// A member of a tenant's team, or an operator.
    pub fn of(tenant: TenantId, role: Role) -> Self {
        let subject = Principal::new(Uuid::new_v5(&tenant.uuid(), format!("bearer:{role:?}").as_bytes()));
        Self { tenant, role, subject, customer: None }
    }

    pub fn customer(tenant: TenantId, customer: CustomerId) -> Self {
        Self { tenant, role: Role::Customer, subject: Principal::new(customer.uuid()), customer: Some(customer) }
    }
}

pub(super) fn run(args: &TokenArgs, settings: &Settings) -> Result<ExitCode> {
    let Some(name) = args.role.as_deref().filter(|_| !args.monitor) else {
        say(MonitorToken::new(&settings.outer_key()?).text());
        return Ok(ExitCode::SUCCESS);
    };
    let role: Role = serde_json::from_value(name.into())
        .with_context(|| format!("`{name}` is not a role: customer, staff, manager, admin, owner or operator"))?;
    let tenant = match (args.tenant, role) {
        (None, Role::Operator) => TenantId::PLATFORM,
        (Some(tenant), _) => tenant,
        (None, _) => bail!("--tenant is missing"),
    };
    let mut bearer = match (role, args.customer) {
        (Role::Customer, Some(customer)) => Bearer::customer(tenant, customer),
        (Role::Customer, None) => bail!("--customer is missing"),
        (Role::Engine, _) => bail!("the engine needs no token"),
        (_, Some(_)) => bail!("--customer goes with --role customer only"),
        (role, None) => Bearer::of(tenant, role),
    };
    bearer.subject = args.subject.unwrap_or(bearer.subject);
    let key = match &args.key {
        Some(named) => {
            let (kid, path) = named.split_once('=').context("--key is written kid=path/to/key.pem")?;
            let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            SigningKey::from_pem(kid, &pem)?
        }
        None => {
            let file = token_key_file(&args.project);
            if !file.exists() {
                bail!("{} does not exist; start `cartulary dev` here first, or give --key", file.display());
            }
            SigningKey::from_seed(TOKEN_KEY, *read_or_create_key(&file)?)
        }
    };
    say(sign(&key, &bearer, settings)?);
    Ok(ExitCode::SUCCESS)
}

/// Signs a token with the maximum lifetime of the settings, but at most one day.
pub fn sign(key: &SigningKey, bearer: &Bearer, settings: &Settings) -> Result<String> {
    let seconds = now().micros().div_euclid(1_000_000);
    let claims = Claims {
        iss: settings.token_issuer.clone(),
        aud: settings.token_audience.clone(),
        sub: bearer.subject,
        tenant: bearer.tenant,
        roles: vec![bearer.role],
        customer: bearer.customer,
        exp: seconds + settings.token_lifetime_s_most.min(24 * 60 * 60),
        nbf: None,
        iat: seconds,
    };
    claims.caller().map_err(|why| anyhow!("this token would be refused: {why}"))?;
    Ok(key.sign(&claims)?)
}
