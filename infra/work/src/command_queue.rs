//! Command queues: due timers, and commands of policies that were not decided at once. Each tenant has one queue.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use commands::kernel::NotNow;
use domain::shared::TenantId;
use platform::clock::{now, time_after};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::dispatcher::Dispatcher;
use crate::queue::{Lease, QueueKey, QueueLimits, QueueWork, RunEnd};
use crate::timer_table::{Timer, delete_fired, read_due};

/// Kind of the queues of commands.
pub(crate) const COMMANDS: &str = "commands";
/// Time after which a run reads no further page, so that the queues of other tenants come first.
const RUN_TIME_MOST: Duration = Duration::from_secs(1);
/// Delay after the first not-now of a tenant; doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Longest delay of a tenant. Its other timers wait as long, so it is short.
const DELAY_MOST: Duration = Duration::from_secs(1);

/// Sends the commands of due timers and deletes the timers whose commands are decided. While two processes have the same
/// lane, both may send a command, and the second gets the answer of the first.
#[derive(Clone)]
pub(crate) struct CommandQueues {
    pub(crate) pool: PgPool,
    pub(crate) dispatcher: Dispatcher,
}

#[async_trait]
impl QueueWork for CommandQueues {
    const KIND: &'static str = COMMANDS;

    /// The lease is short: after a crash of the process, the timers of the tenant wait for its end. Runs are dropped when
    /// the process stops: their timers are still there, and their commands are sent again under the same ids.
    fn limits(&self) -> QueueLimits {
        QueueLimits {
            lease: Duration::from_secs(1),
            runs_most: 256,
            lane_runs_most: 16,
            tenant_runs_most: 1,
            degraded_runs_most: 128,
            stop_grace: Duration::ZERO,
        }
    }

    fn next_due(&self) -> Cow<'static, str> {
        "(SELECT greatest(t.due_at, q.closed_until) FROM work.timers t WHERE t.tenant = q.tenant
          ORDER BY t.due_at LIMIT 1)"
            .into()
    }

    async fn run(&self, lease: &Lease) -> Result<RunEnd, sqlx::Error> {
        let started = Instant::now();
        let mut end = RunEnd::IDLE;
        while started.elapsed() < RUN_TIME_MOST {
            let page = read_due(&self.pool, lease.key.tenant).await?;
            if page.is_empty() {
                break;
            }
            end = RunEnd::SUCCESS;
            if let Some(reason) = self.fire(page).await? {
                return Ok(put_off(lease, &reason));
            }
            if !lease.extend(&self.pool, self.limits().lease).await? {
                break;
            }
        }
        Ok(end)
    }
}

impl CommandQueues {
    /// Sends commands of one tenant and deletes the timers of those that are decided. Returns the reason of the last that is
    /// not.
    async fn fire(&self, due: Vec<Timer>) -> Result<Option<NotNow>, sqlx::Error> {
        let (mut keys, commands): (Vec<_>, Vec<_>) =
            due.into_iter().map(|timer| ((timer.id, timer.command.id), timer.command)).unzip();
        let undecided = self.dispatcher.dispatch(commands).await?;
        let ids: BTreeSet<_> = undecided.iter().map(|(command, _)| command.id).collect();
        keys.retain(|(_, id)| !ids.contains(id));
        delete_fired(&self.pool, &keys).await?;
        Ok(undecided.into_iter().next_back().map(|(_, reason)| reason))
    }
}

/// End of a run with a command that was not decided for this reason.
fn put_off(lease: &Lease, reason: &NotNow) -> RunEnd {
    let failures = lease.failures.saturating_add(1);
    RunEnd {
        worked: true,
        failures: Some(failures),
        closed_until: Some(time_after(now(), delay_after(failures))),
        is_lane_away: concerns_lane(reason),
    }
}

fn delay_after(failures: i32) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0);
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(DELAY_MOST)
}

/// True if other commands of the lane would get the same answer.
const fn concerns_lane(reason: &NotNow) -> bool {
    match reason {
        NotNow::StoreAway
        | NotNow::StoreUnsafe(_)
        | NotNow::ClockOff(_)
        | NotNow::LaneElsewhere
        | NotNow::ShuttingDown => true,
        NotNow::Overloaded { .. }
        | NotNow::KeyStoreAway
        | NotNow::DeadlinePassed
        | NotNow::NotDue
        | NotNow::NotYet { .. }
        | NotNow::SoldOutForNow { .. } => false,
    }
}

/// The queue of the commands of a tenant.
pub(crate) fn queue_of(tenant: TenantId) -> QueueKey {
    QueueKey { kind: COMMANDS, tenant, name: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_of_a_tenant_grows_up_to_a_second() {
        let delays = [1, 2, 3, 4, i32::MAX].map(|failures| delay_after(failures).as_millis());
        assert_eq!(delays, [200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn only_reasons_of_the_process_concern_the_whole_lane() {
        assert!(concerns_lane(&NotNow::StoreAway) && concerns_lane(&NotNow::LaneElsewhere));
        assert!(!concerns_lane(&NotNow::NotDue) && !concerns_lane(&NotNow::Overloaded { retry_after_s: 1 }));
    }
}
