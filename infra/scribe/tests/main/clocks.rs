//! Processes whose clock is not that of the database.

use anyhow::Result;
use commands::kernel::{NotNow, StateRegistry};
use commands::scribe::{Answer, Settled};
use event_log::LaneCount;
use lab::harness::{Backend, OUTER_KEY, Shop, database, eventually, scribe_settings};
use lab::log_invariants::check_log_invariants;
use platform::clock::{Clock, new_id, now};
use platform::clock_monitor::ClockMonitor;
use platform::database::compare_clocks;
use platform::health::Health;
use scribe::forwarding::{Dispatch, ForwardingKey};
use scribe::{Owner, ScribeSettings};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::OuterKey;

const SECOND: i64 = 1_000_000;

/// Settings of a scribe of this name, its clock and its health report.
fn settings(url: &str, name: &str) -> (ScribeSettings, Clock, Health) {
    let (clock, health) = (Clock::default(), Health::default());
    let defaults = scribe_settings(url);
    let owner = Owner { name: name.into(), ..defaults.owner };
    let settings = ScribeSettings { owner, clock: ClockMonitor::new(clock.clone(), health.clone()), ..defaults };
    (settings, clock, health)
}

/// True if this backend writes every lane.
fn owns_all(backend: &Backend) -> bool {
    backend.scribe.owned_lanes().len() == LaneCount::DEFAULT.get()
}

