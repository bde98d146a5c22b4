//! Runs the scenarios of `api/tests/scenarios` against the whole engine. Their format is in [`crate::story`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cartulary::cli::Bearer;
use domain::shared::{CustomerId, Role, TenantId};
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use lab::harness::{Engine, HttpRequest, HttpResponse, WAIT_TIMEOUT};
use proofs::Proof;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::story::{Expected, Names, Step, Story, differs};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_holds() -> Result<()> {
    let engine = Engine::start().await?;
    let mut paths = vec![];
    collect(Path::new(STORIES), &mut paths)?;
    ensure!(paths.len() >= 20, "scenarios are missing");
    let played = stream::iter(&paths).map(|path| run(&engine, path)).buffered(4).collect::<Vec<_>>().await;
    let failed: Vec<_> = played.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    engine.close().await;
    assert!(failed.is_empty(), "{} of {} scenarios failed\n\n{}", failed.len(), paths.len(), failed.join("\n\n"));
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

/// Reads and runs one scenario in a tenant of its own.
async fn run(engine: &Engine, path: &Path) -> Result<()> {
    let file = path.strip_prefix(STORIES)?.display();
    let story = Story::read(&fs::read_to_string(path)?).with_context(|| file.to_string())?;
    let (tenant, store) = engine.tenant().await?;
    let mut names = Names::new(tenant.uuid(), store);
    for step in &story.steps {
        let place = || format!("{file}:{} ({})", step.line, story.title);
        names.last = run_step(engine, tenant, &mut names, step).await.with_context(place)?;
        for claim in &step.proves {
            let proof = Proof::of(claim, &format!("api/tests/scenarios/{file}"));
            proof.with_context(|| format!("{}: `{claim}` is no id with a clause", place()))?.record();
        }
    }
    Ok(())
}

/// Runs one step and returns the last answer.
async fn run_step(engine: &Engine, tenant: TenantId, names: &mut Names, step: &Step) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let mut sent = vec![];
        for _ in 0..step.at_once {
            names.next_each();
            sent.push(request(engine, tenant, names, step)?);
        }
        let got = try_join_all(sent.iter().map(|sent| engine.send(sent))).await?;
        // On a busy machine a query may get BEHIND, after which clients send it again.
        let again = step.soon || got.iter().any(is_behind);
        match check(names, step, &got) {
            Ok(()) => return Ok(got.last().map(HttpResponse::json).unwrap_or_default()),
            Err(_) if again && begun.elapsed() < WAIT_TIMEOUT => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error),
        }
    }
}

fn request(engine: &Engine, tenant: TenantId, names: &mut Names, step: &Step) -> Result<HttpRequest> {
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
        headers.push(("authorization".into(), format!("Bearer {}", engine.token(&bearer)?)));
    }
    Ok(HttpRequest { method: step.method.clone(), path: names.fill(&step.path)?, headers, body: body.into() })
}

/// The bearer that a scenario names: `owner`, `customer ada`, `owner of rival`, `operator`, `nobody`.
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
        _ => bail!("`{who}` is no bearer"),
    }))
}

/// Compares the answers of a step with the expected ones.
fn check(names: &mut Names, step: &Step, got: &[HttpResponse]) -> Result<()> {
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
    // All answers under one idempotency key are equal, except for `replayed`.
    if step.headers.iter().any(|(name, _)| name == "idempotency-key") {
        let mut answers: Vec<_> = got.iter().map(HttpResponse::json).collect();
        answers.iter_mut().for_each(|answer| answer["receipt"]["replayed"] = Value::Null);
        ensure!(answers.windows(2).all(|two| two[0] == two[1]), "answers under one key differ: {answers:?}");
    }
    Ok(())
}

fn misses(names: &mut Names, expected: &Expected, got: &HttpResponse) -> Result<Option<String>> {
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
    let lines = lines.iter().map(|line| serde_json::from_str(line).context("the expected answer is no JSON"));
    let lines = lines.collect::<Result<Vec<Value>>>()?;
    let found = got.lines().unwrap_or_default();
    Ok(differs(&Value::from(lines), &Value::from(found), ""))
}

fn is_behind(got: &HttpResponse) -> bool {
    got.json()["errors"][0]["extensions"]["code"] == "BEHIND"
}

fn text(got: &HttpResponse) -> String {
    String::from_utf8_lossy(&got.body).into_owned()
}
