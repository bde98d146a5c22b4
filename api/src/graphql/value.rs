//! Values between GraphQL and JSON.

use std::collections::BTreeMap;

use async_graphql::dynamic::{FieldFuture, FieldValue, ResolverContext};
use async_graphql::{Name, Value};
use serde_json::{Map, Value as Json};

/// How a GraphQL value becomes the JSON that a command reads: same values, other spelling of names.
#[derive(Clone)]
pub(super) enum Shape {
    Leaf,
    List(Box<Shape>),
    /// GraphQL's name to JSON's name and shape.
    Object(BTreeMap<String, (String, Shape)>),
}

impl Shape {
    pub(super) fn to_json(&self, value: &Value) -> Json {
        match (self, value) {
            (Self::List(inner), Value::List(values)) => values.iter().map(|value| inner.to_json(value)).collect(),
            // GraphQL lets callers write a list of one value without brackets.
            (Self::List(inner), one) if *one != Value::Null => Json::Array(vec![inner.to_json(one)]),
            // Null says the same as leaving a field out, and serde's defaults know only the latter.
            (Self::Object(members), Value::Object(fields)) => {
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

/// Words of an enum are texts in JSON; what JSON cannot carry becomes null.
pub(super) fn to_json(value: &Value) -> Json {
    value.clone().into_json().unwrap_or_default()
}

/// A JSON value as GraphQL's; whatever it has, GraphQL has.
pub(crate) fn from_json(value: Json) -> Value {
    Value::from_json(value).unwrap_or_default()
}

/// A field of an object that was read whole.
pub(super) fn field<'a>(parent: &'a FieldValue<'_>, name: &str) -> Option<&'a Value> {
    match parent.as_value() {
        Some(Value::Object(fields)) => fields.get(name).filter(|value| **value != Value::Null),
        _ => None,
    }
}

/// Resolves a field by taking the member of this name out of its parent.
pub(super) fn member(
    name: &str,
) -> impl for<'a> Fn(ResolverContext<'a>) -> FieldFuture<'a> + Send + Sync + 'static + use<> {
    let name = name.to_owned();
    move |context| FieldFuture::from_value(field(context.parent_value, &name).cloned())
}
