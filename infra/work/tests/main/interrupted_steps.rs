//! Processes that are interrupted in the middle of a step: a restart leads to the same outcome, and no step takes effect
//! twice.

use anyhow::Result;
use domain::inventory::HOLD_TIME;
use domain::shared::TenantId;
use lab::harness::{Backend, Shop, age_by, database, eventually, pending_timers};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::json;
use sqlx::{Executor, PgPool};

/// Makes a statement fail and counts how often it did so. The count survives the end of the transaction.
const INTERRUPT: &str = "
    CREATE SEQUENCE interrupts;
    CREATE FUNCTION interrupt() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('interrupts');
        RAISE EXCEPTION 'interrupted';
    END $$";

/// A statement of the engine, such as `UPDATE ON work.policies`.
struct Step<'a> {
    statement: &'a str,
    table: &'a str,
}

impl Step<'_> {
    async fn arm(&self, pool: &PgPool) -> Result<()> {
        let Self { statement, table } = self;
        let text = format!(
            "ALTER SEQUENCE interrupts RESTART; CREATE TRIGGER interrupt BEFORE {statement} ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION interrupt()"
        );
        pool.execute(&*text).await?;
        Ok(())
    }

    async fn disarm(&self, pool: &PgPool) -> Result<()> {
        pool.execute(&*format!("DROP TRIGGER interrupt ON {}", self.table)).await?;
        Ok(())
    }

    async fn has_failed(&self, pool: &PgPool) -> Result<bool> {
        Ok(sqlx::query_scalar("SELECT is_called FROM interrupts").fetch_one(pool).await?)
    }
}

/// Events that the processes of policies have led to.
async fn outcome(pool: &PgPool) -> Result<Vec<(String, i64)>> {
    let text = "SELECT type, count(*) FROM log.events
                WHERE type IN ('tenant.opened', 'points.earned', 'order.cancelled', 'stock.reservation_expired')
                GROUP BY type ORDER BY type";
    Ok(sqlx::query_as(text).fetch_all(pool).await?)
}

/// An order that is paid, one that is not, and the registration of a tenant.
async fn prepare(backend: &Backend) -> Result<()> {
    let shop: Shop = backend.shop(2).await?;
    let rules = json!({ "purchase": { "points": 1, "per_minor": 100 }, "signup": null });
    backend.execute(shop.tenant, "SetEarningRules", &rules).await?;
    backend.execute(shop.tenant, "EnableProgram", &json!({})).await?;
    let (paid, unpaid) = (new_id(), new_id());
    for order in [paid, unpaid] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
    }
    backend.execute(shop.tenant, "RecordPayment", &shop.payment(paid)).await?;
    let register = json!({
        "tenant": new_id(), "name": "Corner shop", "subdomain": "corner", "contact_email": "office@example.org",
        "currency": "USD", "zone": "Europe/Berlin",
    });
    backend.execute(TenantId::PLATFORM, "RegisterTenant", &register).await?;
    Ok(())
}

/// Outcomes by the name of their event, in order, and the number of timers that wait.
type Expected = (Vec<(String, i64)>, i64);

fn expected(events: &[(&str, i64)], timers: i64) -> Expected {
    (events.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(), timers)
}

async fn is_reached(pool: &PgPool, (events, timers): &Expected) -> Result<bool> {
    Ok(outcome(pool).await? == *events && pending_timers(pool).await? == *timers)
}

/// Runs policies, which fail in this step, and stops them as soon as they did. A step that is not needed does not fail.
async fn run_interrupted(url: &str, pool: &PgPool, step: &Step<'_>, end: &Expected) -> Result<()> {
    step.arm(pool).await?;
    let mut backend = Backend::start(url).await?;
    backend.run_policies();
    eventually("the step has failed, or was not needed", async || {
        Ok(step.has_failed(pool).await? || is_reached(pool, end).await?)
    })
    .await?;
    backend.close().await;
    step.disarm(pool).await
}

async fn restart_leads_to_one_outcome(step: Step<'_>) -> Result<()> {
    let url = database().await;
    let pool = platform::database::connect(&url).await?;
    pool.execute(INTERRUPT).await?;
    // Points are awarded for orders that are paid after the policy was introduced.
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let introduced = "SELECT EXISTS (SELECT FROM work.policies)";
    eventually("the policies are introduced", async || Ok(sqlx::query_scalar(introduced).fetch_one(&pool).await?))
        .await?;
    backend.close().await;
    let backend = Backend::start(&url).await?;
    prepare(&backend).await?;
    backend.close().await;

    // The points, the tenant and the timers; then the end of the unpaid order.
    let early = expected(&[("points.earned", 1), ("tenant.opened", 2)], 2);
    let late = [("order.cancelled", 1), ("points.earned", 1), ("stock.reservation_expired", 1), ("tenant.opened", 2)];
    let late = expected(&late, 0);
    for (seconds, end) in [(0, early), (HOLD_TIME.0 + 1, late)] {
        age_by(&pool, seconds).await?;
        run_interrupted(&url, &pool, &step, &end).await?;
        let mut backend = Backend::start(&url).await?;
        backend.run_policies();
        eventually("the outcomes are there, once", async || is_reached(&pool, &end).await).await?;
        backend.close().await;
    }
    let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM work.dead_letters").fetch_one(&pool).await?;
    assert_eq!(letters, 0);
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_were_answered_and_the_position_was_not_written() -> Result<()> {
    restart_leads_to_one_outcome(Step { statement: "UPDATE", table: "work.policies" }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timer_was_not_stored() -> Result<()> {
    restart_leads_to_one_outcome(Step { statement: "INSERT", table: "work.timers" }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timer_was_stored_and_its_queue_was_not_woken() -> Result<()> {
    restart_leads_to_one_outcome(Step { statement: "INSERT", table: "work.queues" }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_of_a_timer_was_answered_and_the_timer_was_not_deleted() -> Result<()> {
    restart_leads_to_one_outcome(Step { statement: "DELETE", table: "work.timers" }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_could_not_be_claimed_or_released() -> Result<()> {
    restart_leads_to_one_outcome(Step { statement: "UPDATE", table: "work.queues" }).await
}
