//! Everything on one machine, with nothing to configure.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use api::auth::SigningKey;
use clap::Args;
use domain::shared::{Role, TenantId};
use uuid::Uuid;

use super::say;
use super::token::{Bearer, TOKEN_KEY, sign};
use crate::embedded::{EmbeddedServer, EmbeddedSettings};
use crate::running::{self, Roles, Running};
use crate::settings::Settings;
use vault::{OuterKey, secret_file};

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder that gets a `.cartulary` folder with data and keys.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    project: PathBuf,
}

/// The engine with its private PostgreSQL and its own keys.
pub struct Laptop {
    pub running: Running,
    pub key: SigningKey,
    pub settings: Settings,
    server: EmbeddedServer,
}

impl Laptop {
    /// Starts the server, brings its schema up to date, and starts all roles.
    pub async fn start(project: &Path, mut settings: Settings) -> Result<Self> {
        let listener = running::listen(&settings).await?;
        std::fs::create_dir_all(project.join(".cartulary")).context("the project folder cannot be written")?;
        let embedded = EmbeddedSettings { project: project.to_owned(), binaries: settings.postgres_binaries.clone() };
        let server = EmbeddedServer::start(&embedded).await?;
        settings.database_data = Some(server.data());
        settings.introspection = true;
        let started = async {
            let pool = running::connect(&server.url()).await?;
            running::migrate(&pool).await?;
            pool.close().await;
            let outer = OuterKey::from_file(&key_file(project, "outer.key"))?;
            let key = SigningKey::from_seed(TOKEN_KEY, *secret_file(&key_file(project, "token.key"))?);
            let auth = settings.auth_with(vec![key.public()?]);
            Ok::<_, anyhow::Error>((
                Running::start(&settings, listener, Roles::ALONE, &server.url(), &outer, auth).await?,
                key,
            ))
        };
        match started.await {
            Ok((running, key)) => Ok(Self { running, key, settings, server }),
            Err(error) => {
                server.stop().await.ok();
                Err(error)
            }
        }
    }

    /// A token for somebody, good for a day.
    pub fn token(&self, bearer: &Bearer) -> Result<String> {
        sign(&self.key, bearer, &self.settings)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The folder of the database's data.
    pub fn data(&self) -> PathBuf {
        self.server.data()
    }

    /// Where other commands of this binary find the database while it runs.
    pub fn database_url(&self) -> String {
        self.server.url()
    }

    /// Waits until somebody wants it to end. That a role or the database server ended by itself is an error: without it
    /// nothing here is of use, and starting again is the cure.
    pub async fn until_stopped(&mut self) -> Result<()> {
        tokio::select! {
            ended = self.running.until_stopped() => ended,
            ended = self.server.exited() => {
                let log = self.server.log();
                anyhow::bail!("the database server ended by itself ({}); its log is {}", ended?, log.display())
            }
        }
    }

    pub async fn stop(self) -> Result<()> {
        self.running.stop().await;
        self.server.stop().await
    }
}

pub(super) fn key_file(project: &Path, name: &str) -> PathBuf {
    project.join(".cartulary").join(name)
}

pub(super) async fn run(args: DevArgs, settings: Settings) -> Result<ExitCode> {
    let mut laptop = Laptop::start(&args.project, settings).await?;
    let tenant = first_tenant();
    let operator = laptop.token(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
    let owner = laptop.token(&Bearer::of(tenant, Role::Owner))?;
    let url = laptop.url();
    say(format!("Cartulary is ready on {url}\n"));
    say(format!("  GraphQL console   {url}/graphql"));
    say(format!("  OpenAPI           {url}/openapi.json"));
    say(format!("  health, metrics   {url}/ready  {url}/metrics"));
    say(format!("  replay, doctor    export CARTULARY_DATABASE_URL='{}'\n", laptop.database_url()));
    say(format!("Tokens for a day. Operator, who registers tenants:\n\nexport OPERATOR={operator}\n"));
    say(format!("Owner of the tenant {tenant}, once it is registered:\n\nexport OWNER={owner}\n"));
    say(format!(
        "Register it:\n\ncurl -s {url}/v1/commands/RegisterTenant -H \"authorization: Bearer $OPERATOR\" \\\n  \
         -H 'content-type: application/json' \\\n  -d '{{\"tenant\":\"{tenant}\",\"name\":\"My shop\",\
         \"subdomain\":\"my-shop\",\"contact_email\":\"me@example.org\",\"currency\":\"USD\",\"zone\":\"Europe/Berlin\"}}'\n"
    ));
    say("Ctrl-C stops everything; the data stay in .cartulary.");
    let ended = laptop.until_stopped().await;
    laptop.stop().await?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// The tenant of the printed example: the same at every start, so that its token keeps fitting.
fn first_tenant() -> TenantId {
    TenantId::new(Uuid::new_v5(&TenantId::PLATFORM.uuid(), b"cartulary dev"))
}
