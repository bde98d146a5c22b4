//! Input types of queries: which values of variables are certainly valid.
//!
//! async-graphql has checked the types of variables and literals when it answered the document for the first time. The
//! values of variables differ from request to request, and a value that is not accepted here is left to async-graphql.

use std::collections::HashMap;

use async_graphql::Value;
use async_graphql::dynamic::TypeRef;
use async_graphql::parser::types::{BaseType, Type};

use crate::graphql::filters::{DIRECTION, DIRECTIONS, Filterable, KINDS, PERSONAL_FILTER, TEXT, filter_name, tests};
use crate::graphql::names::{camel, capitals};
use crate::graphql::scalars;

/// Enums and input objects by name. Scalars are known without them.
#[derive(Default)]
pub(super) struct InputTypes(HashMap<String, InputType>);

enum InputType {
    Enum(Vec<String>),
    /// Types of the fields, by name.
    Object(HashMap<String, Type>),
}

impl InputTypes {
    /// Adds the filter and the order of a read model.
    pub(super) fn add(&mut self, Filterable { model, columns, personal, is_searched }: &Filterable) {
        if self.0.is_empty() {
            self.add_shared();
        }
        let filters = columns.iter().map(|(column, _)| (camel(&column.name), filter_name(column.kind)));
        let filters = filters.chain(personal.iter().map(|column| (camel(column), PERSONAL_FILTER.to_owned())));
        let filters = filters.chain(is_searched.then(|| (TEXT.to_owned(), TypeRef::STRING.to_owned())));
        self.add_object(format!("{model}Filter"), filters);
        let by = format!("{model}OrderField");
        let order = [("by".to_owned(), format!("{by}!")), ("direction".to_owned(), DIRECTION.to_owned())];
        self.add_object(format!("{model}Order"), order);
        self.0.insert(by, InputType::Enum(columns.iter().map(|(column, _)| capitals(&column.name)).collect()));
    }

    fn add_shared(&mut self) {
        for kind in KINDS {
            let tests = tests(kind).into_iter().map(|(name, type_ref, _)| (name.to_owned(), type_ref.to_string()));
            self.add_object(filter_name(kind), tests);
        }
        self.add_object(PERSONAL_FILTER.to_owned(), [("eq".to_owned(), format!("{}!", TypeRef::STRING))]);
        self.0.insert(DIRECTION.to_owned(), InputType::Enum(DIRECTIONS.map(str::to_owned).into()));
    }

    fn add_object(&mut self, name: String, fields: impl IntoIterator<Item = (String, String)>) {
        let fields = fields.into_iter().filter_map(|(field, type_name)| Some((field, Type::new(&type_name)?)));
        self.0.insert(name, InputType::Object(fields.collect()));
    }

    /// True if a value is certainly valid for a type.
    pub(super) fn accepts(&self, of: &Type, value: &Value) -> bool {
        match (&of.base, value) {
            (_, Value::Null) => of.nullable,
            (BaseType::List(inner), Value::List(values)) => values.iter().all(|value| self.accepts(inner, value)),
            (BaseType::List(_), _) => false,
            (BaseType::Named(name), value) => match self.0.get(name.as_str()) {
                None => scalars::validator(name).is_some_and(|is_valid| is_valid(value)),
                Some(InputType::Enum(values)) => match value {
                    Value::Enum(name) => values.iter().any(|value| *value == **name),
                    Value::String(name) => values.contains(name),
                    _ => false,
                },
                Some(InputType::Object(fields)) => self.accepts_object(fields, value),
            },
        }
    }

    fn accepts_object(&self, fields: &HashMap<String, Type>, value: &Value) -> bool {
        let Value::Object(members) = value else { return false };
        let is_complete = fields.iter().all(|(name, of)| of.nullable || members.contains_key(name.as_str()));
        let accepts = |of: Option<&Type>, value| of.is_some_and(|of| self.accepts(of, value));
        is_complete && members.iter().all(|(name, value)| accepts(fields.get(name.as_str()), value))
    }
}

#[cfg(test)]
mod tests {
    use projections::inventory::StockLevel;
    use projections::kernel::Model;
    use serde_json::json;

    use super::*;

    #[test]
    fn valid_values_are_accepted_and_unclear_ones_are_not() {
        let mut types = InputTypes::default();
        types.add(&Filterable::of(&Model::of::<StockLevel>()));
        let accepts = |of: &str, value: serde_json::Value| {
            let (of, value) = (Type::new(of).expect("a type"), Value::from_json(value).expect("a value"));
            types.accepts(&of, &value)
        };
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        for (of, value) in [
            ("Int", json!(5)),
            ("Int", json!(null)),
            ("[UUID!]!", json!([id])),
            ("StockLevelFilter", json!({ "available": { "gte": 1 }, "product": { "in": [id] } })),
            ("StockLevelOrder", json!({ "by": "AVAILABLE" })),
            ("StockLevelOrder", json!({ "by": "AVAILABLE", "direction": "DESC" })),
        ] {
            assert!(accepts(of, value.clone()), "{of}: {value}");
        }
        for (of, value) in [
            ("Int", json!(5_000_000_000_i64)),
            ("Int!", json!(null)),
            ("UUID", json!(id.replace('-', ""))),
            ("[UUID!]", json!(id)),
            ("[UUID!]", json!([null])),
            ("StockLevelFilter", json!({ "available": { "gte": "1" } })),
            ("StockLevelFilter", json!({ "on_hand": { "gte": 1 } })),
            ("StockLevelOrder", json!({ "direction": "DESC" })),
            ("StockLevelOrder", json!({ "by": "AVAILABLE", "direction": "UP" })),
            ("ProductFilter", json!({})),
            ("JSON", json!({})),
        ] {
            assert!(!accepts(of, value.clone()), "{of}: {value}");
        }
    }
}
