//! Cursor run: sends the new events of one claimed cursor, one after another, until one fails, none is left, or the run
//! has lasted too long.

use std::ops::ControlFlow;
use std::time::Duration;

use commands::integrations::PauseSubscription;
use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope};
use domain::integrations::WebhookTerms;
use domain::shared::{CommandId, Reason};
use platform::clock::{new_id, now, time_after};
use tokio::time::Instant;

use super::cursors::{AttemptRecord, Cursor, CursorUpdate, Next};
use super::guard::Forbidden;
use super::http_client::{MessageHeaders, Reply, SendError};
use super::log_reader::{self, Subscription};
use super::message::Message;
use super::retry_schedule::retry_delay;
use super::runner::WebhookRunner;

/// Maximum number of batches of one run. The cursor is then due again at once, but other due cursors may be claimed
/// first.
const READS_MOST: usize = 4;
/// Time after which a run starts no further attempt.
const RUN_TIME_MOST: Duration = Duration::from_secs(5);
/// Duration of an attempt above which the cursor counts as slow.
const SLOW: Duration = Duration::from_secs(1);
/// Delay before the next run if no name server answers.
const RESOLVER_RETRY_DELAY: Duration = Duration::from_secs(15);
/// Delay before the next run if the subscription could not be paused after its last attempt.
const PAUSE_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Status 410 Gone: the receiver wants no further messages, so the subscription is paused.
const GONE: u16 = 410;

/// Continue: the run goes on with the next event. Break: the run has ended, and the cursor is no longer claimed.
type RunFlow = ControlFlow<()>;

impl WebhookRunner {
    /// Runs a claimed cursor.
    pub(super) async fn run_cursor(&self, cursor: &mut Cursor) -> Result<(), sqlx::Error> {
        let started = Instant::now();
        for _ in 0..READS_MOST {
            if self.run_batch(cursor, started).await?.is_break() {
                return Ok(());
            }
        }
        self.end_run(cursor, Next::At(now())).await.map(|_| ())
    }

    /// Reads a batch of events and sends its messages.
    async fn run_batch(&self, cursor: &mut Cursor, started: Instant) -> Result<RunFlow, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let subscription =
            log_reader::subscription(&mut connection, cursor.lane, cursor.tenant, cursor.subscription).await?;
        let Some(terms) = subscription.state.active_terms() else {
            // The subscription is paused or has ended. When it is resumed, reconciliation makes the cursor due again.
            drop(connection);
            return self.end_run(cursor, Next::Never).await;
        };
        let batch =
            log_reader::events(&mut connection, cursor.lane, cursor.tenant, cursor.position, cursor.replay_end, terms)
                .await?;
        drop(connection);
        for message in &batch.messages {
            if started.elapsed() >= RUN_TIME_MOST {
                return self.end_run(cursor, Next::At(now())).await;
            }
            if self.attempt(cursor, &subscription, terms, message).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if cursor.replay_end.is_some_and(|replay_end| batch.end >= replay_end) {
            let update = CursorUpdate { position: batch.end, attempts: 0, next: Next::Never };
            cursor.move_to(&self.pool, update).await?;
            return Ok(ControlFlow::Break(()));
        }
        // Events that are not sent move the cursor as well.
        let is_claimed = cursor.position == batch.end || {
            let next = Next::GoesOn(self.limits.lease());
            cursor.move_to(&self.pool, CursorUpdate { position: batch.end, attempts: 0, next }).await?
        };
        match (is_claimed, batch.more) {
            (true, true) => Ok(ControlFlow::Continue(())),
            (true, false) => self.end_run(cursor, Next::At(now())).await,
            (false, _) => Ok(ControlFlow::Break(())),
        }
    }

