//! Relations between read models.

use std::sync::Arc;

use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, TypeRef};
use projections::kernel::{Key, Model, Models};
use projections::question::{Filter, Test};

use super::queries::{Connection, FIRST, paging};
use super::session::Session;
use super::value::{field, to_json};

/// All relations, in the order of the contexts.
#[derive(Clone, Debug, Default)]
pub struct Relations(Vec<Relation>);

/// A field that leads from a row to one row or a page of rows of another read model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relation {
    pub(super) from: &'static str,
    /// The GraphQL field. A column with the same name is shown as `…Id`.
    pub(super) name: &'static str,
    pub(super) to: &'static str,
    join: Join,
}

#[derive(Clone, Copy, Debug)]
enum Join {
    /// These columns of the row hold the key of the other row.
    One(&'static [&'static str]),
    /// This column of the other rows holds the key of the row.
    Many(&'static str),
}

impl Relations {
    /// Adds a relation to the row whose key these columns hold. It renames a column of the same name to `…Id`, which
    /// is a breaking change for clients.
    pub fn one(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static [&'static str]) {
        self.0.push(Relation { from, name, to, join: Join::One(by) });
    }

    /// Adds a relation to the rows whose column `by`, a key field or an indexed one, holds the row's key.
    pub fn many(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static str) {
        self.0.push(Relation { from, name, to, join: Join::Many(by) });
    }

    pub(super) fn of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(|relation| relation.from == model.name)
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(move |relation| relation.name == name)
    }

    /// Names of the relations that return pages.
    pub(super) fn connections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|relation| relation.is_page()).map(|relation| relation.name)
    }

    /// Relations that do not fit the read models, one error text each.
    pub(super) fn errors(&self, models: &Models) -> Vec<String> {
        let error = |relation: &Relation| {
            let Relation { from, name, to, join } = relation;
            let (Some(row), Some(other)) = (models.get(from), models.get(to)) else {
                return Some(format!("{from}.{name}: read model {from} or {to} does not exist"));
            };
            let fits = match join {
                Join::One(by) => by.len() == other.key.len() && by.iter().all(|column| row.column(column).is_some()),
                Join::Many(by) => row.key.len() == 1 && (other.key.contains(by) || other.indexed.contains(by)),
            };
            (!fits).then(|| format!("{from}.{name}: {join:?} does not match the key of {to}, {:?}", other.key))
        };
        self.0.iter().filter_map(error).collect()
    }
}

impl Relation {
    /// True if the field returns a page of rows, false if it returns one row.
    pub(super) fn is_page(&self) -> bool {
        matches!(self.join, Join::Many(_))
    }

    /// The field of the row's type; `None` if the other model does not exist.
    pub(super) fn field(&self, models: &Models) -> Option<Field> {
        let other = Arc::new(models.get(self.to)?.clone());
        let text = other.schema.as_value()["description"].as_str().unwrap_or_default().to_owned();
        Some(match self.join {
            Join::One(by) => self.one(other, by).description(text),
            Join::Many(by) => self.many(models.get(self.from)?.key.first()?, other, by).description(text),
        })
    }

    fn one(&self, other: Arc<Model>, by: &'static [&'static str]) -> Field {
        Field::new(self.name, TypeRef::named(&other.name), move |context| {
            let other = Arc::clone(&other);
            FieldFuture::new(async move {
                let values: Option<Vec<_>> =
                    by.iter().map(|column| field(context.parent_value, column).map(to_json)).collect();
                let Some(values) = values else { return Ok(None) };
                let session = Session::of(&context)?;
                let row = session.row(&other, Key::of(&values)).await;
                Ok(row.map_err(|problem| problem.into_graphql())?.map(FieldValue::value))
            })
        })
    }

    fn many(&self, own_key: &'static str, other: Arc<Model>, by: &'static str) -> Field {
        let connection = TypeRef::named(format!("{}Connection", other.name));
        let field = Field::new(self.name, connection, move |context| {
            let other = Arc::clone(&other);
            FieldFuture::new(async move {
                let Some(value) = field(context.parent_value, own_key).map(to_json) else { return Ok(None) };
                let session = Session::of(&context)?;
                let page = async {
                    let mut query = paging(session, &other, &context)?;
                    query.filters.push(Filter { field: by.into(), test: Test::Equals(value) });
                    Connection::load(session, &other, query).await
                };
                Ok(Some(page.await.map_err(|problem| problem.into_graphql())?.into_field()))
            })
        });
        field
            .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
            .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)))
    }
}
