//! The states of all kinds of aggregate, their types forgotten, so that one shelf can hold them.

use std::any::Any;
use std::collections::BTreeMap;

use domain::kernel::{Aggregate, Unreadable, Visitor};

/// The folded state of one stream.
pub trait State: Any + Send + Sync {
    /// Takes one stored event.
    fn replay(&mut self, name: &str, version: i16, payload: &str) -> Result<(), Unreadable>;
    /// The state as a snapshot keeps it.
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

/// Every kind of aggregate by its stream type.
pub struct Kinds {
    kinds: BTreeMap<&'static str, Kind>,
}

/// How one kind of aggregate begins and comes back.
#[derive(Clone, Copy)]
pub struct Kind {
    pub state_version: i32,
    pub event_version: i16,
    fresh: fn() -> Box<dyn State>,
    restore: fn(&str) -> Option<Box<dyn State>>,
}

impl Kinds {
    /// All aggregates of the house.
    pub fn all() -> Self {
        let mut kinds = Self { kinds: BTreeMap::new() };
        domain::visit(&mut kinds);
        kinds
    }

    pub fn get(&self, stream_type: &str) -> Option<Kind> {
        self.kinds.get(stream_type).copied()
    }

    /// The stream type as the program spells it, which lives as long as the program.
    pub fn spelled(&self, stream_type: &str) -> Option<&'static str> {
        self.kinds.get_key_value(stream_type).map(|(name, _)| *name)
    }
}

impl Kind {
    /// The state of a stream without events.
    pub fn fresh(&self) -> Box<dyn State> {
        (self.fresh)()
    }

    /// The state in a snapshot; nothing where it was written by code of another state version or does not read.
    pub fn restore(&self, state_version: i32, snapshot: &str) -> Option<Box<dyn State>> {
        (state_version == self.state_version).then(|| (self.restore)(snapshot)).flatten()
    }
}

impl Visitor for Kinds {
    fn aggregate<A: Aggregate>(&mut self) {
        self.kinds.insert(
            A::TYPE,
            Kind {
                state_version: A::STATE_VERSION,
                event_version: A::EVENT_VERSION,
                fresh: || Box::new(A::default()),
                restore: |text| serde_json::from_str::<A>(text).ok().map(|state| Box::new(state) as Box<dyn State>),
            },
        );
    }
}
