//! Delivery: sends the new events of one cursor, one after another, until one fails or none is left.

use std::ops::ControlFlow;
use std::time::Duration;

use commands::integrations::PauseSubscription;
use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope};
use domain::integrations::WebhookTerms;
use domain::shared::{CommandId, Reason, Timestamp};
use platform::clock::{new_id, now, time_after};
use tokio::time::Instant;

use super::cursors::{AttemptRecord, Cursor, CursorUpdate};
use super::guard::Forbidden;
use super::http_client::{MessageHeaders, Reply, SendError};
use super::log_reader::{self, Subscription};
use super::message::Message;
use super::runner::WebhookRunner;

/// Maximum number of reads of the log in one delivery; then other cursors get their share.
const READS_MOST: usize = 4;
/// Time after which a delivery starts no further attempt.
const DELIVERY_TIME_MOST: Duration = Duration::from_secs(5);
/// Time to an answer above which a receiver counts as slow.
const SLOW: Duration = Duration::from_secs(1);
/// Delay before the next attempt if the name of the URL cannot be resolved at present.
const RESOLVER_RETRY_DELAY: Duration = Duration::from_secs(15);
/// Delay before the next attempt if the subscription could not be paused after the last one.
const PAUSE_RETRY_DELAY: Duration = Duration::from_secs(60);
/// 410 Gone: the receiver wants no further messages.
const GONE: u16 = 410;

/// Continue: the delivery goes on with the next event. Break: it is over.
type Flow = ControlFlow<()>;

impl WebhookRunner {
    pub(super) async fn deliver(&self, mut cursor: Cursor) -> Result<(), sqlx::Error> {
        let started = Instant::now();
        for _ in 0..READS_MOST {
            if self.deliver_batch(&mut cursor, started).await?.is_break() {
                return Ok(());
            }
        }
        self.reschedule(&mut cursor, Some(now())).await.map(|_| ())
    }

    /// Sends the events of one read of the log.
    async fn deliver_batch(&self, cursor: &mut Cursor, started: Instant) -> Result<Flow, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let subscription =
            log_reader::subscription(&mut connection, cursor.lane, cursor.tenant, cursor.subscription).await?;
        let Some(terms) = subscription.state.active_terms() else {
            // Paused or ended: the reconciliation of the cursors schedules it again, if it is ever resumed.
            drop(connection);
            return self.reschedule(cursor, None).await;
        };
        let batch =
            log_reader::events(&mut connection, cursor.lane, cursor.tenant, cursor.position, cursor.upto, terms)
                .await?;
        drop(connection);
        for message in &batch.messages {
            if started.elapsed() >= DELIVERY_TIME_MOST {
                return self.reschedule(cursor, Some(now())).await;
            }
            if self.send(cursor, &subscription, terms, message).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if cursor.upto.is_some_and(|upto| batch.upto >= upto) {
            let end = CursorUpdate { position: batch.upto, attempts: 0, due_at: None };
            cursor.move_to(&self.pool, end).await?;
            return Ok(ControlFlow::Break(()));
        }
        let is_ours = cursor.position == batch.upto || {
            let due_at = Some(time_after(now(), self.limits.lease()));
            cursor.move_to(&self.pool, CursorUpdate { position: batch.upto, attempts: 0, due_at }).await?
        };
        match (is_ours, batch.more) {
            (true, true) => Ok(ControlFlow::Continue(())),
            (true, false) => self.reschedule(cursor, Some(now())).await,
            (false, _) => Ok(ControlFlow::Break(())),
        }
    }

