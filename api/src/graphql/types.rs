//! GraphQL types derived from the published JSON Schemas.

use std::collections::BTreeMap;

use async_graphql::dynamic::{Enum, EnumItem, Field, InputObject, InputValue, Object, SchemaBuilder, TypeRef};
use serde_json::Value as Json;

use super::names::{camel, is_name, pascal};
use super::scalars::{DATE, JSON, LONG, TIMESTAMP, UUID};
use super::value::{Shape, member};

/// Use of a type: for values that clients send, or for values that they receive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Input,
    Output,
}

/// Types derived so far, each name for one schema.
#[derive(Default)]
pub(super) struct Types {
    schemas: BTreeMap<String, Json>,
    inputs: Vec<InputObject>,
    outputs: Vec<Object>,
    enums: Vec<Enum>,
}

/// Type of a field, with the mapping of its values to JSON.
pub(super) struct MappedType {
    pub(super) inner: TypeRef,
    pub(super) nullable: bool,
    pub(super) shape: Shape,
}

impl MappedType {
    fn leaf(name: &str) -> Self {
        Self { inner: TypeRef::named(name), nullable: false, shape: Shape::Leaf }
    }

    /// Type reference: non-null unless the field is optional or its schema allows null.
    pub(super) fn type_ref(&self, optional: bool) -> TypeRef {
        if optional || self.nullable { self.inner.clone() } else { TypeRef::NonNull(Box::new(self.inner.clone())) }
    }
}

/// Schema after its `$ref` was followed and the null option was removed.
struct ResolvedSchema<'a> {
    node: &'a Json,
    /// The name under `$defs`, if the schema was referenced.
    name: Option<&'a str>,
    nullable: bool,
}

impl Types {
    pub(super) fn register(self, mut schema: SchemaBuilder) -> SchemaBuilder {
        for each in self.enums {
            schema = schema.register(each);
        }
        for each in self.inputs {
            schema = schema.register(each);
        }
        for each in self.outputs {
            schema = schema.register(each);
        }
        schema
    }

    /// The type of a node of a schema. `owner` is the name for schemas that are not under `$defs`.
    pub(super) fn of(&mut self, root: &Json, node: &Json, owner: &str, direction: Direction) -> MappedType {
        let ResolvedSchema { node, name, nullable } = resolve(root, node);
        let name = name.filter(|name| is_name(name)).unwrap_or(owner);
        let mapped = if let Some(values) = enum_values(node) {
            self.enumeration(name, owner, node, &values)
        } else if is(node, "array") {
            let item = self.of(root, &node["items"], &format!("{owner}Item"), direction);
            let list = TypeRef::List(Box::new(item.type_ref(false)));
            MappedType { inner: list, nullable: false, shape: Shape::List(Box::new(item.shape)) }
        } else if node["properties"].is_object() {
            self.object(root, node, name, owner, direction)
        } else if let (Direction::Input, Some(variants)) = (direction, variants(node)) {
            self.one_of(root, node, &variants, name, owner)
        } else {
            MappedType::leaf(scalar(node))
        };
        MappedType { nullable: nullable || mapped.nullable, ..mapped }
    }

    /// Name that is used for this schema only; true if the schema was not known yet.
    fn name(&mut self, wanted: String, owner: &str, node: &Json) -> (String, bool) {
        for name in [wanted.clone(), format!("{owner}{wanted}")] {
            match self.schemas.get(&name) {
                Some(known) if known == node => return (name, false),
                Some(_) => {}
                None => {
                    self.schemas.insert(name.clone(), node.clone());
                    return (name, true);
                }
            }
        }
        // Rust types cannot produce three schemas of one name within one owner.
        (wanted, false)
    }

    fn enumeration(&mut self, name: &str, owner: &str, node: &Json, values: &[(&str, Option<&str>)]) -> MappedType {
        if !values.iter().all(|(value, _)| is_name(value)) {
            return MappedType::leaf(TypeRef::STRING);
        }
        let (name, new) = self.name(name.into(), owner, node);
        if new {
            let item = |(value, description): &(&str, Option<&str>)| match description {
                Some(description) => EnumItem::new(*value).description(*description),
                None => EnumItem::new(*value),
            };
            let all = Enum::new(&name).items(values.iter().map(item));
            self.enums.push(match node["description"].as_str() {
                Some(description) => all.description(description),
                None => all,
            });
        }
        MappedType::leaf(&name)
    }

    fn object(&mut self, root: &Json, node: &Json, name: &str, owner: &str, direction: Direction) -> MappedType {
        let wanted = if direction == Direction::Input { format!("{name}Input") } else { name.into() };
        let (name, new) = self.name(wanted, owner, node);
        let mut members = BTreeMap::new();
        let (mut input, mut output) = (InputObject::new(&name), Object::new(&name));
        if let Some(text) = node["description"].as_str() {
            (input, output) = (input.description(text), output.description(text));
        }
        for (field, schema) in node["properties"].as_object().into_iter().flatten() {
            let mapped = self.of(root, schema, &format!("{name}{}", pascal(field)), direction);
            let type_ref = mapped.type_ref(!requires(node, field));
            let text = description(root, schema);
            match direction {
                Direction::Input => {
                    let value = InputValue::new(camel(field), type_ref);
                    input = input.field(if let Some(text) = text { value.description(text) } else { value });
                }
                Direction::Output => {
                    let value = Field::new(camel(field), type_ref, member(field));
                    output = output.field(if let Some(text) = text { value.description(text) } else { value });
                }
            }
            members.insert(camel(field), (field.clone(), mapped.shape));
        }
        match direction {
            _ if !new => {}
            // GraphQL does not allow an object without fields.
            _ if members.is_empty() => return MappedType::leaf(JSON),
            Direction::Input => self.inputs.push(input),
            Direction::Output => self.outputs.push(output),
        }
        MappedType { inner: TypeRef::named(&name), nullable: false, shape: Shape::Object(name, members) }
    }

