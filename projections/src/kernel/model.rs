//! Catalogue of read models, from which tables, GraphQL types and published schemas are derived.

use std::collections::BTreeMap;

use domain::kernel::Unreadable;
use domain::shared::Permission;
use heck::{ToLowerCamelCase as _, ToSnakeCase as _};
use schemars::Schema;
use serde_json::Value;

use super::fold::FoldTable;
use super::{Column, Fold, Key, ReadModel, Sources, Visitor, plural, shape};

/// Description of one read model, independent of its row type.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name of the row type (`StockLevel`).
    pub name: String,
    /// The bounded context it belongs to (`inventory`); empty in a description that [`Models`] did not make.
    pub context: &'static str,
    /// Permission required to read it.
    pub needs: Permission,
    /// Hash of the row schema, key, indexes and revision, 16 hexadecimal digits: another shape needs a new table.
    pub shape: String,
    /// JSON Schema of a row, with the doc comments as descriptions.
    pub schema: Schema,
    /// Fields of a row in alphabetical order, without the tenant.
    pub columns: Vec<Column>,
    /// Fields that identify a row within its tenant.
    pub key: &'static [&'static str],
    /// Fields that queries can filter and order by, besides the key.
    pub indexed: &'static [&'static str],
    /// Field with the customer who owns the row.
    pub owner: Option<&'static str>,
    /// Fields shown to every caller of the tenant.
    pub public: &'static [&'static str],
    /// Field and value that a row must have to be shown to callers who see only the public fields.
    pub visible_when: Option<(&'static str, &'static str)>,
    /// Field with the units still available, for models of something that can sell out.
    pub remaining: Option<&'static str>,
    /// Personal fields by whose words a row is found; the key is the person.
    pub searched: Vec<SearchedField>,
    /// True if the model is append-only: every event makes its own row.
    pub appends: bool,
    /// Stream types it listens to.
    pub streams: Vec<&'static str>,
    new_fold: fn() -> Box<dyn Fold>,
    canonical: fn(&str) -> Result<String, Unreadable>,
}

impl Model {
    /// Describes one row type, outside of any context.
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
            searched: M::SEARCHED.iter().map(|column| SearchedField::of(schema.as_value(), column)).collect(),
            schema,
            key: M::KEY,
            indexed: M::INDEXED,
            owner: M::OWNER,
            public: M::PUBLIC,
            visible_when: M::VISIBLE_WHEN,
            remaining: M::REMAINING,
            appends: M::APPENDS,
            streams,
            new_fold: || Box::new(FoldTable::<M>::new()),
            canonical: canonical::<M>,
        }
    }

    /// Makes an empty in-memory table to fold events into.
    pub fn begin_fold(&self) -> Box<dyn Fold> {
        (self.new_fold)()
    }

    /// Rewrites a row in canonical form, independent of how the store formats instants and orders fields.
    pub fn canonical(&self, row: &str) -> Result<String, Unreadable> {
        (self.canonical)(row)
    }

    /// Computes the key of a row from its fields.
    pub fn key_of(&self, row: &Value) -> Key {
        let values: Vec<&Value> = self.key.iter().map(|field| &row[*field]).collect();
        Key::of(&values)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Name in snake case (`stock_level`), used in table names.
    pub fn stem(&self) -> String {
        self.name.to_snake_case()
    }

    /// Plural in snake case (`stock_levels`), the name of the view that SQL users read.
    pub fn plural_stem(&self) -> String {
        plural(&self.stem())
    }

    /// Name in camel case (`stockLevel`), the GraphQL query for one row.
    pub fn field(&self) -> String {
        self.name.to_lower_camel_case()
    }

    /// Plural in camel case (`stockLevels`), the GraphQL query for many rows.
    pub fn fields(&self) -> String {
        plural(&self.field())
    }

    /// Name of the table for this shape (`stock_level_0123456789abcdef`).
    pub fn table(&self) -> String {
        format!("{}_{}", self.stem(), self.shape)
    }
}

/// A personal field by whose words rows are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchedField {
    pub column: &'static str,
    /// Kind of the field, which its sealed value is bound to (`email`); empty if the field is not personal.
    pub kind: String,
}

impl SearchedField {
    fn of(schema: &Value, column: &'static str) -> Self {
        Self { column, kind: shape::personal_kind(schema, column).unwrap_or_default().into() }
    }
}

/// All read models of the workspace.
#[derive(Debug, Default)]
pub struct Models {
    models: BTreeMap<String, Model>,
    /// The context being visited.
    context: &'static str,
}

impl Models {
    /// Collects every read model.
    pub fn all() -> Self {
        let mut all = Self::default();
        crate::visit(&mut all);
        all
    }

    /// Finds a model by the name of its row type (`StockLevel`).
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// Iterates in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    /// Names of all models, and their shapes in the same order.
    pub fn shapes(&self) -> (Vec<&str>, Vec<&str>) {
        self.iter().map(|model| (model.name.as_str(), model.shape.as_str())).unzip()
    }

    /// Groups of read models that follow the log on their own: the models of each bounded context, by its name.
    pub fn groups(&self) -> BTreeMap<&'static str, Vec<&Model>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        self.iter().for_each(|model| groups.entry(model.context).or_default().push(model));
        groups
    }
}

impl FromIterator<Model> for Models {
    fn from_iter<I: IntoIterator<Item = Model>>(models: I) -> Self {
        let models = models.into_iter().map(|model| (model.name.clone(), model)).collect();
        Self { models, context: "" }
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
