//! Processes that tests kill, as subcommands of `cartulary-lab victim`. Each one works until it is killed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};
use clap::Subcommand;
use outside::webhooks::WebhookLimits;
use sqlx::{Connection, Executor, PgConnection};
use work::queue::CircuitBreaker;
use work::{EffectLimits, Targets};

use super::{Backend, PartnerClient, commands_with_samples};

/// Limits of effects in tests: short pauses, so that retries come soon, and long attempts, so that none fails only because
/// the machine is busy.
pub const EFFECT_LIMITS: EffectLimits = EffectLimits {
    attempt_time_most: Duration::from_secs(3),
    attempts_most: 8,
    age_most: Duration::from_secs(3_600),
    first_delay: Duration::from_millis(20),
    delay_most: Duration::from_millis(100),
    failures_most: 5,
    open_time: Duration::from_secs(3_600),
};

/// Limits of webhooks in tests, with short pauses and long attempts too.
pub const WEBHOOK_LIMITS: WebhookLimits = WebhookLimits {
    attempt_time_most: Duration::from_secs(3),
    retry_schedule: &[Duration::from_millis(20); 9],
    runs_most: 16,
    tenant_runs_most: 4,
    degraded_runs_most: 8,
    breaker: CircuitBreaker { failures_most: 5, open_time: Duration::from_millis(20) },
};

/// Task of the process.
#[derive(Clone, Debug, Subcommand)]
pub enum Victim {
    /// Runs policies and effects on a database, with a partner at an address.
    Effects {
        /// URL of the database.
        url: String,
        /// `host:port` of the partner.
        partner: String,
    },
    /// Sends webhooks from a database.
    Webhooks {
        /// URL of the database.
        url: String,
    },
    /// Starts the embedded PostgreSQL of a project folder, writes a note into it, and creates the file `written`.
    Embedded {
        /// The project folder.
        folder: PathBuf,
    },
}

impl Victim {
    /// Runs the task and never returns without an error.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Effects { url, partner } => {
                let mut backend = Backend::start(&url).await?;
                run_samples(&mut backend, &partner, EFFECT_LIMITS)?;
                std::future::pending().await
            }
            Self::Webhooks { url } => {
                let mut backend = Backend::start(&url).await?;
                backend.run_webhooks(WEBHOOK_LIMITS)?;
                std::future::pending().await
            }
            Self::Embedded { folder } => {
                let settings = EmbeddedSettings { project: folder.clone(), binaries: None };
                let server = EmbeddedServer::start(&settings).await?;
                write_note(&server).await?;
                fs::write(folder.join("written"), "")?;
                std::future::pending().await
            }
        }
    }
}

/// Runs policies and effects, with the partner of samples at this address.
pub fn run_samples(backend: &mut Backend, partner: &str, limits: EffectLimits) -> Result<()> {
    let targets = Targets::new(limits).with("samples", PartnerClient::to(partner.parse()?));
    backend.run_policies_with(commands_with_samples().into(), targets.into());
    Ok(())
}

/// Creates a table `note` with one row, the text `kept`.
pub async fn write_note(server: &EmbeddedServer) -> Result<()> {
    let mut connection = PgConnection::connect(&server.url()).await?;
    connection.execute("CREATE TABLE note (text text); INSERT INTO note VALUES ('kept')").await?;
    Ok(connection.close().await?)
}
