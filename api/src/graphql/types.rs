//! GraphQL types from the JSON Schemas that we publish.

use std::collections::BTreeMap;

use async_graphql::dynamic::{Enum, EnumItem, Field, InputObject, InputValue, Object, SchemaBuilder, TypeRef};
use serde_json::Value as Json;

use super::names::{camel, is_name};
use super::scalars::{DATE, JSON, LONG, TIMESTAMP, UUID};
use super::value::{Shape, member};

/// Which way values of a type travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    In,
    Out,
}

/// The types found so far. One name always means one schema.
#[derive(Default)]
pub(super) struct Types {
    found: BTreeMap<String, Json>,
    inputs: Vec<InputObject>,
    outputs: Vec<Object>,
    enums: Vec<Enum>,
}

/// A type as a field names it, and how its values map to JSON.
pub(super) struct Found {
    pub(super) inner: TypeRef,
    pub(super) nullable: bool,
    pub(super) shape: Shape,
}

impl Found {
    fn leaf(name: &str) -> Self {
        Self { inner: TypeRef::named(name), nullable: false, shape: Shape::Leaf }
    }

    /// With its exclamation mark, unless it may be left out.
    pub(super) fn type_ref(&self, optional: bool) -> TypeRef {
        if optional || self.nullable { self.inner.clone() } else { TypeRef::NonNull(Box::new(self.inner.clone())) }
    }
}

/// A schema behind its references and options.
struct Plain<'a> {
    node: &'a Json,
    /// The name it is defined under, if it is.
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

    /// The type of a node of a schema. `owner` names what has no name of its own.
    pub(super) fn of(&mut self, root: &Json, node: &Json, owner: &str, way: Way) -> Found {
        let Plain { node, name, nullable } = plain(root, node);
        let name = name.filter(|name| is_name(name)).unwrap_or(owner);
        let found = if let Some(words) = words(node) {
            self.enumeration(name, owner, node, &words)
        } else if is(node, "array") {
            let item = self.of(root, &node["items"], &format!("{owner}Item"), way);
            let list = TypeRef::List(Box::new(item.type_ref(false)));
            Found { inner: list, nullable: false, shape: Shape::List(Box::new(item.shape)) }
        } else if node["properties"].is_object() {
            self.object(root, node, name, owner, way)
        } else if let (Way::In, Some(choices)) = (way, choices(node)) {
            self.one_of(root, node, &choices, name, owner)
        } else {
            Found::leaf(scalar(node))
        };
        Found { nullable: nullable || found.nullable, ..found }
    }

    /// A name that means this schema and no other.
    fn name(&mut self, wanted: String, owner: &str, node: &Json) -> (String, bool) {
        for name in [wanted.clone(), format!("{owner}{wanted}")] {
            match self.found.get(&name) {
                Some(known) if known == node => return (name, false),
                Some(_) => {}
                None => {
                    self.found.insert(name.clone(), node.clone());
                    return (name, true);
                }
            }
        }
        // Three schemas of one name within one owner cannot come out of Rust types.
        (wanted, false)
    }

    fn enumeration(&mut self, name: &str, owner: &str, node: &Json, words: &[(&str, Option<&str>)]) -> Found {
        if !words.iter().all(|(word, _)| is_name(word)) {
            return Found::leaf(TypeRef::STRING);
        }
        let (name, new) = self.name(name.into(), owner, node);
        if new {
            let item = |(word, told): &(&str, Option<&str>)| match told {
                Some(told) => EnumItem::new(*word).description(*told),
                None => EnumItem::new(*word),
            };
            let all = Enum::new(&name).items(words.iter().map(item));
            self.enums.push(match node["description"].as_str() {
                Some(told) => all.description(told),
                None => all,
            });
        }
        Found::leaf(&name)
    }

    fn object(&mut self, root: &Json, node: &Json, name: &str, owner: &str, way: Way) -> Found {
        let wanted = if way == Way::In { format!("{name}Input") } else { name.into() };
        let (name, new) = self.name(wanted, owner, node);
        let mut members = BTreeMap::new();
        let (mut input, mut output) = (InputObject::new(&name), Object::new(&name));
        if let Some(told) = node["description"].as_str() {
            (input, output) = (input.description(told), output.description(told));
        }
        for (field, schema) in node["properties"].as_object().into_iter().flatten() {
            let found = self.of(root, schema, &format!("{name}{}", super::names::pascal(field)), way);
            let type_ref = found.type_ref(!requires(node, field));
            let told = description(root, schema);
            match way {
                Way::In => {
                    let value = InputValue::new(camel(field), type_ref);
                    input = input.field(if let Some(told) = told { value.description(told) } else { value });
                }
                Way::Out => {
                    let value = Field::new(camel(field), type_ref, member(field));
                    output = output.field(if let Some(told) = told { value.description(told) } else { value });
                }
            }
            members.insert(camel(field), (field.clone(), found.shape));
        }
        match way {
            _ if !new => {}
            // GraphQL has no object without fields.
            _ if members.is_empty() => return Found::leaf(JSON),
            Way::In => self.inputs.push(input),
            Way::Out => self.outputs.push(output),
        }
        Found { inner: TypeRef::named(name), nullable: false, shape: Shape::Object(members) }
    }

    /// A Rust enum with data has the same shape in serde and as a one-of input: one field, named like the variant.
    fn one_of(&mut self, root: &Json, node: &Json, choices: &[&Json], name: &str, owner: &str) -> Found {
        let (name, new) = self.name(format!("{name}Input"), owner, node);
        let mut members = BTreeMap::new();
        let mut input = InputObject::new(&name).oneof();
        for (field, schema) in choices.iter().flat_map(|choice| choice["properties"].as_object()).flatten() {
            let found = self.of(root, schema, &format!("{name}{}", super::names::pascal(field)), Way::In);
            input = input.field(InputValue::new(camel(field), found.type_ref(true)));
            members.insert(camel(field), (field.clone(), found.shape));
        }
        if new {
            self.inputs.push(input);
        }
        Found { inner: TypeRef::named(name), nullable: false, shape: Shape::Object(members) }
    }
}

