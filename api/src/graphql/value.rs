//! Conversion of values between GraphQL and JSON.

use std::collections::BTreeMap;

use async_graphql::dynamic::{FieldFuture, FieldValue, ResolverContext};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use serde_json::{Map, Value as Json};

/// Arguments of a field, after variables and defaults were filled in.
pub(super) type Arguments = IndexMap<Name, Value>;

/// Mapping of a GraphQL input value to the JSON of a command: same values, other spelling of field names.
#[derive(Clone)]
pub(super) enum Shape {
    Leaf,
    List(Box<Shape>),
    /// Name of the type, and JSON name and shape of each field, by its GraphQL name.
    Object(String, BTreeMap<String, (String, Shape)>),
}

impl Shape {
    pub(super) fn to_json(&self, value: &Value) -> Json {
        match (self, value) {
            (Self::List(inner), Value::List(values)) => values.iter().map(|value| inner.to_json(value)).collect(),
            // GraphQL coerces a single value to a list of one.
            (Self::List(inner), one) if *one != Value::Null => Json::Array(vec![inner.to_json(one)]),
            // A null means the same as an omitted field, and serde applies defaults to omitted fields only.
            (Self::Object(_, members), Value::Object(fields)) => {
                let fields = fields.iter().filter(|(_, value)| **value != Value::Null);
                let renamed = |(name, value): (&Name, &Value)| match members.get(name.as_str()) {
                    Some((name, shape)) => (name.clone(), shape.to_json(value)),
                    None => (name.to_string(), to_json(value)),
                };
                Json::Object(fields.map(renamed).collect::<Map<_, _>>())
            }
            (_, leaf) => to_json(leaf),
        }
    }
}

/// Converts to JSON. Enum values become strings; values that JSON cannot represent become null.
pub(super) fn to_json(value: &Value) -> Json {
    value.clone().into_json().unwrap_or_default()
}

/// Converts from JSON. GraphQL can represent every JSON value.
pub(crate) fn from_json(value: Json) -> Value {
    Value::from_json(value).unwrap_or_default()
}

/// Field of an object; `None` if it is missing or null.
pub(super) fn field<'a>(parent: &'a FieldValue<'_>, name: &str) -> Option<&'a Value> {
    match parent.as_value() {
        Some(Value::Object(fields)) => fields.get(name).filter(|value| **value != Value::Null),
        _ => None,
    }
}

/// Resolver that takes the member of this name out of the parent object.
pub(super) fn member(
    name: &str,
) -> impl for<'a> Fn(ResolverContext<'a>) -> FieldFuture<'a> + Send + Sync + 'static + use<> {
    let name = name.to_owned();
    move |context| FieldFuture::from_value(field(context.parent_value, &name).cloned())
}
