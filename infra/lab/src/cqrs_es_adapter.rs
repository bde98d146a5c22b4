//! Adapter that presents each of our aggregates as a cqrs-es aggregate, so that the unmodified library can run it.
//!
//! Used by the differential test and the benchmarks only, which send the same decisions through both engines.

use std::fmt;
use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use domain::kernel::{Aggregate, Decision, encode};
use serde::{Deserialize, Serialize};

/// One of our aggregates as a cqrs-es aggregate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct CqrsEsAggregate<A: Aggregate>(pub A);

/// A verb with its arguments: the command type of the cqrs-es aggregate.
pub type Verb<A> = Arc<dyn Fn(&A) -> Decision<A> + Send + Sync>;

/// One of our events as a cqrs-es event. Its payload holds our payload under our event name, because cqrs-es decodes an
/// event from its payload alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct CqrsEsEvent<A: Aggregate>(pub A::Event);

impl<A: Aggregate> PartialEq for CqrsEsEvent<A> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<A: Aggregate> fmt::Debug for CqrsEsEvent<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Aggregate> cqrs_es::DomainEvent for CqrsEsEvent<A> {
    fn event_type(&self) -> String {
        encode(&self.0).map_or_else(|error| error.name, |encoded| encoded.name.into())
    }

    fn event_version(&self) -> String {
        A::event_version(&self.event_type()).to_string()
    }
}

impl<A: Aggregate> cqrs_es::Aggregate for CqrsEsAggregate<A> {
    const TYPE: &'static str = A::TYPE;
    type Command = Verb<A>;
    type Event = CqrsEsEvent<A>;
    type Error = A::Rejection;
    type Services = ();

    async fn handle(&mut self, verb: Verb<A>, (): &(), sink: &EventSink<Self>) -> Result<(), A::Rejection> {
        for event in verb(&self.0)? {
            sink.write(CqrsEsEvent(event), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CqrsEsEvent<A>) {
        self.0.apply(&event.0);
    }
}

/// DDL of the tables of postgres-es, as in its `db/init.sql`.
pub const SCHEMA_SQL: &str = "
    CREATE TABLE events (
        aggregate_type text                         NOT NULL,
        aggregate_id   text                         NOT NULL,
        sequence       bigint CHECK (sequence >= 0) NOT NULL,
        event_type     text                         NOT NULL,
        event_version  text                         NOT NULL,
        payload        json                         NOT NULL,
        metadata       json                         NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    );
    CREATE TABLE snapshots (
        aggregate_type   text                                 NOT NULL,
        aggregate_id     text                                 NOT NULL,
        last_sequence    bigint CHECK (last_sequence >= 0)    NOT NULL,
        current_snapshot bigint CHECK (current_snapshot >= 0) NOT NULL,
        payload          json                                 NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)
    );";
