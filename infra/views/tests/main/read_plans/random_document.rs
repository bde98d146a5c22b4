//! Random documents of the published schema.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::{Context, Result};
use async_graphql::parser::types::{BaseType, Type, TypeDefinition, TypeKind, TypeSystemDefinition};
use serde_json::{Map, Value, json};

/// Depth at which only leaves are selected.
const DEPTH_MOST: usize = 7;
/// Number of aliases and of variables of a document.
const NAMES_MOST: usize = 12;
/// Number of selected fields of a document.
const FIELDS_MOST: usize = 120;

/// Name of a field, its arguments by name, and its type.
type SchemaField<'a> = (&'a str, Vec<(&'a str, &'a Type)>, &'a Type);

/// Types of the published schema, by name.
pub(super) struct Schema(BTreeMap<String, TypeDefinition>);

/// Values from which arguments are drawn.
pub(super) struct Samples {
    /// Values of columns, by the name of the column in filters.
    pub(super) values: HashMap<String, Vec<Value>>,
    /// Cursors of the default order, by the name of the page.
    pub(super) cursors: HashMap<String, Vec<Value>>,
    /// Freshness tokens.
    pub(super) tokens: Vec<String>,
}

/// A document with the values of its variables.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) text: String,
    pub(super) variables: Map<String, Value>,
}

/// Pseudo-random numbers (splitmix64): the same for the same seed on every machine.
pub(super) struct Random(u64);

/// A document that is being written.
struct Writer<'a> {
    schema: &'a Schema,
    samples: &'a Samples,
    random: &'a mut Random,
    definitions: Vec<String>,
    variables: Map<String, Value>,
    fragments: String,
    names: usize,
    fields: usize,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0) % bound.max(1)
    }

    /// True once in so many times.
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

impl Schema {
    pub(super) fn published() -> Result<Self> {
        let document = async_graphql::parser::parse_schema(api::graphql::sdl().context("a schema")?)?;
        let types = document.definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(of) => Some((of.node.name.node.to_string(), of.node)),
            _ => None,
        });
        Ok(Self(types.collect()))
    }

    /// Fields of an object type, with the types of their arguments.
    fn fields(&self, name: &str) -> Vec<SchemaField<'_>> {
        let Some(TypeKind::Object(object)) = self.0.get(name).map(|of| &of.kind) else { return Vec::new() };
        let fields = object.fields.iter().map(|field| &field.node);
        fields
            .map(|field| {
                let arguments = field.arguments.iter().map(|one| (one.node.name.node.as_str(), &one.node.ty.node));
                (field.name.node.as_str(), arguments.collect(), &field.ty.node)
            })
            .collect()
    }

    fn is_leaf(&self, of: &Type) -> bool {
        !matches!(self.0.get(name_of(of)).map(|of| &of.kind), Some(TypeKind::Object(_)))
    }

    /// Pages at the root, each with the leaves of its rows.
    pub(super) fn pages(&self) -> Vec<(&str, Vec<&str>)> {
        let mut pages = Vec::new();
        let queries = self.fields("Query").into_iter();
        let free = queries.filter(|(_, arguments, _)| arguments.iter().all(|(_, of)| of.nullable));
        for (name, _, of) in free {
            if let Some(node) = name_of(of).strip_suffix("Connection") {
                let leaves = self.fields(node).into_iter().filter(|(_, _, of)| self.is_leaf(of));
                pages.push((name, leaves.map(|(name, ..)| name).collect()));
            }
        }
        pages
    }
}

impl Document {
    pub(super) fn random(schema: &Schema, samples: &Samples, random: &mut Random) -> Self {
        let (definitions, variables) = (Vec::new(), Map::new());
        let mut writer =
            Writer { schema, samples, random, definitions, variables, fragments: String::new(), names: 0, fields: 0 };
        let selection = writer.selection("Query", 0);
        let Writer { definitions, variables, fragments, .. } = writer;
        let head = if definitions.is_empty() { String::new() } else { format!("({})", definitions.join(", ")) };
        Self { text: format!("query Random{head} {selection}{fragments}"), variables }
    }
}