/// Number of rows of `log.epochs` in the lane with the most of them.
async fn most_epochs(pool: &PgPool) -> Result<i64> {
    let text = "SELECT coalesce(max(epochs), 0) FROM (SELECT count(*) AS epochs FROM log.epochs GROUP BY lane) t";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

fn is_clock_off(answer: &Answer) -> bool {
    matches!(answer, Answer::NotNow(NotNow::ClockOff(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_from_a_scribe_whose_clock_runs_off_to_one_that_is_right() -> Result<()> {
    let url = database().await;
    let (wrong, clock, health) = settings(&url, "wrong");
    let wrong = Backend::start_with(&url, &wrong).await?;
    let shop = wrong.shop(100).await?;
    for shift in [3 * SECOND, -15 * SECOND] {
        let (right, ..) = settings(&url, "right");
        let right = Backend::start_with(&url, &right).await?;
        clock.shift(shift);
        eventually("the right one writes every lane", async || Ok(owns_all(&right))).await?;
        right.execute(shop.tenant, "ReserveStock", &shop.reservation(new_id())).await?;
        let reasons = health.reasons();
        assert!(reasons[0].starts_with("the clock of this process: it is "), "{reasons:?}");
        let refused = wrong.send_once(shop.tenant, "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
        assert!(is_clock_off(&refused), "{refused:?}");
        clock.shift(0);
        eventually("the clock is right again", async || Ok(health.reasons().is_empty())).await?;
        right.close().await;
        wrong.execute(shop.tenant, "ReserveStock", &shop.reservation(new_id())).await?;
        eventually("it writes every lane again", async || Ok(owns_all(&wrong))).await?;
    }
    // The take-overs of the lanes without events have left one row each; the shop's lane was written five times.
    assert!(most_epochs(&wrong.pool).await? <= 6, "{}", most_epochs(&wrong.pool).await?);
    check_log_invariants(&wrong.pool).await?;
    wrong.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scribe_that_starts_with_a_wrong_clock_takes_no_lane() -> Result<()> {
    let url = database().await;
    let (settings, clock, health) = settings(&url, "wrong");
    clock.shift(7_200 * SECOND);
    let backend = Backend::start_with(&url, &settings).await?;
    eventually("the difference is known", async || Ok(!health.reasons().is_empty())).await?;
    let shop = Shop::new(domain::shared::TenantId::new(new_id()));
    let opened = json!({ "product": shop.product, "store": new_id() });
    for _ in 0..20 {
        let answer = backend.send_once(shop.tenant, "OpenStockItem", new_id(), &opened).await?;
        assert!(is_clock_off(&answer), "{answer:?}");
    }
    assert_eq!((backend.scribe.owned_lanes().len(), most_epochs(&backend.pool).await?), (0, 0));
    clock.shift(0);
    eventually("it writes every lane", async || Ok(owns_all(&backend))).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_overs_without_events_leave_one_row_and_tokens_of_rejections_stay_valid() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    backend.execute(shop.tenant, "ReserveStock", &shop.reservation(new_id())).await?;
    backend.close().await;
    let mut named = Vec::new();
    for _ in 0..5 {
        let backend = Backend::start(&url).await?;
        eventually("every lane is taken over", async || Ok(owns_all(&backend))).await?;
        let answer = backend.send(shop.tenant, "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
        let Answer::Settled { settled: Settled::Rejected { epoch, .. }, .. } = answer else {
            anyhow::bail!("{answer:?}")
        };
        named.push(epoch);
        backend.close().await;
    }
    let pool = platform::database::connect(&url).await?;
    let lane = shop.lane(&pool).await?;
    let text = "SELECT epoch FROM log.epochs WHERE lane = $1 ORDER BY since";
    let epochs: Vec<i64> = sqlx::query_scalar(text).bind(lane).fetch_all(&pool).await?;
    assert_eq!(epochs.len(), 2, "the epoch with events, and the last one");
    assert_eq!(named, [epochs[0]; 5], "a rejection names the epoch of the last event");
    let stored = "SELECT DISTINCT epoch FROM log.receipts WHERE lane = $1";
    assert_eq!(sqlx::query_scalar::<_, i64>(stored).bind(lane).fetch_all(&pool).await?, [epochs[0]]);
    assert_eq!(most_epochs(&pool).await?, 2);
    check_log_invariants(&pool).await
}

/// An id that claims to be made this many milliseconds after now.
fn id_ahead(millis: i64) -> Uuid {
    let millis = u64::try_from(now().micros() / 1_000 + millis).expect("after 1970");
    let mut random = [0; 10];
    random.copy_from_slice(&new_id().as_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_answer_holds_at_a_successor_whose_clock_was_behind_at_its_take_over() -> Result<()> {
    let url = database().await;
    let (ahead, clock, _) = settings(&url, "ahead");
    clock.shift(SECOND * 3 / 2);
    let first = Backend::start_with(&url, &ahead).await?;
    let shop = first.shop(10).await?;
    // Ids of a client whose clock is as far ahead as the first scribe accepts.
    let reservation = shop.reservation(new_id());
    let commands = [
        ("ReserveStock", id_ahead(11_000), reservation),
        ("AdjustStock", id_ahead(11_000), json!({ "item": shop.item, "change": -3, "reason": "broken" })),
        ("ReceiveStock", id_ahead(11_000), json!({ "item": shop.item, "units": 5 })),
    ];
    let mut answers = Vec::new();
    for (name, id, body) in &commands {
        answers.push(first.send(shop.tenant, name, *id, body).await?);
    }
    first.close().await;

    let (behind, clock, _) = settings(&url, "behind");
    clock.shift(-SECOND * 3 / 2);
    let second = Backend::start_with(&url, &behind).await?;
    eventually("every lane is taken over", async || Ok(owns_all(&second))).await?;
    clock.shift(SECOND * 3 / 2);
    for ((name, id, body), answer) in commands.iter().zip(answers) {
        let Answer::Settled { settled: Settled::Accepted(accepted), .. } = answer else {
            anyhow::bail!("{name}: {answer:?}")
        };
        let again = second.send(shop.tenant, name, *id, body).await?;
        assert_eq!(again, Answer::Settled { settled: Settled::Accepted(accepted), replayed: true }, "{name}");
    }
    check_log_invariants(&second.pool).await?;
    second.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_without_a_scribe_refuses_at_once_while_its_clock_is_off() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    let clock = Clock::default();
    clock.shift(7_200 * SECOND);
    let monitor = ClockMonitor::new(clock.clone(), Health::default());
    compare_clocks(&backend.pool, &monitor).await?;
    let key = ForwardingKey::new(&OuterKey::from_base64(OUTER_KEY)?);
    let stop = CancellationToken::new();
    let dispatch =
        Dispatch::start(backend.pool.clone(), None, key, StateRegistry::all(), monitor, stop.clone()).await?;
    let envelope = backend.envelope(shop.tenant, "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
    let answers = dispatch.submit(shop.tenant, false, vec![envelope]).await;
    // Without the refusal, the process looks for an owner for eight seconds and answers `LaneElsewhere`.
    assert!(answers.iter().all(is_clock_off), "{answers:?}");
    stop.cancel();
    backend.close().await;
    Ok(())
}
