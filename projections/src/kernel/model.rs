//! All read models by name: the one description that stores, GraphQL, schemas and documents read.

use std::collections::BTreeMap;

use domain::kernel::Unreadable;
use domain::shared::Permission;
use heck::{ToLowerCamelCase as _, ToSnakeCase as _};
use schemars::Schema;
use serde_json::Value;

use super::fold::Table;
use super::{Column, Fold, Key, ReadModel, Sources, Visitor, plural, shape};

/// One read model, its row type forgotten.
#[derive(Clone, Debug)]
pub struct Model {
    /// What one row is (`StockLevel`).
    pub name: String,
    /// The bounded context it belongs to (`inventory`); empty in a description that [`Models`] did not make.
    pub context: &'static str,
    /// What a reader must be allowed to do.
    pub needs: Permission,
    /// Names everything its table depends on: 16 hexadecimal digits.
    pub shape: String,
    /// JSON Schema of a row; the descriptions are its documentation.
    pub schema: Schema,
    /// The fields of a row in alphabetical order, without the tenant.
    pub columns: Vec<Column>,
    /// The fields that identify a row within its tenant.
    pub key: &'static [&'static str],
    /// The fields that readers filter and order by.
    pub indexed: &'static [&'static str],
    /// The field with the customer a row belongs to.
    pub owner: Option<&'static str>,
    /// What a field must be for customers to see a row.
    pub shown: Option<(&'static str, &'static str)>,
    /// The field with the units that can still be had, where a row is a stream that may run out.
    pub left: Option<&'static str>,
    /// Whether every event makes a row of its own that no other event touches.
    pub appends: bool,
    /// The types of the streams it listens to.
    pub streams: Vec<&'static str>,
    begin: fn() -> Box<dyn Fold>,
    canonical: fn(&str) -> Result<String, Unreadable>,
}

impl Model {
    /// The description of one row type.
    pub fn of<M: ReadModel>() -> Self {
        let schema = schemars::schema_for!(M);
        let mut streams: Vec<_> = Sources::<M>::collect().iter().map(|source| source.stream_type()).collect();
        streams.sort_unstable();
        streams.dedup();
        Self {
            name: M::schema_name().into(),
            context: "",
            needs: M::NEEDS,
            shape: shape::shape(schema.as_value(), M::KEY, M::INDEXED, M::REVISION),
            columns: shape::columns(schema.as_value()),
            schema,
            key: M::KEY,
            indexed: M::INDEXED,
            owner: M::OWNER,
            shown: M::SHOWN,
            left: M::LEFT,
            appends: M::APPENDS,
            streams,
            begin: || Box::new(Table::<M>::new()),
            canonical: canonical::<M>,
        }
    }

    /// An empty table in memory to fold events into.
    pub fn begin(&self) -> Box<dyn Fold> {
        (self.begin)()
    }

    /// The same row as every machine writes it, whatever the store made of instants and of the order of fields.
    pub fn canonical(&self, row: &str) -> Result<String, Unreadable> {
        (self.canonical)(row)
    }

    /// The key of a row, read out of its own fields.
    pub fn key_of(&self, row: &Value) -> Key {
        let values: Vec<&Value> = self.key.iter().map(|field| &row[*field]).collect();
        Key::of(&values)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// `stock_level`, as in the names of its tables.
    pub fn stem(&self) -> String {
        self.name.to_snake_case()
    }

    /// `stock_levels`, the plain name for people.
    pub fn stems(&self) -> String {
        plural(&self.stem())
    }

    /// `stockLevel`, the question for one row.
    pub fn field(&self) -> String {
        self.name.to_lower_camel_case()
    }

    /// `stockLevels`, the question for many rows.
    pub fn fields(&self) -> String {
        plural(&self.field())
    }

    /// `stock_level_0123456789abcdef`, the table of this shape.
    pub fn table(&self) -> String {
        format!("{}_{}", self.stem(), self.shape)
    }
}

/// Every read model of the house.
#[derive(Debug, Default)]
pub struct Models {
    models: BTreeMap<String, Model>,
    /// The context being visited.
    context: &'static str,
}

impl Models {
    /// All of them.
    pub fn all() -> Self {
        let mut all = Self::default();
        crate::visit(&mut all);
        all
    }

    /// By the name of a row (`StockLevel`).
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }
}

impl Visitor for Models {
    fn context(&mut self, name: &'static str) {
        self.context = name;
    }

    fn read_model<M: ReadModel>(&mut self) {
        let model = Model { context: self.context, ..Model::of::<M>() };
        self.models.insert(model.name.clone(), model);
    }
}

fn canonical<M: ReadModel>(row: &str) -> Result<String, Unreadable> {
    serde_json::from_str::<M>(row)
        .and_then(|row| serde_json::to_string(&row))
        .map_err(|error| Unreadable { name: M::schema_name().into(), reason: error.to_string() })
}
