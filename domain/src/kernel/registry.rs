//! Registry of all aggregates: the events that each one writes, and how these are published.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::published::{form_of, has_personal};
use super::{Aggregate, Published, Unreadable, Visitor};

/// Descriptor of an aggregate type.
#[derive(Debug)]
pub struct AggregateDescriptor {
    /// [`Aggregate::TYPE`].
    pub stream_type: &'static str,
    /// The events that the aggregate writes.
    pub events: Vec<EventDescriptor>,
}

/// Descriptor of an event type.
#[derive(Debug)]
pub struct EventDescriptor {
    /// Dotted name.
    pub name: String,
    /// Version under which the event is written.
    pub version: i16,
    /// True if events of this type are sent to no receiver outside the engine.
    pub is_private: bool,
    /// Version in which the public form is the stored one, letter by letter; `None` if there is no such version.
    verbatim: Option<i16>,
    publish: fn(&str, i16, &str) -> Result<Option<Published<'static>>, Unreadable>,
}

/// Descriptors of all aggregates, context by context.
pub fn aggregates() -> &'static [AggregateDescriptor] {
    &REGISTRY.aggregates
}

/// Descriptor of the aggregate with this stream type.
pub fn aggregate_by_stream_type(stream_type: &str) -> Option<&'static AggregateDescriptor> {
    aggregates().iter().find(|aggregate| aggregate.stream_type == stream_type)
}

/// Descriptor of the event type with this dotted name.
pub fn event_by_name(event_name: &str) -> Option<&'static EventDescriptor> {
    let (aggregate, event) = *REGISTRY.by_event_name.get(event_name)?;
    aggregates().get(aggregate)?.events.get(event)
}

/// Format of the log that this program reads and writes: a number that rises with every new event type and every new
/// version of one, because neither is ever removed. A program of a lower format cannot read all events.
pub fn log_format() -> i64 {
    let events = aggregates().iter().flat_map(|aggregate| &aggregate.events);
    events.fold(0, |sum: i64, event| sum.saturating_add(event.version.into()))
}

/// Names of all private events, which are sent to no receiver outside the engine.
pub fn private_event_names() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let events = aggregates().iter().flat_map(|aggregate| &aggregate.events);
        events.filter(|event| event.is_private).map(|event| event.name.as_str()).collect()
    });
    &NAMES
}

/// A stored event of any version as it is published; `None` if it is private. An error if this program cannot read it.
pub fn publish_stored<'a>(name: &str, version: i16, payload: &'a str) -> Result<Option<Published<'a>>, Unreadable> {
    let unknown = || Unreadable { name: name.into(), reason: "no aggregate writes an event of this name".into() };
    let event = event_by_name(name).ok_or_else(unknown)?;
    match event {
        _ if event.is_private => Ok(None),
        _ if event.verbatim == Some(version) => Ok(Some(Published { version, body: Cow::Borrowed(payload) })),
        _ => (event.publish)(name, version, payload),
    }
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry::default();
    crate::visit(&mut registry);
    registry
});

#[derive(Default)]
struct Registry {
    aggregates: Vec<AggregateDescriptor>,
    /// Indices into `aggregates` and its events.
    by_event_name: BTreeMap<String, (usize, usize)>,
}

impl Visitor for Registry {
    fn aggregate<A: Aggregate>(&mut self) {
        let schema = schemars::schema_for!(A::Event).to_value();
        // Serde tags externally: the schema of every variant is an object whose one property is the event's name.
        let variants = schema["oneOf"].as_array().into_iter().flatten();
        let named = variants.filter_map(|variant| Some((variant["required"][0].as_str()?, variant)));
        let events: Vec<_> = named.map(|(name, variant)| descriptor::<A>(name, &schema, variant)).collect();
        let aggregate = self.aggregates.len();
        let places = events.iter().enumerate().map(|(place, event)| (event.name.clone(), (aggregate, place)));
        self.by_event_name.extend(places);
        self.aggregates.push(AggregateDescriptor { stream_type: A::TYPE, events });
    }
}

fn descriptor<A: Aggregate>(name: &str, schema: &serde_json::Value, variant: &serde_json::Value) -> EventDescriptor {
    let form = form_of::<A>(name);
    let is_private = !A::PUBLISHED || form.is_some_and(super::PublicForm::is_private);
    let version = A::event_version(name);
    let verbatim = (form.is_none() && !has_personal(schema, variant)).then_some(version);
    let publish = |name: &str, version, payload: &str| A::publish(&A::read(name, version, payload)?);
    EventDescriptor { name: name.into(), version, is_private, verbatim, publish }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregate_is_found_by_stream_type_and_an_event_by_name() {
        let order = aggregate_by_stream_type("Order").expect("a descriptor");
        assert!(order.events.iter().any(|event| event.name == "order.placed"));
        assert!(event_by_name("order.placed").is_some_and(|event| !event.is_private));
        assert!(aggregate_by_stream_type("Nothing").is_none() && event_by_name("order.misplaced").is_none());
    }

    #[test]
    fn events_that_serve_the_engine_alone_are_private() {
        let expected = [
            "earning.counted",
            "earning.recorded",
            "earning.reversed",
            "name.claimed",
            "name.released",
            "stock.allotment_drawn",
            "stock.allotment_refilled",
        ];
        let mut private = private_event_names().to_vec();
        private.retain(|name| !name.starts_with("webhook"));
        private.sort_unstable();
        assert_eq!(private, expected);
        assert!(["webhook.subscribed", "webhooks.added"].iter().all(|name| private_event_names().contains(name)));
    }
}
