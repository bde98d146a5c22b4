//! Plays the stories of `api/tests/scenarios` against the real engine. How they are written: see [`crate::story`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cartulary::cli::Bearer;
use domain::shared::{CustomerId, Role, TenantId};
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::house::{FrontDoor, Got, Sent};
use crate::story::{Expected, Names, Step, Story, differs};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/tests/scenarios");
/// How long something that comes soon may take.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_story_is_true() -> Result<()> {
    let house = FrontDoor::open().await?;
    let mut paths = vec![];
    collect(Path::new(STORIES), &mut paths)?;
    ensure!(paths.len() >= 20, "stories are missing");
    let played = stream::iter(&paths).map(|path| tell(&house, path)).buffered(4).collect::<Vec<_>>().await;
    let untrue: Vec<_> = played.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    house.close().await;
    assert!(untrue.is_empty(), "{} of {} stories are not true\n\n{}", untrue.len(), paths.len(), untrue.join("\n\n"));
    Ok(())
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(())
}

/// Reads and plays one story in a tenant of its own.
async fn tell(house: &FrontDoor, path: &Path) -> Result<()> {
    let file = path.strip_prefix(STORIES)?.display();
    let story = Story::read(&fs::read_to_string(path)?).with_context(|| file.to_string())?;
    let (tenant, store) = house.tenant().await?;
    let mut names = Names::new(tenant.uuid(), store);
    for step in &story.steps {
        let place = || format!("{file}:{} ({})", step.line, story.title);
        names.last = play(house, tenant, &mut names, step).await.with_context(place)?;
    }
    for id in &story.proves {
        ensure!(id.split_once('-').is_some_and(|(_, number)| number.parse::<u8>().is_ok()), "{file} proves `{id}`");
    }
    Ok(())
}

/// Plays one step; the last answer.
async fn play(house: &FrontDoor, tenant: TenantId, names: &mut Names, step: &Step) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let mut sent = vec![];
        for _ in 0..step.at_once {
            names.next_each();
            sent.push(request(house, tenant, names, step)?);
        }
        let got = try_join_all(sent.iter().map(|sent| house.send(sent))).await?;
        // "Behind, ask again" is an answer that every caller is told to follow; a busy machine gives it.
        let again = step.soon || got.iter().any(is_behind);
        match check(names, step, &got) {
            Ok(()) => return Ok(got.last().map(Got::json).unwrap_or_default()),
            Err(_) if again && begun.elapsed() < SOON => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error),
        }
    }
}

fn request(house: &FrontDoor, tenant: TenantId, names: &mut Names, step: &Step) -> Result<Sent> {
    let body = names.fill(&step.body)?;
    let body = if step.path == "/graphql" { json!({ "query": body }).to_string() } else { body };
    let mut headers = vec![];
    for (name, value) in &step.headers {
        headers.push((name.clone(), names.fill(value)?));
    }
    if !step.body.is_empty() && headers.iter().all(|(name, _)| name != "content-type") {
        headers.push(("content-type".into(), "application/json".into()));
    }
    if let Some(bearer) = bearer(tenant, names, &step.who)? {
        headers.push(("authorization".into(), format!("Bearer {}", house.token(&bearer)?)));
    }
    Ok(Sent { method: step.method.clone(), path: names.fill(&step.path)?, headers, body: body.into() })
}

/// Somebody in the words of a story: `owner`, `customer ada`, `owner of rival`, `operator`, `nobody`.
fn bearer(tenant: TenantId, names: &mut Names, who: &str) -> Result<Option<Bearer>> {
    let (who, tenant) = match who.split_once(" of ") {
        Some((who, other)) => (who, TenantId::new(names.id(other))),
        None => (who, tenant),
    };
    Ok(Some(match who.split_once(' ').unwrap_or((who, "")) {
        ("nobody", "") => return Ok(None),
        ("operator", "") => Bearer::of(TenantId::PLATFORM, Role::Operator),
        ("customer", name) if !name.is_empty() => Bearer::customer(tenant, CustomerId::new(names.id(name))),
        (role, "") => Bearer::of(tenant, serde_json::from_value(role.into()).context("this is no role")?),
        _ => bail!("who is `{who}`?"),
    }))
}

/// Holds answers against what a step expects of them.
fn check(names: &mut Names, step: &Step, got: &[Got]) -> Result<()> {
    let mut taken = vec![0; step.answers.len()];
    for got in got {
        let mut why = String::new();
        let mut fits = None;
        for (index, expected) in step.answers.iter().enumerate() {
            match misses(names, expected, got)? {
                None => fits = fits.or(Some(index)),
                Some(miss) => why.push_str(&miss),
            }
        }
        let index =
            fits.with_context(|| format!("{} {}: {why}\nfound {} {}", step.method, step.path, got.status, text(got)))?;
        taken[index] += 1;
    }
    for (expected, taken) in step.answers.iter().zip(taken) {
        let times = expected.times.unwrap_or(if step.answers.len() == 1 { step.at_once } else { taken });
        ensure!(times == taken, "{} was answered {taken} times, not {times}", expected.status);
    }
    // Under one key there is one answer, to the last character but for the word that says so.
    if step.headers.iter().any(|(name, _)| name == "idempotency-key") {
        let mut answers: Vec<_> = got.iter().map(Got::json).collect();
        answers.iter_mut().for_each(|answer| answer["receipt"]["replayed"] = Value::Null);
        ensure!(answers.windows(2).all(|two| two[0] == two[1]), "answers under one key differ: {answers:?}");
    }
    Ok(())
}

fn misses(names: &mut Names, expected: &Expected, got: &Got) -> Result<Option<String>> {
    if expected.status != got.status {
        return Ok(Some(format!("expected status {}", expected.status)));
    }
    if expected.body.is_empty() {
        return Ok(None);
    }
    let body = names.fill(&expected.body)?;
    let mut lines = vec![body.clone()];
    if got.kind == "application/x-ndjson" {
        lines = body.lines().map(str::to_owned).collect();
    }
    let lines = lines.iter().map(|line| serde_json::from_str(line).context("what is expected is no JSON"));
    let lines = lines.collect::<Result<Vec<Value>>>()?;
    let found = got.lines().unwrap_or_default();
    Ok(differs(&Value::from(lines), &Value::from(found), ""))
}

fn is_behind(got: &Got) -> bool {
    got.json()["errors"][0]["extensions"]["code"] == "BEHIND"
}

fn text(got: &Got) -> String {
    String::from_utf8_lossy(&got.body).into_owned()
}