/// The personal field behind a schema, if it is one.
pub(super) fn personal<'a>(root: &'a Json, node: &'a Json) -> Option<&'a str> {
    plain(root, node).node["x-personal"].as_str()
}

/// The personal column that this column is the blind index of, with its kind; such a column is not shown itself.
pub(super) fn indexes<'a>(root: &'a Json, column: &'a str) -> Option<(&'a str, &'a str)> {
    let column = column.strip_suffix("_index")?;
    Some((column, personal(root, root["properties"].get(column)?)?))
}

pub(super) fn requires(node: &Json, field: &str) -> bool {
    node["required"].as_array().is_some_and(|required| required.iter().any(|one| one == field))
}

/// What is said of a field, or else of its type.
pub(super) fn description<'a>(root: &'a Json, node: &'a Json) -> Option<&'a str> {
    node["description"].as_str().or_else(|| plain(root, node).node["description"].as_str())
}

/// The words that a column may hold, where it holds one of several words.
pub(super) fn words_of<'a>(root: &'a Json, column: &str) -> Option<Vec<&'a str>> {
    let words = words(plain(root, &root["properties"][column]).node)?;
    Some(words.into_iter().map(|(word, _)| word).collect())
}

fn plain<'a>(root: &'a Json, node: &'a Json) -> Plain<'a> {
    if let Some(name) = node["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        let inner = plain(root, &root["$defs"][name]);
        return Plain { name: inner.name.or(Some(name)), ..inner };
    }
    if let Some(choices) = node["anyOf"].as_array() {
        let (nulls, others): (Vec<_>, Vec<_>) = choices.iter().partition(|choice| choice["type"] == "null");
        if let ([_, ..], [only]) = (nulls.as_slice(), others.as_slice()) {
            return Plain { nullable: true, ..plain(root, only) };
        }
    }
    let nullable = node["type"].as_array().is_some_and(|types| types.iter().any(|one| one == "null"));
    Plain { node, name: None, nullable }
}

fn is(node: &Json, kind: &str) -> bool {
    match &node["type"] {
        Json::String(one) => one == kind,
        Json::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// The words of a choice of words, each with what is said of it.
fn words(node: &Json) -> Option<Vec<(&str, Option<&str>)>> {
    if let Some(words) = node["enum"].as_array() {
        return words.iter().filter(|word| !word.is_null()).map(|word| Some((word.as_str()?, None))).collect();
    }
    let several = node["oneOf"].as_array()?.iter().map(|choice| match choice["const"].as_str() {
        Some(word) => Some(vec![(word, choice["description"].as_str())]),
        None => words(choice).filter(|_| choice["enum"].is_array()),
    });
    several.collect::<Option<Vec<_>>>().map(|all| all.concat()).filter(|all| !all.is_empty())
}

/// The variants of an enum with data, each an object with one field.
fn choices(node: &Json) -> Option<Vec<&Json>> {
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
