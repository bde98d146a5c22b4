//! Processes of the product's binary, with keys of their own, that tests start, kill and pause.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use api::auth::SigningKey;
use domain::shared::TenantId;
use platform::clock::{new_id, now};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use vault::{MonitorToken, OuterKey, Vault};

use super::backend::SLOTS;
use super::{Shop, WAIT_TIMEOUT, engine_url, eventually};
use crate::demo::client::Client;
use crate::fleet::{self, EngineProcess};

/// Time without an answer after which a client sends its command again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Keys, logs and processes of one test.
pub struct Cluster {
    folder: PathBuf,
    url: String,
    product: PathBuf,
    _slots: SemaphorePermit<'static>,
}

impl Cluster {
    /// Makes the keys with openssl, as `docs/running.md` says.
    pub async fn new(url: &str) -> Result<Self> {
        let slots = SLOTS.acquire_many(3).await?;
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-cluster-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let cluster = Self { folder, url: engine_url(url), product: fleet::product()?, _slots: slots };
        let script = "umask 077; openssl genpkey -algorithm ed25519 -out token.key && \
                      openssl pkey -in token.key -pubout -out token.pub && openssl rand -base64 32 > outer.key";
        let made = Command::new("sh").args(["-c", script]).current_dir(&cluster.folder).output().await?;
        ensure!(made.status.success(), "openssl made no keys: {}", String::from_utf8_lossy(&made.stderr));
        Ok(cluster)
    }

    /// Command line of the binary, with the variables that all processes share. The caller adds the subcommand.
    pub fn cartulary(&self) -> Command {
        let mut command = fleet::command(&self.product);
        let key = format!("test={}", self.folder.join("token.pub").display());
        command.current_dir(&self.folder);
        command.env("CARTULARY_DATABASE_URL", &self.url).env("CARTULARY_TOKEN_KEYS", key);
        command.env("CARTULARY_OUTER_KEY_FILE", self.folder.join("outer.key")).env("CARTULARY_LISTEN", "127.0.0.1:0");
        command
    }

    /// Token for the reasons and metrics of its processes.
    pub fn monitor_token(&self) -> Result<String> {
        Ok(MonitorToken::new(&OuterKey::from_file(&self.folder.join("outer.key"))?).text().to_owned())
    }

    /// The vault of its processes.
    pub fn vault(&self, pool: &PgPool) -> Result<Vault> {
        Ok(Vault::new(pool.clone(), &OuterKey::from_file(&self.folder.join("outer.key"))?))
    }

    /// Starts an engine with every role and waits until it listens.
    pub async fn start(&self, variables: &[(&str, &str)]) -> Result<EngineProcess> {
        self.start_as(&["serve", "--all"], variables).await
    }

    /// Starts a process in one role under a name, and waits until it listens.
    pub async fn start_unready(&self, role: &str, name: &str, more: &[(&str, &str)]) -> Result<EngineProcess> {
        let variables = [&[("CARTULARY_OWNER", name), ("CARTULARY_CONNECTIONS_MOST", "4")], more].concat();
        self.start_as(&[role], &variables).await
    }

    /// Starts a process in one role under a name, and waits until it is ready.
    pub async fn start_role(&self, role: &str, name: &str, more: &[(&str, &str)]) -> Result<EngineProcess> {
        let engine = self.start_unready(role, name, more).await?;
        engine.ready().await?;
        Ok(engine)
    }

    async fn start_as(&self, words: &[&str], variables: &[(&str, &str)]) -> Result<EngineProcess> {
        let log = self.folder.join(format!("engine-{}.log", FOLDERS.fetch_add(1, Ordering::Relaxed)));
        let mut command = self.cartulary();
        command.args(words).envs(variables.iter().copied());
        EngineProcess::start(command, &words.join(" "), log).await
    }

    /// Starts an engine with every role and waits until it is ready.
    pub async fn start_ready(&self, variables: &[(&str, &str)]) -> Result<EngineProcess> {
        let engine = self.start(variables).await?;
        engine.ready().await?;
        Ok(engine)
    }