    /// Makes one attempt to send a message and records it.
    async fn attempt(
        &self,
        cursor: &mut Cursor,
        subscription: &Subscription,
        terms: &WebhookTerms,
        message: &Message,
    ) -> Result<RunFlow, sqlx::Error> {
        let (begun_at, started) = (now(), Instant::now());
        let reply = self.post(cursor, subscription, terms, message).await;
        let took = started.elapsed();
        cursor.slow = took > SLOW;
        let (status, error) = match &reply {
            Ok(reply) if (200..300).contains(&reply.status) => (Some(reply.status), None),
            Ok(reply) => (Some(reply.status), Some(format!("the answer was {}", reply.status))),
            // The failure is on our side, so it is not recorded and does not count as an attempt.
            Err(SendError::Forbidden(Forbidden::ResolverUnavailable)) => {
                return self.end_run(cursor, Next::At(time_after(now(), RESOLVER_RETRY_DELAY))).await;
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let number = cursor.attempts.saturating_add(1);
        let attempt = AttemptRecord { message, number, begun_at, took, status, error: error.as_deref() };
        let Some(error) = &error else {
            metrics::counter!("cartulary_webhooks_delivered_total").increment(1);
            let next = Next::GoesOn(self.limits.lease());
            let update = CursorUpdate { position: message.position, attempts: 0, next };
            let is_claimed = cursor.record(&self.pool, update, &attempt).await?;
            return Ok(if is_claimed { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
        };
        metrics::counter!("cartulary_webhook_failures_total").increment(1);
        let delay = match status {
            Some(GONE) => None,
            _ => retry_delay(self.limits.retry_schedule, number, reply.ok().and_then(|reply| reply.retry_after)),
        };
        // After the last attempt the subscription is paused before the attempt is recorded: a crash in between loses
        // the record of the attempt, but not the pause. If the subscription has changed since it was read, for example
        // to another URL, it is not paused but tried again at once.
        let (attempts, next) = match delay {
            Some(delay) => (number, Next::At(time_after(now(), delay))),
            None if !self.is_unchanged(cursor, subscription).await? => (cursor.attempts, Next::At(now())),
            None => (number, self.pause_subscription(cursor, number, error).await),
        };
        cursor.record(&self.pool, CursorUpdate { position: cursor.position, attempts, next }, &attempt).await?;
        Ok(ControlFlow::Break(()))
    }

    /// Signs a message with all valid secrets and posts it.
    async fn post(
        &self,
        cursor: &Cursor,
        subscription: &Subscription,
        terms: &WebhookTerms,
        message: &Message,
    ) -> Result<Reply, SendError> {
        let body = message.body().map_err(|_| SendError::Unsendable("the event cannot be encoded"))?;
        let (at, id) = (now(), message.id.to_string());
        let timestamp = at.micros().div_euclid(1_000_000);
        let mut signatures = Vec::new();
        for (generation, _) in subscription.state.generations(at) {
            let secret = self.keys.secret(cursor.tenant, cursor.subscription, generation);
            let secret = secret.map_err(|_| SendError::Unsendable("the secret cannot be derived"))?;
            signatures.push(secret.sign(&id, timestamp, &body));
        }
        let headers = MessageHeaders { id, timestamp, signature: signatures.join(" ") };
        self.client.post(&terms.url, &headers, body, at, self.limits.attempt_time_most).await
    }

    /// True if the subscription has no new events since it was read, apart from disclosures of its secret.
    async fn is_unchanged(&self, cursor: &Cursor, before: &Subscription) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let current =
            log_reader::subscription(&mut connection, cursor.lane, cursor.tenant, cursor.subscription).await?;
        Ok(current.sequence == before.sequence)
    }

    /// Pauses the subscription, with the last error as the reason. Returns the time of the next run, which is soon if the
    /// subscription cannot be paused now.
    async fn pause_subscription(&self, cursor: &Cursor, attempts: i32, error: &str) -> Next {
        let retry_at = Next::At(time_after(now(), PAUSE_RETRY_DELAY));
        let reason = format!("tried {attempts} times; last error: {error}");
        let (subscription, Ok(reason)) = (cursor.subscription, reason.parse::<Reason>()) else { return retry_at };
        tracing::warn!(%subscription, %reason, "a webhook subscription is paused");
        let command = PauseSubscription { subscription, reason };
        let body = AnyCommand::to_json(&command).unwrap_or_default();
        let fingerprint = self.vault.body_fingerprint(body.as_bytes()).into();
        let id = CommandId::new(new_id());
        let envelope = Envelope::of_engine(id, fingerprint, Box::new(command), "webhooks".into(), None);
        let envelope = Envelope { id_is_new: true, ..envelope };
        match self.dispatch.submit(cursor.tenant, true, vec![envelope]).await.pop() {
            Some(Answer::Settled { .. }) => Next::Never,
            _ => retry_at,
        }
    }

    /// Ends the run at the present position: always returns `Break`. A cursor that is due now is claimed as soon as
    /// there is a new event.
    async fn end_run(&self, cursor: &mut Cursor, next: Next) -> Result<RunFlow, sqlx::Error> {
        let update = CursorUpdate { position: cursor.position, attempts: cursor.attempts, next };
        cursor.move_to(&self.pool, update).await?;
        Ok(ControlFlow::Break(()))
    }
}
