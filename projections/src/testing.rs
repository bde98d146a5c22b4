//! Test support: folds given events into rows, and checks the rules that every read model must obey.

mod memory;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use domain::kernel::{Actor, Aggregate, StreamId, encode};
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

pub use memory::Memory;

use crate::kernel::{Change, ColumnType, Model, ReadModel};
use crate::ports::{DecodedEvent, RawEvent};
use crate::projector::Projector;

/// Events of one tenant in order, one second apart.
#[derive(Clone, Debug)]
pub struct Story {
    tenant: TenantId,
    lane: i16,
    events: Vec<RawEvent>,
    sequences: HashMap<Uuid, i64>,
}

/// Epoch of all events of a story.
pub const EPOCH: i64 = 77;

impl Default for Story {
    fn default() -> Self {
        Self::of(TenantId::new(Uuid::from_u128(0xa)), 0)
    }
}

impl Story {
    /// Starts a story of a fixed tenant in lane 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a story of this tenant in this lane.
    pub fn of(tenant: TenantId, lane: i16) -> Self {
        Self { tenant, lane, events: Vec::new(), sequences: HashMap::new() }
    }

    /// Appends an event, encoded as in the log.
    #[must_use]
    pub fn then<A: Aggregate>(mut self, stream: A::Id, event: A::Event) -> Self {
        let encoded = encode(&event).expect("an event is an enum");
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
            version: A::event_version(&encoded.name),
            kind: encoded.name.into(),
            payload: encoded.body.into(),
            actor: Actor::Engine("story".into()),
            correlation: None,
            occurred_at: at,
            recorded_at: at,
            decoded: DecodedEvent::default(),
        });
        self
    }

    /// Time of the event at this position.
    pub fn at(position: i64) -> Timestamp {
        Timestamp::from_micros(1_763_640_000_000_000 + position * 1_000_000)
    }

    pub fn events(&self) -> &[RawEvent] {
        &self.events
    }

    /// Rows of a model after the story, in key order.
    ///
    /// Folds once in one batch and once event by event; both must give the same rows.
    #[track_caller]
    pub fn rows<M: ReadModel>(&self) -> Vec<M> {
        let model = Model::of::<M>();
        check(&model);
        let whole = rows_in_batches(&model, &self.events, self.events.len().max(1));
        assert_eq!(whole, rows_in_batches(&model, &self.events, 1), "the rows depend on the batch size");
        whole.iter().map(|row| serde_json::from_str(row).expect("a row deserializes")).collect()
    }

    /// Single row of a model after the story.
    #[track_caller]
    pub fn row<M: ReadModel>(&self) -> M {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1, "expected exactly one row");
        rows.remove(0)
    }
}

/// Projects events into an empty store in batches of at most `most` and returns the rows.
#[track_caller]
pub fn rows_in_batches(model: &Model, events: &[RawEvent], most: usize) -> Vec<String> {
    let memory = Memory::default().with_table(model).with_history(events);
    let mut projector =
        poll_ready(Projector::open(&memory, &memory, [model.clone()])).expect("the in-memory store does not fail");
    let mut places = HashSet::new();
    for batch in events.chunks(most) {
        let outcome = poll_ready(projector.apply(batch)).expect("the in-memory store does not fail");
        assert!(outcome.errors.is_empty() && outcome.parked.is_empty(), "{outcome:?}");
        for change in outcome.changed.iter().flat_map(|changed| &changed.rows) {
            check_key(model, change);
            let fresh = change.row.is_some() && places.insert(change.place.clone());
            assert!(fresh || !model.appends, "{}: two events of an append-only model have the same key", model.name);
        }
    }
    memory.rows(model)
}

/// Polls a future that is ready at once, as those of [`Memory`] are.
pub fn poll_ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future is not ready; use this function with `Memory` only"),
    }
}

/// Checks the rules of read models that the description shows.
#[track_caller]
pub fn check(model: &Model) {
    let name = &model.name;
    let column = |field: &str| model.column(field).unwrap_or_else(|| panic!("{name} has no field `{field}`"));
    assert!(!model.key.is_empty() && !model.streams.is_empty(), "{name} has no key or no streams");
    assert!(model.column("tenant").is_none(), "{name}: the store adds the tenant");
    assert!(model.table().len() + "_previous".len() < 64, "{name} is too long for a table name");
    for field in model.key {
        assert!(!column(field).optional, "{name}: the key field `{field}` is optional");
    }
    for field in model.key.iter().chain(model.indexed).chain(&model.owner) {
        assert!(
            column(field).kind != ColumnType::Json,
            "{name}: `{field}` is a list and cannot be a key, index or owner"
        );
    }
    for field in model.public {
        column(field);
    }
    if !model.public.is_empty() {
        assert!(model.owner.is_none(), "{name}: rows with an owner are not public");
        assert!(
            model.key.iter().all(|field| model.public.contains(field)),
            "{name}: the key of a public row is public"
        );
    }
    if let Some((field, _)) = model.visible_when {
        assert!(model.public.contains(&field), "{name}: `{field}` makes rows public, so it is public itself");
    }
    for field in &model.searched {
        assert!(
            model.column(field.column).is_some() && !field.kind.is_empty(),
            "{name}: `{}` is not personal",
            field.column
        );
        let is_row_of_person = matches!(model.key, [key] if model.owner == Some(*key)) && !model.appends;
        assert!(is_row_of_person, "{name}: only a row per person is found by words");
        assert!(model.column("text").is_none(), "{name}: `text` is the condition on words");
    }
    for field in model.columns.iter().filter(|column| column.kind == ColumnType::Json) {
        assert_eq!(model.schema.as_value()["properties"][&field.name]["type"], "array", "{name}: rows are flat");
    }
    for (field, schema) in model.schema.as_value()["properties"].as_object().into_iter().flatten() {
        let documented = schema["description"].is_string();
        assert!(documented, "{name}: `{field}` has no doc comment");
    }
}

/// Checks that the key of a change matches the key fields of its row.
#[track_caller]
fn check_key(model: &Model, change: &Change) {
    let Some(row) = &change.row else { return };
    let row: Value = serde_json::from_str(row).expect("a row is JSON");
    let values: Vec<_> = model.key.iter().map(|field| &row[field]).collect();
    assert_eq!(
        serde_json::to_string(&values).expect("JSON"),
        change.place.key.as_str(),
        "{}: the key does not match the row",
        model.name
    );
}
