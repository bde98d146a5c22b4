//! One turn of a cursor: telling its address what is new, one event after the other, until one fails or nothing is left.

use std::time::Duration;

use commands::integrations::PauseSubscription;
use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope};
use domain::integrations::WebhookTerms;
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, Reason, Seconds, Timestamp};
use tokio::time::Instant;

use super::WebhookRunner;
use super::cursors::{Attempt, Cursor, Stand};
use super::guard::Forbidden;
use super::line::{Headers, Reply, Trouble};
use super::log::{self, Standing};
use super::telling::Telling;
use platform::clock::{new_id, now};
use work::{later, random};

/// Looks at the log in one turn; then others have theirs.
const LOOKS_MOST: usize = 4;
/// No attempt is begun later than this in a turn.
const TURN_MOST: Duration = Duration::from_secs(5);
/// Whoever takes longer to answer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How long to wait where nobody says where a name leads.
const NAMES_RETRY: Duration = Duration::from_secs(15);
/// How long to wait where the pause that must follow could not be written down.
const PAUSE_RETRY: Seconds = Seconds(60);
/// Receivers say that they are gone for good.
const GONE: u16 = 410;

/// Whether a turn goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Over,
}

impl WebhookRunner {
    pub(super) async fn take_turn(&self, mut cursor: Cursor) -> Result<(), sqlx::Error> {
        let begun = Instant::now();
        for _ in 0..LOOKS_MOST {
            if self.look(&mut cursor, begun).await? == Flow::Over {
                return Ok(());
            }
        }
        self.rest(&mut cursor).await
    }

    /// Tells what one look at the log finds.
    async fn look(&self, cursor: &mut Cursor, begun: Instant) -> Result<Flow, sqlx::Error> {
        let mut store = self.pool.acquire().await?;
        let seen = log::standing(&mut store, cursor.lane, cursor.tenant, cursor.subscription).await?;
        let Some(terms) = seen.state.active_terms() else {
            // Whoever keeps the cursors was told, or will be.
            drop(store);
            return self.wait_for_a_person(cursor).await;
        };
        let news = log::news(&mut store, cursor.lane, cursor.tenant, cursor.position, cursor.upto, terms).await?;
        drop(store);
        for event in &news.events {
            if begun.elapsed() >= TURN_MOST {
                return self.rest(cursor).await.map(|()| Flow::Over);
            }
            if self.tell(cursor, &seen, terms, event).await? == Flow::Over {
                return Ok(Flow::Over);
            }
        }
        if cursor.upto.is_some_and(|upto| news.upto >= upto) {
            let done = Stand { position: news.upto, attempts: 0, due_at: None };
            cursor.step(&self.pool, done).await?;
            return Ok(Flow::Over);
        }
        let ours = cursor.position == news.upto || {
            let passed = Stand { position: news.upto, attempts: 0, due_at: Some(later(now(), self.limits.lease())) };
            cursor.step(&self.pool, passed).await?
        };
        match (ours, news.more) {
            (true, true) => Ok(Flow::On),
            (true, false) => self.rest(cursor).await.map(|()| Flow::Over),
            (false, _) => Ok(Flow::Over),
        }
    }

    /// One attempt for one event.
    async fn tell(
        &self,
        cursor: &mut Cursor,
        seen: &Standing,
        terms: &WebhookTerms,
        event: &Telling,
    ) -> Result<Flow, sqlx::Error> {
        let (begun_at, begun) = (now(), Instant::now());
        let reply = self.attempt(cursor, seen, terms, event).await;
        let took = begun.elapsed();
        cursor.slow = took > SLOW;
        let (status, trouble) = match &reply {
            Ok(reply) if (200..300).contains(&reply.status) => (Some(reply.status), None),
            Ok(reply) => (Some(reply.status), Some(format!("the answer was {}", reply.status))),
            // That is our trouble, and none of theirs.
            Err(Trouble::Forbidden(Forbidden::NamesAway)) => return self.wait_for_names(cursor).await,
            Err(trouble) => (None, Some(trouble.to_string())),
        };
        let number = cursor.attempts.saturating_add(1);
        let made = Attempt { event, number, begun_at, took, status, trouble: trouble.as_deref() };
        let Some(trouble) = &trouble else {
            metrics::counter!("cartulary_webhooks_delivered_total").increment(1);
            let due_at = Some(later(now(), self.limits.lease()));
            let ours =
                cursor.settle(&self.pool, Stand { position: event.position, attempts: 0, due_at }, &made).await?;
            return Ok(if ours { Flow::On } else { Flow::Over });
        };
        metrics::counter!("cartulary_webhook_failures_total").increment(1);
        let pause = match status {
            Some(GONE) => None,
            _ => self.limits.pause(number, reply.ok().and_then(|reply| reply.retry_after), random()),
        };
        // The pause of the subscription comes first: a crash in between costs one attempt more, and hides nothing. Where
        // somebody decided something about it meanwhile, such as another address, that is tried first.
        let (attempts, due_at) = match pause {
            Some(pause) => (number, Some(later(now(), pause))),
            None if !self.is_still(cursor, seen).await? => (cursor.attempts, Some(now())),
            None => (number, self.give_up(cursor, number, trouble).await),
        };
        let stand = Stand { position: cursor.position, attempts, due_at };
        cursor.settle(&self.pool, stand, &made).await?;
        Ok(Flow::Over)
    }

