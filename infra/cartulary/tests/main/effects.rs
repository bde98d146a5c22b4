//! Effects: what partners outside do happens once, whatever becomes of them, of the way to them, or of the engine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use cartulary::running;
use serde_json::json;
use sqlx::PgPool;
use tokio::process::Command;
use tokio::time::sleep;
use work::{EffectLimits, Targets, held_back, hold_back, release};

use crate::laws::keeps_the_laws;
use crate::partner::{Line, Mood, Partner, with_samples};
use crate::server::database;
use crate::shop::{House, Shop, eventually};

/// Where the process that is to be killed finds its database and its partner.
const VICTIM: &str = "EFFECTS_VICTIM";

const LIMITS: EffectLimits = EffectLimits {
    attempt_time_most: Duration::from_millis(300),
    attempts_most: 8,
    age_most: Duration::from_secs(600),
    first_pause: Duration::from_millis(20),
    pause_most: Duration::from_millis(100),
    failures_most: 5,
    rest: Duration::from_millis(1_500),
};

fn send_samples(house: &mut House, partner: &str, limits: EffectLimits) -> Result<()> {
    let targets = Targets::new(limits).with("samples", Line::to(partner.parse()?));
    house.react_with(with_samples().into(), targets.into());
    Ok(())
}

async fn effects(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM work.effects").fetch_one(pool).await?)
}

/// Samples that were sent and refused, as the shop's own log knows it.
async fn noted(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    let text = "SELECT count(*) FILTER (WHERE payload->>'reason' = 'sample sent'),
                       count(*) FILTER (WHERE payload->>'reason' = 'sample refused')
                FROM log.events WHERE tenant = $1 AND type = 'stock.adjusted'";
    Ok(sqlx::query_as(text).bind(shop.tenant.uuid()).fetch_one(pool).await?)
}

