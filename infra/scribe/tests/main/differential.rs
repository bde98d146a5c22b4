//! Differential test: the same scripts through cqrs-es on postgres-es and through the scribe give the same events.
//!
//! The scribe decides first; its time of decision is passed to the same verb on the other side.

use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use commands::scribe::{Answer, Settled};
use cqrs_es::AggregateError;
use domain::kernel::{Aggregate, Decision, Encoded, StreamId, encode};
use domain::shared::{Date, StoreId, TenantId, Timestamp, Zone};
use domain::tenancy::Tenant;
use lab::cqrs_es_adapter::{self, CqrsEsAggregate};
use lab::harness::{Backend, Shop, database};
use platform::clock::new_id;
use postgres_es::PostgresCqrs;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};
use uuid::Uuid;

mod loyalty;
mod orders;
mod stock;

/// Steps of one script.
const STEPS: usize = 200;
/// Streams of one script.
const STREAMS: u64 = 5;

/// One step, as a command for the scribe and as a verb of the aggregate.
struct Step<A: Aggregate> {
    command: &'static str,
    body: Value,
    stream: Uuid,
    verb: VerbAt<A>,
}

type VerbAt<A> = Arc<dyn Fn(&A, Timestamp) -> Decision<A> + Send + Sync>;

impl<A: Aggregate> Step<A> {
    fn new(
        (command, body): (&'static str, Value),
        stream: A::Id,
        verb: impl Fn(&A, Timestamp) -> Decision<A> + Send + Sync + 'static,
    ) -> Self {
        Self { command, body, stream: stream.uuid(), verb: Arc::new(verb) }
    }
}

/// The scribe and cqrs-es, with a tenant to write in.
struct Pair {
    backend: Backend,
    /// Pool of cqrs-es.
    cqrs_es: PgPool,
    shop: Shop,
    zone: Zone,
}

/// Code of a rejection and its details.
type Refusal = (String, Value);

impl Pair {
    async fn open() -> Result<Self> {
        let url = database().await;
        let backend = Backend::start(&url).await?;
        backend.pool.execute("CREATE SCHEMA cqrs_es").await?;
        let options = PgConnectOptions::from_str(&url)?.options([("search_path", "cqrs_es")]);
        let cqrs_es = PgPoolOptions::new().max_connections(4).connect_with(options).await?;
        cqrs_es.execute(cqrs_es_adapter::SCHEMA_SQL).await?;
        let shop = backend.shop(1_000_000).await?;
        Ok(Self { backend, cqrs_es, shop, zone: "Europe/Berlin".parse()? })
    }

    fn tenant(&self) -> TenantId {
        self.shop.tenant
    }

    fn store(&self) -> StoreId {
        Tenant::first_store(self.shop.tenant)
    }

    /// Gives the date in the shop's zone at a moment.
    fn day(&self) -> impl Fn(Timestamp) -> Date + Send + Sync + Clone + 'static {
        let zone = self.zone.clone();
        move |now| now.date_in(&zone)
    }

    /// Plays a script on both sides and compares every answer, then every event.
    async fn play<A: Aggregate>(self, script: Vec<Step<A>>) -> Result<()> {
        let framework: PostgresCqrs<CqrsEsAggregate<A>> = postgres_es::postgres_cqrs(self.cqrs_es.clone(), vec![], ());
        let mut refused = 0;
        for (number, step) in script.iter().enumerate() {
            let doing = || format!("step {number}, {} {}", step.command, step.body);
            let (ours, at) = self.ours(step).await.with_context(doing)?;
            let verb = step.verb.clone();
            let decided = framework.execute(&step.stream.to_string(), Arc::new(move |state: &A| verb(state, at))).await;
            let theirs = match decided {
                Ok(()) => None,
                Err(AggregateError::UserError(rejection)) => Some(refusal(encode(&rejection)?)?),
                Err(error) => bail!("{}: {error}", doing()),
            };
            ensure!(ours == theirs, "{}: the scribe answers {ours:?}, cqrs-es {theirs:?}", doing());
            refused += usize::from(theirs.is_some());
        }
        // A script in which all steps or none are refused would prove little.
        ensure!((STEPS / 20..STEPS * 4 / 5).contains(&refused), "{refused} of {STEPS} steps were refused");
        let mut streams: Vec<_> = script.iter().map(|step| step.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let mut events = 0;
        for stream in streams {
            let (ours, theirs) = (self.our_events(A::TYPE, stream).await?, self.their_events(A::TYPE, stream).await?);
            assert_eq!(ours, theirs, "{} {stream}", A::TYPE);
            events += ours.len();
        }
        ensure!(events >= STEPS / 4, "only {events} events in {STEPS} steps");
        self.cqrs_es.close().await;
        self.backend.close().await;
        Ok(())
    }

    /// Refusal by the scribe, or `None` if it accepts, and its time of decision.
    async fn ours<A: Aggregate>(&self, step: &Step<A>) -> Result<(Option<Refusal>, Timestamp)> {
        match self.backend.send(self.tenant(), step.command, new_id(), &step.body).await? {
            Answer::Settled { settled: Settled::Accepted(accepted), .. } => Ok((None, accepted.recorded_at)),
            Answer::Settled { settled: Settled::Rejected { rejected, recorded_at, .. }, .. } => {
                Ok((Some((rejected.code, rejected.details)), recorded_at))
            }
            other => bail!("not decided: {other:?}"),
        }
    }

    async fn our_events(&self, kind: &str, stream: Uuid) -> Result<Vec<(i64, String, String, Value)>> {
        let text = "SELECT sequence, type, version::text, payload FROM log.events
                    WHERE tenant = $1 AND stream_type = $2 AND stream_id = $3 ORDER BY sequence";
        let events = sqlx::query_as(text).bind(self.tenant().uuid()).bind(kind).bind(stream);
        Ok(events.fetch_all(&self.backend.pool).await?)
    }

    async fn their_events(&self, kind: &str, stream: Uuid) -> Result<Vec<(i64, String, String, Value)>> {
        let text = "SELECT sequence, event_type, event_version, payload->event_type FROM events
                    WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence";
        Ok(sqlx::query_as(text).bind(kind).bind(stream.to_string()).fetch_all(&self.cqrs_es).await?)
    }
}

fn refusal(named: Encoded) -> Result<Refusal> {
    Ok((named.name.into(), serde_json::from_str(&named.body)?))
}

/// Pseudo-random numbers that are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    /// One of the few ids of a kind that a script uses.
    fn id(&mut self, kind: u128) -> Uuid {
        Self::numbered(kind, self.below(STREAMS))
    }

    /// All ids of a kind that a script uses.
    fn ids(kind: u128) -> impl Iterator<Item = Uuid> {
        (0..STREAMS).map(move |number| Self::numbered(kind, number))
    }

    fn numbered(kind: u128, number: u64) -> Uuid {
        let version_and_variant = 0x7000_8000_0000_0000_0000;
        Uuid::from_u128((kind << 64) | version_and_variant | u128::from(number + 1))
    }

    /// A number from 1 to 9.
    fn units(&mut self) -> i64 {
        i64::try_from(self.below(9) + 1).expect("a small number")
    }
}
