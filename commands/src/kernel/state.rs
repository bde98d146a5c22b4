//! Type-erased aggregate states, so that one cache contains the states of all aggregate types.

use std::any::Any;
use std::collections::BTreeMap;

use domain::kernel::{Aggregate, Unreadable, Visitor};

/// The folded state of one stream.
pub trait State: Any + Send + Sync {
    /// Folds one stored event.
    fn replay(&mut self, name: &str, version: i16, payload: &str) -> Result<(), Unreadable>;
    /// The state as a snapshot stores it.
    fn snapshot(&self) -> Result<String, serde_json::Error>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<A: Aggregate> State for A {
    fn replay(&mut self, name: &str, version: i16, payload: &str) -> Result<(), Unreadable> {
        self.apply(&A::read(name, version, payload)?);
        Ok(())
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Registry of the aggregate types, by stream type.
#[derive(Clone, Debug, Default)]
pub struct StateRegistry {
    aggregates: BTreeMap<&'static str, StateDescriptor>,
}

/// Descriptor of an aggregate type: versions, constructor of the empty state, decoder of snapshots.
#[derive(Clone, Copy, Debug)]
pub struct StateDescriptor {
    pub state_version: i32,
    /// Version under which an event of this name is written.
    pub event_version: fn(&str) -> i16,
    fresh: fn() -> Box<dyn State>,
    restore: fn(&str) -> Option<Box<dyn State>>,
}

impl StateRegistry {
    /// The registry of all aggregates of the domain.
    pub fn all() -> Self {
        let mut registry = Self::default();
        domain::visit(&mut registry);
        registry
    }

    pub fn get(&self, stream_type: &str) -> Option<StateDescriptor> {
        self.aggregates.get(stream_type).copied()
    }

    /// The stream type as a static string, if it is known.
    pub fn stream_type(&self, stream_type: &str) -> Option<&'static str> {
        self.aggregates.get_key_value(stream_type).map(|(name, _)| *name)
    }
}

impl StateDescriptor {
    /// The state of a stream without events.
    pub fn fresh(&self) -> Box<dyn State> {
        (self.fresh)()
    }

    /// The state in a snapshot. `None` if the snapshot has another state version or cannot be read.
    pub fn restore(&self, state_version: i32, snapshot: &str) -> Option<Box<dyn State>> {
        (state_version == self.state_version).then(|| (self.restore)(snapshot)).flatten()
    }
}

impl Visitor for StateRegistry {
    fn aggregate<A: Aggregate>(&mut self) {
        self.aggregates.insert(
            A::TYPE,
            StateDescriptor {
                state_version: A::STATE_VERSION,
                event_version: A::event_version,
                fresh: || Box::new(A::default()),
                restore: |text| serde_json::from_str::<A>(text).ok().map(|state| Box::new(state) as Box<dyn State>),
            },
        );
    }
}