async fn receive(house: &House, shop: &Shop, times: usize) -> Result<()> {
    for _ in 0..times {
        house.done(shop.tenant, "ReceiveStock", &json!({ "item": shop.item, "units": 10 })).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_on_the_way_it_is_done_once_and_noted_once() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(10).await?;
    partner.is(shop.tenant, &[Mood::Cut, Mood::Broken, Mood::Slow, Mood::Cut], Mood::Fine);
    send_samples(&mut house, &partner.address.to_string(), LIMITS)?;
    eventually("the outcome is noted", async || Ok(noted(&shop, &house.pool).await?.0 == 1)).await?;
    eventually("nothing is left to do", async || Ok(effects(&house.pool).await? == 0)).await?;

    let (asked, done) = partner.seen(shop.tenant);
    assert_eq!((asked.len(), done), (5, 1));
    assert!(asked.iter().all(|key| *key == asked[0]), "every attempt has the same key");
    // Everything is asked for anew: the partner and the log see that it is nothing new.
    house.close().await;
    let mut house = House::with_defaults(&url).await?;
    sqlx::query("UPDATE work.policies SET position = 0").execute(&house.pool).await?;
    send_samples(&mut house, &partner.address.to_string(), LIMITS)?;
    eventually("it is asked for again", async || Ok(partner.seen(shop.tenant).0.len() == 6)).await?;
    eventually("nothing is left to do", async || Ok(effects(&house.pool).await? == 0)).await?;
    assert_eq!((partner.seen(shop.tenant).1, noted(&shop, &house.pool).await?), (1, (1, 0)));
    let pool = house.pool.clone();
    keeps_the_laws(&pool).await?;
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_in_trouble_with_one_tenant_is_left_alone_there_and_serves_all_others() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let (unlucky, lucky) = (house.shop(10).await?, house.shop(10).await?);
    receive(&house, &unlucky, 19).await?;
    receive(&house, &lucky, 19).await?;
    partner.is(unlucky.tenant, &[], Mood::Broken);
    let patient = EffectLimits { attempts_most: 1_000, ..LIMITS };
    send_samples(&mut house, &partner.address.to_string(), patient)?;
    eventually("the others are served", async || Ok(noted(&lucky, &house.pool).await?.0 == 20)).await?;
    let failures = "SELECT failures FROM work.partners WHERE tenant = $1";
    let failures = async || -> Result<i32> {
        Ok(sqlx::query_scalar(failures).bind(unlucky.tenant.uuid()).fetch_one(&house.pool).await?)
    };
    eventually("the breaker has opened", async || Ok(failures().await? >= LIMITS.failures_most)).await?;
    sleep(LIMITS.attempt_time_most).await;
    let asked = partner.seen(unlucky.tenant).0.len();
    sleep(LIMITS.rest / 3).await;
    assert_eq!(partner.seen(unlucky.tenant).0.len(), asked, "nobody is asked who rests");
    assert!(asked < 12, "{asked} requests before the breaker opened");
    eventually("it is tried again", async || Ok(partner.seen(unlucky.tenant).0.len() > asked)).await?;
    sleep(LIMITS.rest / 3).await;
    assert_eq!(partner.seen(unlucky.tenant).0.len(), asked + 1, "with one effect, to see whether it is well");

    partner.is(unlucky.tenant, &[], Mood::Fine);
    eventually("it is well again", async || Ok(noted(&unlucky, &house.pool).await? == (20, 0))).await?;
    eventually("nothing is left to do", async || Ok(effects(&house.pool).await? == 0)).await?;
    assert_eq!((partner.seen(unlucky.tenant).1, partner.seen(lucky.tenant).1, failures().await?), (20, 20, 0));
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_noted_and_what_nobody_notes_is_kept_for_a_person() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut house = House::with_defaults(&url).await?;
    let (refused, hopeless) = (house.shop(10).await?, house.shop(10).await?);
    partner.is(refused.tenant, &[], Mood::Unwilling);
    partner.is(hopeless.tenant, &[], Mood::Broken);
    send_samples(&mut house, &partner.address.to_string(), EffectLimits { attempts_most: 3, ..LIMITS })?;
    eventually("nothing is left to do", async || {
        Ok(noted(&refused, &house.pool).await? == (0, 1) && effects(&house.pool).await? == 0)
    })
    .await?;
    assert_eq!((partner.seen(refused.tenant).0.len(), partner.seen(hopeless.tenant).0.len()), (1, 3));
    let kept: Vec<(uuid::Uuid, String, String)> =
        sqlx::query_as("SELECT tenant, command, reason FROM work.failures").fetch_all(&house.pool).await?;
    assert_eq!(kept, [(hopeless.tenant.uuid(), "send_sample".into(), "tried 3 times; at last: 500".into())]);
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_back_waits_until_it_is_released_and_does_not_age_meanwhile() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let mut house = House::with_defaults(&url).await?;
    hold_back(&mut *house.pool.acquire().await?, "restored from yesterday's backup").await?;
    let shop = house.shop(10).await?;
    let short = EffectLimits { age_most: Duration::from_secs(2), ..LIMITS };
    send_samples(&mut house, &partner.address.to_string(), short)?;
    eventually("it is asked for", async || Ok(effects(&house.pool).await? == 1)).await?;
    sleep(short.age_most).await;
    assert!(partner.seen(shop.tenant).0.is_empty());
    let hold = held_back(&house.pool).await?.context("it is held back")?;
    assert_eq!(hold.reason, "restored from yesterday's backup");
    release(&house.pool).await?;
    eventually("it is done", async || Ok(noted(&shop, &house.pool).await?.0 == 1)).await?;
    assert_eq!(held_back(&house.pool).await?, None);
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_killed_in_the_middle_is_followed_by_one_that_asks_under_the_same_key() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let house = House::with_defaults(&url).await?;
    let (shop, other) = (house.shop(10).await?, house.shop(10).await?);
    house.close().await;
    partner.is(shop.tenant, &[Mood::Slow], Mood::Fine);
    partner.is(other.tenant, &[Mood::Broken], Mood::Fine);

    let mut victim = Command::new(std::env::current_exe()?);
    victim.args(["--exact", "effects::the_process_that_is_killed"]).env(VICTIM, format!("{url} {}", partner.address));
    let mut victim = victim.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    eventually("the partner does it and has not answered", async || Ok(partner.seen(shop.tenant).1 == 1)).await?;
    victim.kill().await?;
    let pool = running::connect(&url).await?;
    assert_eq!(noted(&shop, &pool).await?, (0, 0));

    let mut house = House::with_defaults(&url).await?;
    send_samples(&mut house, &partner.address.to_string(), LIMITS)?;
    eventually("both are noted", async || {
        Ok((noted(&shop, &pool).await?, noted(&other, &pool).await?) == ((1, 0), (1, 0)))
    })
    .await?;
    eventually("nothing is left to do", async || Ok(effects(&pool).await? == 0)).await?;
    let (asked, done) = partner.seen(shop.tenant);
    assert_eq!(done, 1);
    assert!(asked.len() == 2 && asked[0] == asked[1], "{asked:?}");
    house.close().await;
    keeps_the_laws(&pool).await
}

/// Plays a part in the test above, in a process of its own; on its own it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() -> Result<()> {
    let Ok(part) = std::env::var(VICTIM) else { return Ok(()) };
    let (url, partner) = part.split_once(' ').context("a database and a partner")?;
    let mut house = House::with_defaults(url).await?;
    // It would wait for an answer much longer than it lives; its lease is as long as that of others.
    send_samples(&mut house, partner, LIMITS)?;
    std::future::pending().await
}
