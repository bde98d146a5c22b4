//! `demo --full`: the same demo through separate processes with real PostgreSQL, Kafka and Redis, and then once more in
//! one process; what both came to is compared.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::shared::Role;
use servers::{ALL, Server, Servers};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::cdnow::purchases;
use super::compared::{outlines_equal, rebuilt_equal, settled};
use super::stage::Stage;
use super::{Claim, DemoArgs, play, tenant};
use crate::fleet::{self, Fleet, Member};
use cartulary::cli::{Bearer, say, sign};
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;

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
    fleet: Fleet,
    members: Vec<Member>,
    pool: PgPool,
}

/// The servers on their way up, which nobody can call back.
type Starting = JoinHandle<Result<Vec<Server>>>;

pub(super) async fn run(args: DemoArgs, settings: Settings) -> Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("cartulary-full-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    let servers = Servers::in_folder(&folder, &args.project)?;
    let ended = show_in(&folder, &servers, &args, &settings).await;
    // Whatever ended it, nothing stays behind; why it ended matters more than what became of that.
    let cleared = clear(&folder, servers).await;
    let claims = ended?;
    cleared?;
    Ok(if claims.iter().all(|claim| claim.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show_in(folder: &Path, servers: &Servers, args: &DemoArgs, settings: &Settings) -> Result<Vec<Claim>> {
    say("Starting PostgreSQL, Redis and Kafka");
    let up = servers.clone();
    let mut starting = tokio::task::spawn_blocking(move || up.up(&ALL));
    let shown = tokio::select! {
        shown = show(folder, &mut starting, args, settings) => shown,
        asked = cartulary::process::stop_requested() => asked.and_then(|()| bail!("stopped before the end")),
    };
    // A server that is started after all others were ended would stay behind.
    if !starting.is_finished() {
        starting.await.ok();
    }
    let (installation, claims) = shown?;
    if !args.once {
        installation.stay_up().await?;
    }
    installation.stop().await?;
    Ok(claims)
}

/// Plays both and compares them. With `--once` nobody of the processes is left.
async fn show(
    folder: &Path,
    starting: &mut Starting,
    args: &DemoArgs,
    settings: &Settings,
) -> Result<(Installation, Vec<Claim>)> {
    let mut installation = Installation::start(folder, starting.await??).await?;
    say(format!("{} processes are ready; the front doors are {}", CREW.len(), installation.fronts().join(" ")));
    let pool = installation.pool.clone();
    let mut claims = play(&installation.stage(), SEED).await?;
    settled(&pool).await?;
    let through = installation.counted("project", "cartulary_events_from_kafka_total").await?;
    let imported = u64::try_from(purchases()?.len())?;
    let what = format!("events that came to the read models over Kafka, at least {imported}");
    claims.push(Claim::that(&what, through >= imported, through));
    let with_redis = installation.counted("", "cartulary_redis_up").await?;
    claims.push(Claim::equal("processes that reach Redis", with_redis, CREW.len() as u64));
    say("\nThe same once more, in one process");
    claims.extend(embedded(folder, settings, &pool).await?);
    if args.once {
        // While processes keep the rows, a rebuild may be ahead of them.
        fleet::stop(std::mem::take(&mut installation.members)).await?;
        claims.extend(rebuilt_equal(&pool).await?);
    }
    claims.iter().for_each(Claim::show);
    Ok((installation, claims))
}

/// Ends the servers and takes everything away.
async fn clear(folder: &Path, servers: Servers) -> Result<()> {
    tokio::task::spawn_blocking(move || servers.down(&ALL)).await??;
    fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))
}

/// Plays it in one process on a database of its own, and compares what the read models came to. What a person has set
/// for an engine of theirs is not meant for it, but for where PostgreSQL's programs are.
async fn embedded(folder: &Path, settings: &Settings, full: &PgPool) -> Result<Vec<Claim>> {
    let project = folder.join("embedded");
    fs::create_dir(&project)?;
    let postgres_binaries = settings.postgres_binaries.clone();
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), postgres_binaries, ..Settings::default() };
    let engine = EmbeddedEngine::start(&project, settings).await?;
    let pool = engine.running.pool.clone();
    let compared = async {
        let mut claims = play(&Stage::embedded(&engine), SEED).await?;
        settled(&pool).await?;
        claims.extend(outlines_equal(full, &pool).await?);
        Ok(claims)
    };
    let compared = compared.await;
    let data = engine.data();
    engine.stop().await?;
    // Data lie outside where the server's user may not enter the folder.
    if !data.starts_with(folder) {
        fs::remove_dir_all(data.parent().unwrap_or(&data))?;
    }
    compared
}

impl Installation {
    async fn start(folder: &Path, servers: Vec<Server>) -> Result<Self> {
        let addresses = servers.into_iter().map(|Server { variable, address, .. }| (variable, address));
        let variables = addresses.chain([("CARTULARY_CONNECTIONS_MOST".to_owned(), "8".to_owned())]).collect();
        let fleet = Fleet::new(&folder.join("fleet"), variables)?;
        let pool = platform::database::connect(fleet.database_url()?).await?;
        event_log::migrate(&pool).await?;
        let mut installation = Self { fleet, members: Vec::new(), pool };
        for (role, name) in CREW {
            installation.members.push(installation.fleet.start(role, name).await?);
        }
        for member in &installation.members {
            member.ready().await?;
        }
        Ok(installation)
    }

    /// Where HTTP is served.
    fn fronts(&self) -> Vec<String> {
        let fronts = self.members.iter().filter(|member| member.name.starts_with("serve"));
        fronts.map(|front| front.url.clone()).collect()
    }

    fn stage(&self) -> Stage<'_> {
        let defaults = Settings::default();
        Stage::new(self.fronts(), &self.pool, move |bearer| sign(&self.fleet.key, bearer, &defaults))
    }

    /// Until somebody has seen enough.
    async fn stay_up(&self) -> Result<()> {
        let owner = self.stage().token(&Bearer::of(tenant(), Role::Owner))?;
        let consoles: Vec<_> = self.fronts().iter().map(|url| format!("{url}/graphql")).collect();
        say(format!(
            "\nIt stays up. GraphQL consoles: {}\n\nexport OWNER={owner}\n\nCtrl-C ends it.",
            consoles.join(" ")
        ));
        cartulary::process::stop_requested().await
    }

    async fn stop(self) -> Result<()> {
        fleet::stop(self.members).await?;
        self.pool.close().await;
        Ok(())
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
