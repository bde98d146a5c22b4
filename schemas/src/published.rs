//! JSON Schemas of published events: the stored ones without private events and personal fields, and with the public
//! shapes that aggregates declare.

use domain::kernel::{Aggregate, PublicForm};
use schemars::{SchemaGenerator, schema_for};
use serde_json::{Value, json};

use crate::compatibility::resolved;

/// Schema of the published events of an aggregate, laid out like that of its stored events; `None` if all are private.
pub(crate) fn schema<A: Aggregate>() -> Option<Value> {
    if !A::PUBLISHED {
        return None;
    }
    let stored = schema_for!(A::Event).to_value();
    let variants = stored["oneOf"].as_array().into_iter().flatten();
    let public: Vec<_> = variants.filter_map(|variant| public_variant::<A>(&stored, variant)).collect();
    (!public.is_empty()).then(|| json!({ "x-aggregate": A::TYPE, "oneOf": public }))
}

fn public_variant<A: Aggregate>(stored: &Value, variant: &Value) -> Option<Value> {
    let name = variant["required"][0].as_str()?;
    let form = A::PUBLIC_FORMS.iter().find(|form| form.event() == name);
    let (version, payload) = match form {
        Some(form) if form.is_private() => return None,
        Some(form) => public_shape(form)?,
        None => {
            let mut payload = resolved(stored, &variant["properties"][name]);
            remove_personal(&mut payload);
            (A::event_version(name), payload)
        }
    };
    let description = payload.get("description").filter(|_| form.is_some()).unwrap_or(&variant["description"]);
    Some(json!({
        "type": "object",
        "description": description,
        "required": [name],
        "properties": { name: payload },
        "x-version": version,
    }))
}

fn public_shape<E>(form: &PublicForm<E>) -> Option<(i16, Value)> {
    let mut generator = SchemaGenerator::default();
    let (version, schema) = form.shape(&mut generator)?;
    let root = json!({ "$defs": generator.take_definitions(true) });
    Some((version, resolved(&root, schema.as_value())))
}

/// Removes members that can hold a personal field from a schema without references.
fn remove_personal(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let mut personal = Vec::new();
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                properties.retain(|name, property| {
                    let keep = !is_personal(property);
                    if !keep {
                        personal.push(Value::from(name.as_str()));
                    }
                    keep
                });
            }
            if let Some(Value::Array(required)) = members.get_mut("required") {
                required.retain(|name| !personal.contains(name));
            }
            members.values_mut().for_each(remove_personal);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_personal),
        _ => {}
    }
}

/// True for a personal field, optional ones included.
fn is_personal(property: &Value) -> bool {
    let choices = property["anyOf"].as_array().into_iter().flatten();
    property.get("x-personal").is_some() || choices.into_iter().any(is_personal)
}
