//! Webhooks to addresses that fail or are slow: retries, limits of concurrent runs, and the end of the delay after a
//! failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::port::{Breaker, DeadLetterKind, LetterRemoval, Webhooks, Work};
use async_trait::async_trait;
use commands::kernel::Commands;
use domain::shared::WebhookSubscriptionId;
use lab::harness::victim::WEBHOOK_LIMITS;
use lab::harness::{Backend, Receiver, ReceiverReply, Shop, database, eventually, loopback_guard, place_orders};
use outside::webhooks::{HttpClient, Resolver, WebhookLimits};
use serde_json::json;
use tokio::runtime::Handle;
use work::queue::CircuitBreaker;
use work::{DeadLetters, Operations, pause_work, resume_work};

use crate::webhooks::{has_cursor, looked_for_work, pause_reason, resume, subscribe};

/// Retry delays that no test outlives.
const HOURS: [Duration; 9] = [Duration::from_secs(3_600); 9];
/// Attempts that no test outlives.
const ENDLESS: WebhookLimits = WebhookLimits { attempt_time_most: Duration::from_secs(3_600), ..WEBHOOK_LIMITS };

/// Changes address and description of a subscription.
async fn change(
    backend: &Backend,
    shop: &Shop,
    subscription: WebhookSubscriptionId,
    to: &Receiver,
    words: &str,
) -> Result<()> {
    let body =
        json!({ "subscription": subscription, "url": to.url(), "events": ["order.placed"], "description": words });
    backend.execute(shop.tenant, "ChangeSubscription", &body).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_delivery_is_retried_at_once_when_the_address_is_changed() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let patient = WebhookLimits { retry_schedule: &HOURS, ..WEBHOOK_LIMITS };
    let webhooks = backend.run_webhooks(patient)?;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for (odd, trouble) in [
        (format!("http://{closed}/"), "no connection to the address could be made"),
        (
            format!("https://{}/", receiver.address),
            "no TLS connection could be made with a trusted certificate for this name",
        ),
        ("https://10.255.255.1/".to_owned(), "the host has no address that may be called"),
        ("http://nowhere.invalid/".to_owned(), "the host has no address that may be called"),
    ] {
        let subscription = subscribe(&backend, &shop, &odd, &["order.placed"]).await?;
        place_orders(&backend, &shop, 1).await?;
        eventually("the attempt fails", async || {
            Ok(!webhooks.deliveries(shop.tenant, subscription, None, 1).await?.is_empty())
        })
        .await?;
        let made = webhooks.deliveries(shop.tenant, subscription, None, 1).await?;
        assert_eq!((made[0].trouble.as_deref(), made[0].status), (Some(trouble), None), "{odd}");
        let before = receiver.accepted_positions().len();
        change(&backend, &shop, subscription, &receiver, "repaired").await?;
        eventually("the event arrives", async || Ok(receiver.accepted_positions().len() > before)).await?;
        backend.execute(shop.tenant, "Unsubscribe", &json!({ "subscription": subscription })).await?;
        eventually("the cursor is deleted", async || Ok(!has_cursor(&backend.pool, subscription).await?)).await?;
    }
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_without_answers_use_the_runs_of_one_tenant_and_block_no_other_tenant() -> Result<()> {
    let (url, dead, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let (greedy, other) = (backend.shop(100).await?, backend.shop(100).await?);
    // An attempt outlives the test, so an event that waited for the end of one would not arrive.
    backend.run_webhooks(ENDLESS)?;
    dead.replies(&[], ReceiverReply::NoAnswer);
    for _ in 0..12 {
        subscribe(&backend, &greedy, &dead.url(), &["order.placed"]).await?;
    }
    let healthy = subscribe(&backend, &other, &well.url(), &["order.placed"]).await?;
    eventually("all cursors are there", async || Ok(has_cursor(&backend.pool, healthy).await?)).await?;
    place_orders(&backend, &greedy, 1).await?;
    eventually("the dead addresses are called", async || Ok(dead.received().len() == ENDLESS.tenant_runs_most)).await?;
    for placed in 1..=10 {
        place_orders(&backend, &other, 1).await?;
        eventually("the event arrives", async || Ok(well.accepted_positions().len() == placed)).await?;
    }
    assert_eq!(dead.received().len(), ENDLESS.tenant_runs_most, "a tenant has more runs than its limit");
    assert!(Handle::current().metrics().num_workers() < ENDLESS.tenant_runs_most);
    proofs::proven("ES-19 more addresses than there are threads never answer, and others get their webhooks");
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_addresses_leave_runs_for_the_others() -> Result<()> {
    let (url, slow, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let (busy, other) = (backend.shop(100).await?, backend.shop(100).await?);
    // The slow addresses could use all four runs if one were not left to healthy ones.
    backend.run_webhooks(WebhookLimits { runs_most: 4, degraded_runs_most: 3, ..ENDLESS })?;
    slow.replies(&[], ReceiverReply::SlowAccepted);
    for _ in 0..4 {
        subscribe(&backend, &busy, &slow.url(), &["order.placed"]).await?;
    }
    let healthy = subscribe(&backend, &other, &well.url(), &["order.placed"]).await?;
    eventually("all cursors are there", async || Ok(has_cursor(&backend.pool, healthy).await?)).await?;
    place_orders(&backend, &busy, 60).await?;
    // A cursor is marked as slow by its first attempt, and claimed as degraded from its next run on.
    let (pool, tenant) = (&backend.pool, busy.tenant);
    let all_slow = "SELECT bool_and(slow) FROM work.queues WHERE tenant = $1 AND kind = 'webhooks'";
    eventually("all are known to be slow", async || {
        Ok(sqlx::query_scalar(all_slow).bind(tenant.uuid()).fetch_one(pool).await?)
    })
    .await?;
    let turns = "SELECT fence FROM work.queues WHERE tenant = $1 AND kind = 'webhooks' ORDER BY name";
    let turns =
        async || -> Result<Vec<i64>> { Ok(sqlx::query_scalar(turns).bind(tenant.uuid()).fetch_all(pool).await?) };
    let first = turns().await?;
    eventually("each slow address has another run", async || {
        Ok(turns().await?.iter().zip(&first).all(|(now, first)| now > first))
    })
    .await?;
    ensure!(slow.received().len() < 4 * 60, "the slow addresses have all their messages");
    // From now on an attempt of a slow address does not end.
    slow.replies(&[], ReceiverReply::NoAnswer);
    for placed in 1..=3 {
        place_orders(&backend, &other, 1).await?;
        eventually("the event arrives", async || Ok(well.accepted_positions().len() == placed)).await?;
    }
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_that_is_changed_during_the_last_attempt_is_not_paused() -> Result<()> {
    let (url, dead, well) = (database().await, Receiver::open().await?, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WebhookLimits { retry_schedule: &[], ..WEBHOOK_LIMITS })?;
    dead.replies(&[], ReceiverReply::NoAnswer);
    let subscription = subscribe(&backend, &shop, &dead.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 1).await?;
    eventually("the dead address is called", async || Ok(dead.received().len() == 1)).await?;
    change(&backend, &shop, subscription, &well, "repaired").await?;
    // A pause would be written before the attempt is recorded.
    eventually("the attempt has failed", async || {
        let made = webhooks.deliveries(shop.tenant, subscription, None, 200).await?;
        Ok(made.iter().any(|made| made.trouble.is_some()))
    })
    .await?;
    assert_eq!(pause_reason(&backend.pool, subscription).await?, None);
    place_orders(&backend, &shop, 1).await?;
    eventually("both arrive", async || Ok(well.accepted_positions().len() == 2)).await?;
    assert_eq!(pause_reason(&backend.pool, subscription).await?, None);
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_changes_and_replays_do_not_end_the_delay_before_a_retry_and_a_resumption_does() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let webhooks = backend.run_webhooks(WebhookLimits { retry_schedule: &HOURS, ..WEBHOOK_LIMITS })?;
    receiver.replies(&[], ReceiverReply::Status(500));
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 1).await?;
    let made = async |replay: bool| {
        let made = webhooks.deliveries(shop.tenant, subscription, None, 200).await?;
        Ok::<_, anyhow::Error>(made.iter().filter(|made| made.replay == replay).count())
    };
    eventually("the attempt fails", async || Ok(made(false).await? == 1)).await?;
    change(&backend, &shop, subscription, &receiver, "other words").await?;
    let range = json!({ "subscription": subscription, "from": 1, "to": 1_000_000 });
    backend.execute(shop.tenant, "ReplayEvents", &range).await?;
    eventually("the range is tried", async || Ok(made(true).await? == 1)).await?;
    backend.execute(shop.tenant, "ReplayEvents", &range).await?;
    looked_for_work(&backend.pool, 1).await?;
    assert_eq!((made(false).await?, made(true).await?), (1, 1), "an attempt before its time");
    backend
        .execute(shop.tenant, "PauseSubscription", &json!({ "subscription": subscription, "reason": "by hand" }))
        .await?;
    resume(&backend, &shop, subscription).await?;
    eventually("it is tried at once", async || Ok((made(false).await?, made(true).await?) == (2, 2))).await?;
    backend.close().await;
    Ok(())
}

/// Five attempts in quick succession, and then none for longer than a test.
const FIVE_ATTEMPTS: [Duration; 6] = {
    let (soon, late) = (Duration::from_millis(20), Duration::from_secs(3_600));
    [soon, soon, soon, soon, late, late]
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaker_of_a_subscription_opens_for_its_replay_too_and_one_message_closes_it() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let breaker = CircuitBreaker { failures_most: 5, open_time: Duration::from_secs(3_600) };
    backend.run_webhooks(WebhookLimits { retry_schedule: &FIVE_ATTEMPTS, breaker, ..WEBHOOK_LIMITS })?;
    receiver.replies(&[], ReceiverReply::Status(500));
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    let operations = Operations::new(backend.pool.clone(), Commands::all().into());
    let state = async || -> Result<Option<(Breaker, i32)>> {
        let partner = format!("webhook {subscription}");
        let breakers = operations.breakers(Some(shop.tenant)).await?;
        let found = breakers.into_iter().find(|breaker| breaker.partner == partner);
        Ok(found.map(|breaker| (breaker.state, breaker.failures)))
    };
    place_orders(&backend, &shop, 1).await?;
    eventually("the breaker is open", async || Ok(state().await? == Some((Breaker::Open, 5)))).await?;

    // A replay to the same address waits too.
    let range = json!({ "subscription": subscription, "from": 1, "to": 1_000_000 });
    backend.execute(shop.tenant, "ReplayEvents", &range).await?;
    let ordered = "SELECT EXISTS (SELECT FROM work.webhook_cursors WHERE subscription = $1 AND replay)";
    eventually("the replay is ordered", async || {
        Ok(sqlx::query_scalar(ordered).bind(subscription.uuid()).fetch_one(&backend.pool).await?)
    })
    .await?;
    looked_for_work(&backend.pool, 1).await?;
    assert_eq!(receiver.received().len(), 5, "an attempt while the breaker is open");

    receiver.replies(&[], ReceiverReply::Accepted);
    pause_work(&mut *backend.pool.acquire().await?, "the state is read before the next attempt").await?;
    let end_rest = "UPDATE work.queues SET closed_until = now() - interval '1 second', due_at = '-infinity'
                    WHERE tenant = $1 AND kind = 'webhooks' AND name = $2::text";
    sqlx::query(end_rest).bind(shop.tenant.uuid()).bind(subscription.uuid()).execute(&backend.pool).await?;
    assert_eq!(state().await?, Some((Breaker::HalfOpen, 5)));
    resume_work(&backend.pool).await?;
    eventually("the event and its replay arrive", async || Ok(receiver.accepted_positions().len() == 2)).await?;
    eventually("the breaker is closed", async || Ok(state().await? == Some((Breaker::Closed, 0)))).await?;
    proofs::proven("ES-19 the breaker of a webhook opens, half-opens for one message, and closes");
    proofs::proven("OPS-13 the breakers of webhooks are shown");
    backend.close().await;
    Ok(())
}

/// A resolver whose lookups time out.
#[derive(Clone, Default)]
struct Unanswered(Arc<AtomicUsize>);

#[async_trait]
impl Resolver for Unanswered {
    async fn resolve(&self, _: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_resolver_does_not_count_as_a_failed_attempt() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    let names = Unanswered::default();
    let client = HttpClient::new(loopback_guard()?.with_resolver(names.clone()).into())?;
    // One failed attempt would pause the subscription.
    let webhooks = backend.run_webhooks_over(WebhookLimits { retry_schedule: &[], ..WEBHOOK_LIMITS }, Some(client))?;
    let subscription = subscribe(&backend, &shop, "https://hooks.example.org/", &["order.placed"]).await?;
    place_orders(&backend, &shop, 1).await?;
    let later = "SELECT failures = 0 AND due_at BETWEEN now() AND now() + interval '20 s'
                 FROM work.queues WHERE kind = 'webhooks' AND name = $1::text";
    eventually("the cursor waits for the next lookup", async || {
        let later = sqlx::query_scalar(later).bind(subscription.uuid()).fetch_optional(&backend.pool).await?;
        Ok(names.0.load(Ordering::Relaxed) >= 1 && later == Some(true))
    })
    .await?;
    assert_eq!(webhooks.deliveries(shop.tenant, subscription, None, 1).await?, []);
    assert_eq!(pause_reason(&backend.pool, subscription).await?, None);
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_that_is_paused_after_the_last_attempt_is_a_dead_letter_and_a_requeue_resumes_it() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    let letters = DeadLetters { pool: backend.pool.clone(), commands: Arc::new(Commands::all()) };
    let listed = async || letters.list(Some(shop.tenant), None, 10).await;
    // A pause by the team is no failure.
    let other = subscribe(&backend, &shop, &receiver.url(), &["order.paid"]).await?;
    backend.execute(shop.tenant, "PauseSubscription", &json!({ "subscription": other, "reason": "a holiday" })).await?;

    receiver.replies(&[], ReceiverReply::Status(500));
    let subscription = subscribe(&backend, &shop, &receiver.url(), &["order.placed"]).await?;
    place_orders(&backend, &shop, 1).await?;
    eventually("the pause is a dead letter", async || Ok(listed().await?.len() == 1)).await?;
    let letter = listed().await?.pop().context("a letter")?;
    assert_eq!((letter.kind, &*letter.name), (DeadLetterKind::Webhook, "ResumeSubscription"));
    assert_eq!(letter.body, json!({ "subscription": subscription }));
    assert_eq!(letter.reason, "tried 10 times; last error: the answer was 500");
    receiver.replies(&[], ReceiverReply::Accepted);
    assert!(matches!(letters.requeue(Some(shop.tenant), letter.id).await?, LetterRemoval::Removed(_)));
    eventually("the event arrives", async || Ok(receiver.accepted_positions().len() == 1)).await?;
    eventually("there is no letter", async || Ok(listed().await?.is_empty())).await?;

    // The next pause has a letter of its own, which ends when the tenant resumes the subscription.
    receiver.replies(&[ReceiverReply::Status(410)], ReceiverReply::Accepted);
    place_orders(&backend, &shop, 1).await?;
    eventually("there is another letter", async || {
        Ok(listed().await?.first().is_some_and(|second| second.id != letter.id))
    })
    .await?;
    resume(&backend, &shop, subscription).await?;
    eventually("the next event arrives", async || Ok(receiver.accepted_positions().len() == 2)).await?;
    eventually("there is no letter", async || Ok(listed().await?.is_empty())).await?;
    proofs::proven("ES-12 a webhook that failed for good is a dead letter, and a requeue delivers its events");
    backend.close().await;
    Ok(())
}