    async fn token(&self, words: &[&str]) -> Result<String> {
        let key = format!("test={}", self.folder.join("token.key").display());
        let answer = self.cartulary().arg("token").args(words).args(["--key", &key]).output().await?;
        ensure!(answer.status.success(), "no token: {}", String::from_utf8_lossy(&answer.stderr));
        Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
    }

    /// A client of one process, with a token of a tenant's owner.
    pub async fn owner(&self, engine: &EngineProcess, tenant: TenantId) -> Result<Client> {
        Ok(Client::new(&engine.url, self.owner_token(tenant).await?))
    }

    /// A token of a tenant's owner.
    pub async fn owner_token(&self, tenant: TenantId) -> Result<String> {
        self.token(&["--tenant", &tenant.to_string(), "--role", "owner"]).await
    }

    /// A token of a customer that expires in this many seconds.
    pub fn customer_token(&self, tenant: TenantId, customer: Uuid, seconds: i64) -> Result<String> {
        let key = SigningKey::from_pem("test", &fs::read_to_string(self.folder.join("token.key"))?)?;
        let now = now().micros() / 1_000_000;
        let claims = json!({
            "iss": "cartulary", "aud": "cartulary", "sub": customer, "tenant": tenant, "roles": ["customer"],
            "customer": customer, "iat": now - 100, "exp": now + seconds,
        });
        Ok(key.sign(&serde_json::from_value(claims)?)?)
    }

    /// A client of one process, with a token of a customer.
    pub async fn customer(&self, engine: &EngineProcess, tenant: TenantId, customer: Uuid) -> Result<Client> {
        let (tenant, customer) = (tenant.to_string(), customer.to_string());
        let token = self.token(&["--tenant", &tenant, "--role", "customer", "--customer", &customer]).await?;
        Ok(Client::new(&engine.url, token))
    }

    /// Registers a tenant over HTTP and puts a product on sale. Some process must run policies, which open the tenant.
    pub async fn shop(&self, engine: &EngineProcess, pool: &PgPool, units: i64) -> Result<(Shop, Client)> {
        let tenant = TenantId::new(new_id());
        let operator = Client::new(&engine.url, self.token(&["--role", "operator"]).await?);
        let tail = &tenant.to_string()[24..];
        let register = json!({
            "tenant": tenant, "name": "Corner shop", "subdomain": format!("shop-{tail}"),
            "contact_email": format!("office-{tail}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        operator.execute("RegisterTenant", new_id(), &register).await?;
        let (shop, owner) = (Shop::new(tenant), self.owner(engine, tenant).await?);
        eventually("the tenant is open", async || Ok(shop.count(pool, "tenant.opened").await? == 1)).await?;
        for (name, body) in shop.setup_commands(units) {
            owner.execute(name, new_id(), &body).await?;
        }
        Ok((shop, owner))
    }
}

/// A loopback address with a port that was free a moment ago, for a process that is restarted at the same address.
pub fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends a command once. Returns status and body of the answer; `None` if the connection failed or no answer came in
/// time.
pub async fn send_once(client: &Client, name: &str, id: Uuid, body: &Value) -> Option<(u16, Value)> {
    let path = format!("/v1/commands/{name}");
    let key = id.to_string();
    let sent = client.post(&path, "application/json", Some(&key), body.to_string());
    let reply = timeout(ANSWERED_WITHIN, sent).await.ok()?.ok()?;
    Some((reply.status, serde_json::from_slice(&reply.body).ok()?))
}

/// Sends a command to one client after the other, again and again, until it is decided.
pub async fn send_until_decided(clients: &[&Client], name: &str, id: Uuid, body: &Value) -> Result<Value> {
    let begun = Instant::now();
    for client in clients.iter().cycle() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{name} is not decided within {WAIT_TIMEOUT:?}");
        match send_once(client, name, id, body).await {
            Some((200 | 409, answer)) => return Ok(answer),
            Some((503, _)) | None => sleep(Duration::from_millis(20)).await,
            Some((status, answer)) => bail!("{name} was answered with {status}: {answer}"),
        }
    }
    bail!("there is no client to send it by")
}