    async fn attempt(
        &self,
        cursor: &Cursor,
        seen: &Standing,
        terms: &WebhookTerms,
        event: &Telling,
    ) -> Result<Reply, Trouble> {
        let body = event.body().map_err(|_| Trouble::Unsendable("the event does not read"))?;
        let (at, id) = (now(), event.id.to_string());
        let timestamp = at.micros().div_euclid(1_000_000);
        let mut signatures = Vec::new();
        for (generation, _) in seen.state.generations(at) {
            let secret = self.keys.secret(cursor.tenant, cursor.subscription, generation);
            let secret = secret.map_err(|_| Trouble::Unsendable("the secret cannot be made"))?;
            signatures.push(secret.sign(&id, timestamp, &body));
        }
        let headers = Headers { id, timestamp, signature: signatures.join(" ") };
        self.line.post(&terms.url, &headers, body, at, self.limits.attempt_time_most).await
    }

    /// Whether nothing was decided about the subscription since it was looked at.
    async fn is_still(&self, cursor: &Cursor, seen: &Standing) -> Result<bool, sqlx::Error> {
        let mut store = self.pool.acquire().await?;
        let today = log::standing(&mut store, cursor.lane, cursor.tenant, cursor.subscription).await?;
        Ok(today.is_as(seen))
    }

    /// Has the subscription paused, for everybody to see why. Says when to try again where that cannot be done now.
    async fn give_up(&self, cursor: &Cursor, attempts: i32, trouble: &str) -> Option<Timestamp> {
        let again = Some(now().after(PAUSE_RETRY));
        let reason = format!("tried {attempts} times; at last: {trouble}");
        let (subscription, Ok(reason)) = (cursor.subscription, reason.parse::<Reason>()) else { return again };
        tracing::warn!(%subscription, %reason, "a webhook is paused");
        let command = PauseSubscription { subscription, reason };
        let body = AnyCommand::to_json(&command).unwrap_or_default();
        let envelope = Envelope {
            id: CommandId::new(new_id()),
            fingerprint: self.vault.fingerprint(body.as_bytes()).into(),
            command: Box::new(command),
            principal: Principal::ENGINE,
            actor: Actor::Engine("webhooks".into()),
            correlation: None,
            causation: None,
            deadline: None,
            id_is_new: true,
            person_keys: vec![],
        };
        match self.scribe.submit(cursor.tenant, true, vec![envelope]).await.pop() {
            Some(Answer::Settled { .. }) => None,
            _ => again,
        }
    }

    /// Due again when something is new.
    async fn rest(&self, cursor: &mut Cursor) -> Result<(), sqlx::Error> {
        let stand = Stand { position: cursor.position, attempts: cursor.attempts, due_at: Some(now()) };
        cursor.step(&self.pool, stand).await.map(|_| ())
    }

    async fn wait_for_names(&self, cursor: &mut Cursor) -> Result<Flow, sqlx::Error> {
        let due_at = Some(later(now(), NAMES_RETRY));
        let stand = Stand { position: cursor.position, attempts: cursor.attempts, due_at };
        cursor.step(&self.pool, stand).await?;
        Ok(Flow::Over)
    }

    async fn wait_for_a_person(&self, cursor: &mut Cursor) -> Result<Flow, sqlx::Error> {
        let stand = Stand { position: cursor.position, attempts: cursor.attempts, due_at: None };
        cursor.step(&self.pool, stand).await?;
        Ok(Flow::Over)
    }
}