impl Writer<'_> {
    /// Selections of an object type in braces.
    fn selection(&mut self, type_name: &str, depth: usize) -> String {
        let mut fields = self.schema.fields(type_name);
        // The time of the server differs between two answers.
        fields.retain(|(name, ..)| *name != "serverTime");
        // Fields at the root are drawn from all; rows have some of their fields.
        let count = if depth == 0 { 1 + self.random.below(3) } else { 1 + self.random.below(fields.len()) };
        let mut parts = Vec::new();
        for _ in 0..count {
            if fields.is_empty() {
                break;
            }
            let (name, arguments, of) = fields.swap_remove(self.random.below(fields.len()));
            parts.extend(self.field(name, &arguments, of, depth));
        }
        if parts.is_empty() || self.random.one_in(6) {
            parts.push("__typename".into());
        }
        let selection = parts.join(" ");
        match self.random.below(12) {
            0 => format!("{{ ... on {type_name} {{ {selection} }} }}"),
            1 => {
                let name = format!("F{}", self.fragments.matches("fragment").count());
                write!(self.fragments, " fragment {name} on {type_name} {{ {selection} }}").ok();
                format!("{{ ...{name} }}")
            }
            _ => format!("{{ {selection} }}"),
        }
    }

    fn field(&mut self, name: &str, arguments: &[(&str, &Type)], of: &Type, depth: usize) -> Option<String> {
        self.fields += 1;
        let is_leaf = self.schema.is_leaf(of);
        if self.fields > FIELDS_MOST || (!is_leaf && depth >= DEPTH_MOST) {
            return None;
        }
        let alias = if self.names < NAMES_MOST && self.random.one_in(8) {
            self.names += 1;
            format!("a{}: ", self.names)
        } else {
            String::new()
        };
        let mut written = Vec::new();
        for (argument, of) in arguments {
            match self.argument(name, argument, of) {
                Some(argument) => written.push(argument),
                // There is no sample of a required argument.
                None if !of.nullable => return None,
                None => {}
            }
        }
        let arguments = if written.is_empty() { String::new() } else { format!("({})", written.join(", ")) };
        let selection = if is_leaf { String::new() } else { format!(" {}", self.selection(name_of(of), depth + 1)) };
        Some(format!("{alias}{name}{arguments}{selection}"))
    }

    /// An argument with its value, as a literal or as a variable.
    fn argument(&mut self, field: &str, name: &str, of: &Type) -> Option<String> {
        // Pages are always small, so that no document is too costly.
        if name != "first" && of.nullable && self.random.one_in(2) {
            return None;
        }
        let value = match name {
            "first" => json!(1 + self.random.below(5)),
            "after" => {
                let cursors = self.samples.cursors.get(field)?;
                cursors[self.random.below(cursors.len())].clone()
            }
            "minPosition" if self.random.one_in(4) => json!(self.samples.tokens[0]),
            "minPosition" => return None,
            _ => self.value(name, of)?,
        };
        if self.variables.len() >= NAMES_MOST || !self.random.one_in(3) {
            return Some(format!("{name}: {}", self.literal(of, &value)));
        }
        let variable = format!("v{}", self.definitions.len());
        match (of.nullable && name != "first", self.random.below(5)) {
            (true, 0) => self.definitions.push(format!("${variable}: {of}")),
            (_, 1) => {
                let default = self.literal(of, &value);
                self.definitions.push(format!("${variable}: {of} = {default}"));
            }
            _ => {
                self.definitions.push(format!("${variable}: {of}"));
                self.variables.insert(variable.clone(), value);
            }
        }
        Some(format!("{name}: ${variable}"))
    }

    /// A value of an input type; `None` if there is no sample of it.
    fn value(&mut self, name: &str, of: &Type) -> Option<Value> {
        if let BaseType::List(inner) = &of.base {
            return (0..=self.random.below(3)).map(|_| self.value(name, inner)).collect();
        }
        let schema = self.schema;
        match schema.0.get(name_of(of)).map(|of| &of.kind) {
            Some(TypeKind::Enum(values)) => {
                let value = &values.values[self.random.below(values.values.len())];
                Some(json!(value.node.value.node.as_str()))
            }
            Some(TypeKind::InputObject(object)) => {
                let mut members = Map::new();
                for _ in 0..=self.random.below(2) {
                    let field = &object.fields[self.random.below(object.fields.len())].node;
                    let field_name = field.name.node.as_str();
                    // The fields of a filter are columns, and the tests of a column have its values.
                    let name = if matches!(field_name, "eq" | "in" | "gte" | "lte") { name } else { field_name };
                    members.insert(field_name.into(), self.value(name, &field.ty.node)?);
                }
                for field in object.fields.iter().map(|field| &field.node).filter(|field| !field.ty.node.nullable) {
                    let field_name = field.name.node.as_str();
                    if !members.contains_key(field_name) {
                        let name = if field_name == "eq" { name } else { field_name };
                        members.insert(field_name.into(), self.value(name, &field.ty.node)?);
                    }
                }
                Some(members.into())
            }
            _ => {
                let values = self.samples.values.get(name)?;
                Some(values[self.random.below(values.len())].clone())
            }
        }
    }

    /// A value as it is written in a document.
    fn literal(&self, of: &Type, value: &Value) -> String {
        match (self.schema.0.get(name_of(of)).map(|of| &of.kind), value) {
            (_, Value::Array(values)) => {
                let values: Vec<_> = values.iter().map(|value| self.literal(of, value)).collect();
                format!("[{}]", values.join(", "))
            }
            (Some(TypeKind::Enum(_)), Value::String(name)) => name.clone(),
            (Some(TypeKind::InputObject(object)), Value::Object(members)) => {
                let of = |name: &str| object.fields.iter().find(|field| field.node.name.node == *name);
                let members = members.iter().filter_map(|(name, value)| {
                    Some(format!("{name}: {}", self.literal(&of(name)?.node.ty.node, value)))
                });
                format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
            }
            (_, value) => value.to_string(),
        }
    }
}

/// The name of a type without lists and non-null marks.
fn name_of(of: &Type) -> &str {
    match &of.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(inner) => name_of(inner),
    }
}