    /// One-of input of a Rust enum with data. Serde writes the same shape: one field, named like the variant.
    fn one_of(&mut self, root: &Json, node: &Json, variants: &[&Json], name: &str, owner: &str) -> MappedType {
        let (name, new) = self.name(format!("{name}Input"), owner, node);
        let mut members = BTreeMap::new();
        let mut input = InputObject::new(&name).oneof();
        for (field, schema) in variants.iter().flat_map(|variant| variant["properties"].as_object()).flatten() {
            let mapped = self.of(root, schema, &format!("{name}{}", pascal(field)), Direction::Input);
            input = input.field(InputValue::new(camel(field), mapped.type_ref(true)));
            members.insert(camel(field), (field.clone(), mapped.shape));
        }
        if new {
            self.inputs.push(input);
        }
        MappedType { inner: TypeRef::named(&name), nullable: false, shape: Shape::Object(name, members) }
    }
}

/// Kind of the personal field that a schema describes, if it describes one.
pub(super) fn personal<'a>(root: &'a Json, node: &'a Json) -> Option<&'a str> {
    resolve(root, node).node["x-personal"].as_str()
}

/// The personal column, with its kind, of which this column is the blind index. A blind index is never shown.
pub(super) fn indexes<'a>(root: &'a Json, column: &'a str) -> Option<(&'a str, &'a str)> {
    let column = column.strip_suffix("_index")?;
    Some((column, personal(root, root["properties"].get(column)?)?))
}

pub(super) fn requires(node: &Json, field: &str) -> bool {
    node["required"].as_array().is_some_and(|required| required.iter().any(|one| one == field))
}

/// Description of a field, or else of its type.
pub(super) fn description<'a>(root: &'a Json, node: &'a Json) -> Option<&'a str> {
    node["description"].as_str().or_else(|| resolve(root, node).node["description"].as_str())
}

/// The values of a column whose type is an enumeration.
pub(super) fn enum_values_of<'a>(root: &'a Json, column: &str) -> Option<Vec<&'a str>> {
    let values = enum_values(resolve(root, &root["properties"][column]).node)?;
    Some(values.into_iter().map(|(value, _)| value).collect())
}

/// A schema after its `$ref` was followed and the null option was removed.
pub(super) fn resolved<'a>(root: &'a Json, node: &'a Json) -> &'a Json {
    resolve(root, node).node
}

fn resolve<'a>(root: &'a Json, node: &'a Json) -> ResolvedSchema<'a> {
    if let Some(name) = node["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        let inner = resolve(root, &root["$defs"][name]);
        return ResolvedSchema { name: inner.name.or(Some(name)), ..inner };
    }
    if let Some(choices) = node["anyOf"].as_array() {
        let (nulls, others): (Vec<_>, Vec<_>) = choices.iter().partition(|choice| choice["type"] == "null");
        if let ([_, ..], [only]) = (nulls.as_slice(), others.as_slice()) {
            return ResolvedSchema { nullable: true, ..resolve(root, only) };
        }
    }
    let nullable = node["type"].as_array().is_some_and(|types| types.iter().any(|one| one == "null"));
    ResolvedSchema { node, name: None, nullable }
}

fn is(node: &Json, kind: &str) -> bool {
    match &node["type"] {
        Json::String(one) => one == kind,
        Json::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// The values of a string enumeration, each with its description.
fn enum_values(node: &Json) -> Option<Vec<(&str, Option<&str>)>> {
    if let Some(values) = node["enum"].as_array() {
        return values.iter().filter(|value| !value.is_null()).map(|value| Some((value.as_str()?, None))).collect();
    }
    let several = node["oneOf"].as_array()?.iter().map(|choice| match choice["const"].as_str() {
        Some(value) => Some(vec![(value, choice["description"].as_str())]),
        None => enum_values(choice).filter(|_| choice["enum"].is_array()),
    });
    several.collect::<Option<Vec<_>>>().map(|all| all.concat()).filter(|all| !all.is_empty())
}

/// The variants of an enum with data, each an object with one field.
fn variants(node: &Json) -> Option<Vec<&Json>> {
    let all = node["oneOf"].as_array()?;
    let single = |choice: &&Json| choice["properties"].as_object().is_some_and(|fields| fields.len() == 1);
    all.iter().all(|choice| single(&choice)).then(|| all.iter().collect())
}

fn scalar(node: &Json) -> &'static str {
    match node["format"].as_str() {
        Some("uuid") => UUID,
        Some("date-time") => TIMESTAMP,
        Some("date") => DATE,
        Some("int8" | "int16" | "int32" | "uint8" | "uint16") if is(node, "integer") => TypeRef::INT,
        _ if is(node, "integer") => LONG,
        _ if is(node, "boolean") => TypeRef::BOOLEAN,
        _ if is(node, "number") => TypeRef::FLOAT,
        _ if is(node, "string") => TypeRef::STRING,
        _ => JSON,
    }
}
