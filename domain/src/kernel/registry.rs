//! Registry of all aggregates: the events that each one writes, and whether webhooks receive them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{Aggregate, Visitor};

/// Descriptor of an aggregate type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateDescriptor {
    /// [`Aggregate::TYPE`].
    pub stream_type: &'static str,
    /// [`Aggregate::PUBLISHED`].
    pub published: bool,
    /// Dotted public names of the events that the aggregate writes.
    pub event_names: Vec<String>,
}

/// Descriptors of all aggregates, context by context.
pub fn aggregates() -> &'static [AggregateDescriptor] {
    &REGISTRY.aggregates
}

/// Descriptor of the aggregate with this stream type.
pub fn aggregate_by_stream_type(stream_type: &str) -> Option<&'static AggregateDescriptor> {
    aggregates().iter().find(|aggregate| aggregate.stream_type == stream_type)
}

/// Descriptor of the aggregate that writes the event with this dotted name.
pub fn aggregate_by_event_name(event_name: &str) -> Option<&'static AggregateDescriptor> {
    REGISTRY.by_event_name.get(event_name).and_then(|&index| aggregates().get(index))
}

/// Stream types whose events webhooks do not receive ([`Aggregate::PUBLISHED`] is false).
pub fn unpublished_stream_types() -> Vec<&'static str> {
    aggregates().iter().filter(|aggregate| !aggregate.published).map(|aggregate| aggregate.stream_type).collect()
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry::default();
    crate::visit(&mut registry);
    registry
});

#[derive(Default)]
struct Registry {
    aggregates: Vec<AggregateDescriptor>,
    /// Index into `aggregates`.
    by_event_name: BTreeMap<String, usize>,
}

impl Visitor for Registry {
    fn aggregate<A: Aggregate>(&mut self) {
        let schema = schemars::schema_for!(A::Event);
        // Serde tags externally: the schema of every variant is an object whose one property is the event's name.
        let variants = schema.as_value()["oneOf"].as_array().into_iter().flatten();
        let event_names: Vec<String> =
            variants.filter_map(|variant| variant["required"][0].as_str().map(Into::into)).collect();
        let index = self.aggregates.len();
        self.by_event_name.extend(event_names.iter().map(|name| (name.clone(), index)));
        self.aggregates.push(AggregateDescriptor { stream_type: A::TYPE, published: A::PUBLISHED, event_names });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregate_is_found_by_stream_type_and_by_event_name() {
        let order = aggregate_by_stream_type("Order").expect("a descriptor");
        assert!(order.published);
        assert_eq!(aggregate_by_event_name("order.placed"), Some(order));
        assert_eq!((aggregate_by_stream_type("Nothing"), aggregate_by_event_name("order.misplaced")), (None, None));
    }

    #[test]
    fn only_events_about_webhooks_are_not_published() {
        assert_eq!(unpublished_stream_types(), ["WebhookRoster", "WebhookSubscription"]);
        for event in ["webhook.subscribed", "webhooks.added"] {
            assert_eq!(aggregate_by_event_name(event).map(|aggregate| aggregate.published), Some(false), "{event}");
        }
    }
}
