//! Published events: the language of receivers outside the engine (webhooks, the public topic of Kafka, exports). Stored
//! events are another language: log, replay, read models, policies and audits use those.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

use super::{Aggregate, Unreadable, encode};
use crate::shared::Sealed;

/// An event as it is published, under its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published<'a> {
    /// Version of the public shape.
    pub version: i16,
    /// A JSON object without personal fields.
    pub body: Cow<'a, str>,
}

/// Public shape of an event that differs from the stored one.
pub trait PublicShape<E>: Serialize + JsonSchema + Sized {
    /// Dotted name of the event.
    const EVENT: &'static str;
    /// Version of the public shape. Raise it when the shape changes in a way that its readers notice.
    const VERSION: i16;

    /// The public shape of the event; `None` for an event of another name.
    fn of(event: &E) -> Option<Self>;
}

/// Public form of an event that does not follow the default.
pub struct PublicForm<E> {
    event: &'static str,
    shape: Option<Shape<E>>,
}

struct Shape<E> {
    version: i16,
    schema: fn(&mut SchemaGenerator) -> Schema,
    body: fn(&E) -> Option<Result<String, serde_json::Error>>,
}

impl<E> PublicForm<E> {
    /// An event that is not published.
    pub const fn private(event: &'static str) -> Self {
        Self { event, shape: None }
    }

    /// An event that is published in the shape `S`.
    pub const fn shaped<S: PublicShape<E>>() -> Self {
        let body = |event: &E| S::of(event).map(|shape| serde_json::to_string(&shape));
        let shape = Shape { version: S::VERSION, schema: SchemaGenerator::subschema_for::<S>, body };
        Self { event: S::EVENT, shape: Some(shape) }
    }

    /// True if the event is not published.
    pub fn is_private(&self) -> bool {
        self.shape.is_none()
    }

    /// Dotted name of the event.
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// Version and schema of the public shape; `None` for a private event.
    pub fn shape(&self, generator: &mut SchemaGenerator) -> Option<(i16, Schema)> {
        self.shape.as_ref().map(|shape| (shape.version, (shape.schema)(generator)))
    }
}

/// Finds the form of an event that does not follow the default.
pub(super) fn form_of<A: Aggregate>(event_name: &str) -> Option<&'static PublicForm<A::Event>> {
    A::PUBLIC_FORMS.iter().find(|form| form.event == event_name)
}

/// The event as it is published: in the shape of its form, or by default as it is stored, without its personal fields.
pub(super) fn publish<A: Aggregate>(event: &A::Event) -> Result<Option<Published<'static>>, Unreadable> {
    let encoded = encode(event)?;
    let unreadable = |reason: String| Unreadable { name: encoded.name.to_string(), reason };
    let to_published = |version, body| Published { version, body: Cow::Owned(body) };
    match form_of::<A>(&encoded.name) {
        _ if !A::PUBLISHED => Ok(None),
        Some(PublicForm { shape: None, .. }) => Ok(None),
        Some(PublicForm { shape: Some(shape), .. }) => {
            let body =
                (shape.body)(event).ok_or_else(|| unreadable("its public shape is that of another event".into()))?;
            body.map(|body| Some(to_published(shape.version, body))).map_err(|error| unreadable(error.to_string()))
        }
        None => {
            let mut body: Value = serde_json::from_str(&encoded.body).map_err(|error| unreadable(error.to_string()))?;
            remove_personal(&mut body);
            Ok(Some(to_published(A::event_version(&encoded.name), body.to_string())))
        }
    }
}

/// Removes sealed values at every depth: they can be opened inside the engine only.
fn remove_personal(value: &mut Value) {
    let personal = |value: &Value| value.as_str().and_then(Sealed::parse).is_some();
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !personal(field));
            fields.values_mut().for_each(remove_personal);
        }
        Value::Array(items) => {
            items.retain(|item| !personal(item));
            items.iter_mut().for_each(remove_personal);
        }
        _ => {}
    }
}

/// True if a value of this schema can contain a personal field.
pub(super) fn has_personal(root: &Value, schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let target = schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#')));
            members.contains_key("x-personal")
                || target.is_some_and(|target| has_personal(root, target))
                || members.values().any(|member| has_personal(root, member))
        }
        Value::Array(items) => items.iter().any(|item| has_personal(root, item)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kernel::publish_stored;

    #[test]
    fn personal_fields_are_removed_at_every_depth() {
        let sealed = Sealed::new("abc", Some("idx")).as_str().to_owned();
        let mut body = json!({ "name": sealed, "points": 3, "people": [{ "email": sealed, "kept": null }, sealed] });
        remove_personal(&mut body);
        assert_eq!(body, json!({ "points": 3, "people": [{ "kept": null }] }));
    }

    #[test]
    fn event_without_personal_fields_is_published_as_it_is_stored() {
        let body = r#"{ "units" : 3 }"#;
        let published = publish_stored("stock.received", 1, body).expect("readable").expect("public");
        assert!(matches!(published, Published { version: 1, body: Cow::Borrowed(same) } if same == body));
    }

    #[test]
    fn private_events_are_not_published_and_unknown_ones_are_an_error() {
        for name in ["stock.allotment_drawn", "earning.recorded", "name.claimed", "webhook.paused"] {
            assert_eq!(publish_stored(name, 1, "{}").expect("known"), None, "{name}");
        }
        assert!(publish_stored("order.misplaced", 1, "{}").is_err());
    }
}