    /// Makes one attempt to send a message and stores its result.
    async fn send(
        &self,
        cursor: &mut Cursor,
        subscription: &Subscription,
        terms: &WebhookTerms,
        message: &Message,
    ) -> Result<Flow, sqlx::Error> {
        let (begun_at, started) = (now(), Instant::now());
        let reply = self.post(cursor, subscription, terms, message).await;
        let took = started.elapsed();
        cursor.slow = took > SLOW;
        let (status, error) = match &reply {
            Ok(reply) if (200..300).contains(&reply.status) => (Some(reply.status), None),
            Ok(reply) => (Some(reply.status), Some(format!("the answer was {}", reply.status))),
            // A failure on our side: it does not count as an attempt.
            Err(SendError::Forbidden(Forbidden::ResolverUnavailable)) => {
                return self.reschedule(cursor, Some(time_after(now(), RESOLVER_RETRY_DELAY))).await;
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let number = cursor.attempts.saturating_add(1);
        let attempt = AttemptRecord { message, number, begun_at, took, status, error: error.as_deref() };
        let Some(error) = &error else {
            metrics::counter!("cartulary_webhooks_delivered_total").increment(1);
            let due_at = Some(time_after(now(), self.limits.lease()));
            let update = CursorUpdate { position: message.position, attempts: 0, due_at };
            let is_ours = cursor.record(&self.pool, update, &attempt).await?;
            return Ok(if is_ours { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
        };
        metrics::counter!("cartulary_webhook_failures_total").increment(1);
        let delay = match status {
            Some(GONE) => None,
            _ => self.limits.retry_delay(number, reply.ok().and_then(|reply| reply.retry_after)),
        };
        // The subscription is paused before the attempt is stored: a crash in between costs one more attempt and hides
        // nothing. If the subscription has changed in between, for example to another URL, the new terms are tried
        // first.
        let (attempts, due_at) = match delay {
            Some(delay) => (number, Some(time_after(now(), delay))),
            None if !self.is_unchanged(cursor, subscription).await? => (cursor.attempts, Some(now())),
            None => (number, self.pause_subscription(cursor, number, error).await),
        };
        cursor.record(&self.pool, CursorUpdate { position: cursor.position, attempts, due_at }, &attempt).await?;
        Ok(ControlFlow::Break(()))
    }

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

    /// Checks that the subscription has no new events since it was read.
    async fn is_unchanged(&self, cursor: &Cursor, before: &Subscription) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let today = log_reader::subscription(&mut connection, cursor.lane, cursor.tenant, cursor.subscription).await?;
        Ok(today.sequence == before.sequence)
    }

    /// Pauses the subscription with the last error as its reason. Returns the time of the next attempt if that is not
    /// possible now.
    async fn pause_subscription(&self, cursor: &Cursor, attempts: i32, error: &str) -> Option<Timestamp> {
        let retry_at = Some(time_after(now(), PAUSE_RETRY_DELAY));
        let reason = format!("tried {attempts} times; last error: {error}");
        let (subscription, Ok(reason)) = (cursor.subscription, reason.parse::<Reason>()) else { return retry_at };
        tracing::warn!(%subscription, %reason, "a webhook subscription is paused");
        let command = PauseSubscription { subscription, reason };
        let body = AnyCommand::to_json(&command).unwrap_or_default();
        let fingerprint = self.vault.fingerprint(body.as_bytes()).into();
        let id = CommandId::new(new_id());
        let envelope = Envelope::of_engine(id, fingerprint, Box::new(command), "webhooks".into(), None);
        let envelope = Envelope { id_is_new: true, ..envelope };
        match self.scribe.submit(cursor.tenant, true, vec![envelope]).await.pop() {
            Some(Answer::Settled { .. }) => None,
            _ => retry_at,
        }
    }

    /// Ends the delivery at the present position and sets when the cursor is due again: now means when there is a new
    /// event, none means when reconciliation changes it.
    async fn reschedule(&self, cursor: &mut Cursor, due_at: Option<Timestamp>) -> Result<Flow, sqlx::Error> {
        let update = CursorUpdate { position: cursor.position, attempts: cursor.attempts, due_at };
        cursor.move_to(&self.pool, update).await?;
        Ok(ControlFlow::Break(()))
    }
}
