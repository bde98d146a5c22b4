//! Embedded engine: an embedded PostgreSQL, keys of its own, and every role but the relay, for `cartulary dev` and
//! tests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::auth::SigningKey;
use api::registries::Registries;
use platform::database;
use vault::{OuterKey, read_or_create_key};

use crate::cli::{Bearer, sign};
use crate::embedded::{ENGINE_LOGIN, EmbeddedServer, EmbeddedSettings, folder_of};
use crate::process::{Running, listen};
use crate::roles::Roles;
use crate::settings::Settings;

/// The id (`kid`) of the key that signs tokens of an embedded engine.
pub(crate) const TOKEN_KEY: &str = "dev";
pub(crate) const TOKEN_KEY_FILE: &str = "token.key";
const OUTER_KEY_FILE: &str = "outer.key";
const TOKEN_PUBLIC_FILE: &str = "token.pub";

/// A running engine with its embedded PostgreSQL.
pub struct EmbeddedEngine {
    pub running: Running,
    pub key: SigningKey,
    pub settings: Settings,
    server: EmbeddedServer,
    /// The file of the key that wraps all personal keys.
    pub(crate) outer_key_file: PathBuf,
    /// The file of the public key that verifies tokens.
    pub(crate) token_public_file: PathBuf,
}

impl EmbeddedEngine {
    /// Starts the database server, migrates its schema, and starts all roles but the relay.
    pub async fn start(project: &Path, settings: Settings) -> Result<Self> {
        Self::start_of(project, settings, Registries::all()).await
    }

    /// Starts an engine with other registries than the built-in ones.
    pub async fn start_of(project: &Path, mut settings: Settings, registries: Registries) -> Result<Self> {
        let listener = listen(settings.listen).await?;
        std::fs::create_dir_all(project.join(".cartulary")).context("the project folder cannot be written")?;
        let embedded = EmbeddedSettings { project: project.to_owned(), binaries: settings.postgres_binaries.clone() };
        let server = EmbeddedServer::start(&embedded).await?;
        settings.database_data = Some(server.data());
        settings.introspection = true;
        let outer_key_file = key_file(project, server.folder(), OUTER_KEY_FILE);
        let token_key_file = key_file(project, server.folder(), TOKEN_KEY_FILE);
        let token_public_file = token_key_file.with_file_name(TOKEN_PUBLIC_FILE);
        let started = async {
            let pool = database::connect(&server.url()).await?;
            event_log::migrate(&pool).await?;
            event_log::walls::create_login(&pool, ENGINE_LOGIN).await?;
            pool.close().await;
            let outer = OuterKey::from_file(&outer_key_file)?;
            let key = SigningKey::from_seed(TOKEN_KEY, *read_or_create_key(&token_key_file)?);
            std::fs::write(&token_public_file, key.public_pem()?)?;
            let auth = settings.auth_with(vec![key.public()?]);
            let mut config = settings.configuration_with(Roles::ALONE, server.engine_url(), outer, auth)?;
            config.registries = registries;
            Ok::<_, anyhow::Error>((Running::start(config, listener).await?, key))
        };
        match started.await {
            Ok((running, key)) => Ok(Self { running, key, settings, server, outer_key_file, token_public_file }),
            Err(error) => {
                server.stop().await.ok();
                Err(error)
            }
        }
    }

    /// Signs a token for a caller.
    pub fn token(&self, bearer: &Bearer) -> Result<String> {
        sign(&self.key, bearer, &self.settings)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The folder of data, log and keys.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// The folder of the database's data.
    pub fn data(&self) -> PathBuf {
        self.server.data()
    }

    /// The URL of the database, for other subcommands while the engine runs.
    pub fn database_url(&self) -> String {
        self.server.engine_url()
    }

    /// Waits until the engine is asked to stop. A role or a database server that ends by itself is an error.
    pub async fn until_stopped(&mut self) -> Result<()> {
        tokio::select! {
            ended = self.running.until_stopped() => ended,
            ended = self.server.exited() => {
                let log = self.server.log();
                bail!("the database server ended by itself ({}); its log is {}", ended?, log.display())
            }
        }
    }

    pub async fn stop(self) -> Result<()> {
        self.running.stop().await;
        self.server.stop().await
    }
}

/// The file of the key that signs tokens for a project.
pub(crate) fn token_key_file(project: &Path) -> PathBuf {
    key_file(project, &folder_of(project), TOKEN_KEY_FILE)
}

/// The file of a key: beside the data, or in the project's own folder if an older version has put it there.
fn key_file(project: &Path, folder: &Path, name: &str) -> PathBuf {
    let (beside, older) = (folder.join(name), project.join(".cartulary").join(name));
    if !beside.exists() && older.exists() { older } else { beside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_beside_the_data_unless_an_older_version_put_them_into_the_project() {
        let base = std::env::temp_dir().join(format!("cartulary-keys-{}", std::process::id()));
        let (project, folder) = (base.join("project"), base.join("data"));
        for folder in [&project.join(".cartulary"), &folder] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let (beside, older) = (folder.join("outer.key"), project.join(".cartulary/outer.key"));
        assert_eq!(key_file(&project, &folder, "outer.key"), beside);
        std::fs::write(&older, "older").expect("written");
        assert_eq!(key_file(&project, &folder, "outer.key"), older);
        std::fs::write(&beside, "beside").expect("written");
        assert_eq!(key_file(&project, &folder, "outer.key"), beside);
        std::fs::remove_dir_all(base).expect("removed");
    }
}
