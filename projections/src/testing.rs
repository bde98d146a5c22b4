//! Given events, then rows: how every read model is tested, with the laws that hold for all of them.

mod memory;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use domain::kernel::{Actor, Aggregate, StreamId, encode};
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

pub use memory::Memory;

use crate::kernel::{Change, Kind, Model, ReadModel};
use crate::ports::{RawEvent, Seen};
use crate::projector::Projector;

/// What happened in one tenant, event by event, a second apart.
#[derive(Clone, Debug)]
pub struct Story {
    tenant: TenantId,
    lane: i16,
    events: Vec<RawEvent>,
    sequences: HashMap<Uuid, i64>,
}

/// The only history of a story's lane.
pub const EPOCH: i64 = 77;

impl Default for Story {
    fn default() -> Self {
        Self::of(TenantId::new(Uuid::from_u128(0xa)), 0)
    }
}

impl Story {
    /// A story of some tenant in some lane.
    pub fn new() -> Self {
        Self::default()
    }

    /// The story of this tenant in this lane.
    pub fn of(tenant: TenantId, lane: i16) -> Self {
        Self { tenant, lane, events: Vec::new(), sequences: HashMap::new() }
    }

    /// The next event. The log encodes it, so a model sees what it will see later.
    #[must_use]
    pub fn then<A: Aggregate>(mut self, stream: A::Id, event: A::Event) -> Self {
        let named = encode(&event).expect("an event is an enum");
        let sequence = self.sequences.entry(stream.uuid()).or_default();
        *sequence += 1;
        let position = 1 + i64::try_from(self.events.len()).expect("a story is short");
        let at = Self::at(position);
        self.events.push(RawEvent {
            lane: self.lane,
            position,
            epoch: EPOCH,
            tenant: self.tenant,
            tenant_position: position,
            stream_type: A::TYPE.into(),
            stream: stream.uuid(),
            sequence: *sequence,
            principal: Principal::ENGINE,
            command: CommandId::new(Uuid::from_u128(0xc000 + u128::from(position.unsigned_abs()))),
            index: 0,
            kind: named.name.into(),
            version: A::EVENT_VERSION,
            payload: named.body.into(),
            actor: Actor::Engine("story".into()),
            occurred_at: at,
            recorded_at: at,
            seen: Seen::default(),
        });
        self
    }

    /// When the event with this position happens.
    pub fn at(position: i64) -> Timestamp {
        Timestamp::from_micros(1_763_640_000_000_000 + position * 1_000_000)
    }

    pub fn events(&self) -> &[RawEvent] {
        &self.events
    }

    /// The rows of a model after the story, in the order of their keys.
    ///
    /// Folded in one batch and event by event, which must come to the same.
    #[track_caller]
    pub fn rows<M: ReadModel>(&self) -> Vec<M> {
        let model = Model::of::<M>();
        check(&model);
        let whole = rows_in_batches(&model, &self.events, self.events.len().max(1));
        assert_eq!(whole, rows_in_batches(&model, &self.events, 1), "batches change the outcome");
        whole.iter().map(|row| serde_json::from_str(row).expect("a row reads")).collect()
    }

    /// The only row of a model after the story.
    #[track_caller]
    pub fn row<M: ReadModel>(&self) -> M {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1, "not one row");
        rows.remove(0)
    }
}

/// Projects events into an empty store, so many at a time, and gives the rows.
#[track_caller]
pub fn rows_in_batches(model: &Model, events: &[RawEvent], most: usize) -> Vec<String> {
    let memory = Memory::default().with_table(model).with_history(events);
    let mut projector = now(Projector::open(&memory, &memory, [model.clone()])).expect("memory is there");
    let mut places = HashSet::new();
    for batch in events.chunks(most) {
        let taken = now(projector.take(batch)).expect("memory is there");
        assert!(taken.troubles.is_empty() && taken.parked.is_empty(), "{taken:?}");
        for change in taken.changed.iter().flat_map(|changed| &changed.rows) {
            check_key(model, change);
            let fresh = change.row.is_some() && places.insert(change.place.clone());
            assert!(fresh || !model.appends, "{}: every event makes a row of its own", model.name);
        }
    }
    memory.rows(model)
}

/// Runs a future that never has to wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory never lets anybody wait"),
    }
}

/// The laws of every read model that its description shows.
#[track_caller]
pub fn check(model: &Model) {
    let name = &model.name;
    let column = |field: &str| model.column(field).unwrap_or_else(|| panic!("{name} has no field `{field}`"));
    assert!(!model.key.is_empty() && !model.streams.is_empty(), "{name} has no key or no streams");
    assert!(model.column("tenant").is_none(), "{name}: the store adds the tenant");
    assert!(model.table().len() + "_build".len() < 64, "{name} is too long for a table");
    for field in model.key {
        assert!(!column(field).optional, "{name}: the key field `{field}` is optional");
    }
    for field in model.key.iter().chain(model.indexed).chain(&model.owner) {
        assert!(column(field).kind != Kind::Json, "{name}: `{field}` is no single value");
    }
    for field in model.columns.iter().filter(|column| column.kind == Kind::Json) {
        assert_eq!(model.schema.as_value()["properties"][&field.name]["type"], "array", "{name}: rows are flat");
    }
    for (field, schema) in model.schema.as_value()["properties"].as_object().into_iter().flatten() {
        let told = schema["description"].is_string();
        assert!(told, "{name}: `{field}` has no doc comment for readers");
    }
}

/// A row stands where its key fields say.
#[track_caller]
fn check_key(model: &Model, change: &Change) {
    let Some(row) = &change.row else { return };
    let row: Value = serde_json::from_str(row).expect("a row is JSON");
    let values: Vec<_> = model.key.iter().map(|field| &row[field]).collect();
    assert_eq!(
        serde_json::to_string(&values).expect("JSON"),
        change.place.key.as_str(),
        "{} stands elsewhere",
        model.name
    );
}
