//! Gives each of our aggregates the face of a cqrs-es aggregate, so that the stock library can run them beside us.
//!
//! The same decisions go through both in a differential test and in the benches. Nothing else is built on it.

use std::fmt;
use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use domain::kernel::{Aggregate, Decision, encode};
use serde::{Deserialize, Serialize};

/// One of our aggregates as cqrs-es sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Hosted<A: Aggregate>(pub A);

/// What cqrs-es calls a command: a verb with its arguments.
pub type Verb<A> = Arc<dyn Fn(&A) -> Decision<A> + Send + Sync>;

/// One of our events as cqrs-es sees it. Its payload is our payload under our dotted name, because cqrs-es reads an
/// event from its payload alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct HostedEvent<A: Aggregate>(pub A::Event);

impl<A: Aggregate> PartialEq for HostedEvent<A> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<A: Aggregate> fmt::Debug for HostedEvent<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Aggregate> cqrs_es::DomainEvent for HostedEvent<A> {
    fn event_type(&self) -> String {
        encode(&self.0).map_or_else(|unreadable| unreadable.name, |named| named.name.into())
    }

    fn event_version(&self) -> String {
        A::EVENT_VERSION.to_string()
    }
}

impl<A: Aggregate> cqrs_es::Aggregate for Hosted<A> {
    const TYPE: &'static str = A::TYPE;
    type Command = Verb<A>;
    type Event = HostedEvent<A>;
    type Error = A::Rejection;
    type Services = ();

    async fn handle(&mut self, verb: Verb<A>, (): &(), sink: &EventSink<Self>) -> Result<(), A::Rejection> {
        for event in verb(&self.0)? {
            sink.write(HostedEvent(event), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: HostedEvent<A>) {
        self.0.apply(&event.0);
    }
}

/// The tables of postgres-es, as its `db/init.sql` lays them out.
pub const TABLES: &str = "
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
