//! `demo --full`: the same demo through separate processes with real PostgreSQL, Kafka and Redis, and then once more in
//! one process; what both came to is compared.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use domain::shared::Role;
use servers::{ALL, Server, Servers};
use sqlx::PgPool;
use uuid::Uuid;

use super::compared::{outlines_equal, rebuilt_equal, settled};
use super::stage::Stage;
use super::{Claim, DemoArgs, play, tenant};
use crate::cli::{Bearer, Laptop, say, sign};
use crate::crew::{self, Crew, Member};
use crate::running;
use crate::settings::Settings;

/// Who is there, by role and name. Who serves comes last, when there is somebody to hand commands on to.
const CREW: [(&str, &str); 8] = [
    ("scribe", "scribe-1"),
    ("scribe", "scribe-2"),
    ("relay", "relay-1"),
    ("project", "project-1"),
    ("project", "project-2"),
    ("policies", "policies-1"),
    ("serve", "serve-1"),
    ("serve", "serve-2"),
];

/// The ids of the flash sale, the same in both runs.
const SEED: Uuid = Uuid::from_u128(0x0193_e0a5_7c00_7000_8000_00f1_a540_0001);

/// The processes, and their log.
struct Installation {
    crew: Crew,
    members: Vec<Member>,
    pool: PgPool,
}

pub(super) async fn run(args: DemoArgs, settings: Settings) -> Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("cartulary-full-{}", std::process::id()));
    let shown = tokio::select! {
        shown = show(&folder, &args, &settings) => shown,
        asked = running::asked_to_stop() => asked.and_then(|()| anyhow::bail!("stopped before the end")),
    };
    // Whatever ended it, nothing stays behind.
    let servers = Servers::in_folder(&folder, &args.project)?;
    tokio::task::spawn_blocking(move || servers.down(&ALL)).await??;
    fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    let claims = shown?;
    Ok(if claims.iter().all(|claim| claim.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show(folder: &Path, args: &DemoArgs, settings: &Settings) -> Result<Vec<Claim>> {
    fs::create_dir(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let mut installation = Installation::start(folder, &args.project).await?;
    let (url, defaults) = (installation.front()?, Settings::default());
    say(format!("{} processes are ready; the front door is {url}", installation.members.len()));
    let (key, pool) = (&installation.crew.key, installation.pool.clone());
    let stage = Stage::new(url.clone(), &pool, |bearer| sign(key, bearer, &defaults));
    let mut claims = play(&stage, SEED).await?;
    settled(&pool).await?;
    let through: u64 = installation.counted("project", "cartulary_events_from_kafka_total").await?;
    claims.push(Claim::that("events came to the read models over Kafka", through > 0, through));
    say("\nThe same once more, in one process");
    let alone = embedded(folder, settings, &pool).await?;
    claims.extend(alone);
    if !args.once {
        claims.iter().for_each(Claim::show);
        let owner = stage.token(&Bearer::of(tenant(), Role::Owner))?;
        say(format!("\nIt stays up. GraphQL console: {url}/graphql\n\nexport OWNER={owner}\n\nCtrl-C ends it."));
        running::asked_to_stop().await?;
    }
    drop(stage);
    crew::stop(std::mem::take(&mut installation.members)).await?;
    if args.once {
        claims.extend(rebuilt_equal(&pool).await?);
        claims.iter().for_each(Claim::show);
    }
    pool.close().await;
    Ok(claims)
}

/// Plays it in one process on a database of its own, and compares what the read models came to.
async fn embedded(folder: &Path, settings: &Settings, full: &PgPool) -> Result<Vec<Claim>> {
    let project = folder.join("embedded");
    fs::create_dir(&project)?;
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), kafka_brokers: None, ..settings.clone() };
    let laptop = Laptop::start(&project, settings).await?;
    let pool = laptop.running.pool.clone();
    let compared = async {
        let mut claims = play(&Stage::laptop(&laptop), SEED).await?;
        settled(&pool).await?;
        claims.extend(outlines_equal(full, &pool).await?);
        Ok(claims)
    };
    let compared = compared.await;
    let data = laptop.data();
    laptop.stop().await?;
    // Data lie outside where the server's user may not enter the folder.
    if !data.starts_with(folder) {
        fs::remove_dir_all(data.parent().unwrap_or(&data))?;
    }
    compared
}

impl Installation {
    async fn start(folder: &Path, house: &Path) -> Result<Self> {
        say("Starting PostgreSQL, Redis and Kafka");
        let servers = Servers::in_folder(folder, house)?;
        let started = tokio::task::spawn_blocking(move || servers.up(&ALL)).await??;
        let addresses = started.into_iter().map(|Server { variable, address, .. }| (variable, address));
        let variables = addresses.chain([("CARTULARY_CONNECTIONS_MOST".to_owned(), "8".to_owned())]).collect();
        let crew = Crew::new(&folder.join("crew"), variables)?;
        let pool = running::connect(crew.database_url()?).await?;
        running::migrate(&pool).await?;
        let mut installation = Self { crew, members: Vec::new(), pool };
        for (role, name) in CREW {
            installation.members.push(installation.crew.start(role, name).await?);
        }
        for member in &installation.members {
            member.ready().await?;
        }
        Ok(installation)
    }

    /// Where HTTP is served.
    fn front(&self) -> Result<String> {
        let front = self.members.iter().find(|member| member.name.starts_with("serve"));
        Ok(front.context("somebody serves")?.url.clone())
    }

    /// A counter of all processes whose names begin so.
    async fn counted(&self, role: &str, figure: &str) -> Result<u64> {
        let mut sum = 0;
        for member in self.members.iter().filter(|member| member.name.starts_with(role)) {
            sum += member.counted(figure).await?;
        }
        Ok(sum)
    }
}
