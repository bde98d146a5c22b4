//! The names of all events of the house.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{Aggregate, Visitor};

/// The dotted public names of all events that an aggregate of the house can write.
pub fn event_names() -> &'static BTreeSet<String> {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut names = Names(BTreeSet::new());
        crate::visit(&mut names);
        names.0
    });
    &NAMES
}

struct Names(BTreeSet<String>);

impl Visitor for Names {
    fn aggregate<A: Aggregate>(&mut self) {
        let schema = schemars::schema_for!(A::Event);
        // Serde tags externally: every variant is an object with one property, the event's name.
        let variants = schema.as_value()["oneOf"].as_array().into_iter().flatten();
        self.0.extend(variants.filter_map(|variant| variant["required"][0].as_str().map(Into::into)));
    }
}
