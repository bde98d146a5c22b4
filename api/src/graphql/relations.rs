//! Ways from one read model to another.

use std::sync::Arc;

use async_graphql::dynamic::{Field, FieldFuture, FieldValue, InputValue, TypeRef};
use projections::kernel::{Key, Model, Models};
use projections::query::{Filter, Test};

use super::queries::{Connection, FIRST, paging};
use super::session::Session;
use super::value::{field, to_json};

/// Every way there is, in the order of the contexts.
#[derive(Clone, Debug, Default)]
pub struct Relations(Vec<Relation>);

/// One way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relation {
    pub(super) from: &'static str,
    /// The GraphQL field. Where a column has the same name, the column is called `…Id`.
    pub(super) name: &'static str,
    pub(super) to: &'static str,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// These columns of the row are the key of the other.
    One(&'static [&'static str]),
    /// This column of the others is the key of the row.
    Many(&'static str),
}

impl Relations {
    /// From a row to the one whose key these columns hold. A column of the same name is called `…Id` from then on, which
    /// clients notice.
    pub fn one(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static [&'static str]) {
        self.0.push(Relation { from, name, to, how: How::One(by) });
    }

    /// From a row to those whose column, a key field or an indexed one, holds the row's key.
    pub fn many(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static str) {
        self.0.push(Relation { from, name, to, how: How::Many(by) });
    }

    pub(super) fn of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(|relation| relation.from == model.name)
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(move |relation| relation.name == name)
    }

    /// The fields that ask for many rows.
    pub(super) fn connections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|relation| matches!(relation.how, How::Many(_))).map(|relation| relation.name)
    }

    /// What does not fit the read models there are, one sentence each.
    pub(super) fn flaws(&self, models: &Models) -> Vec<String> {
        let flaw = |relation: &Relation| {
            let Relation { from, name, to, how } = relation;
            let (Some(row), Some(other)) = (models.get(from), models.get(to)) else {
                return Some(format!("{from}.{name}: there is no {from} or no {to}"));
            };
            let fits = match how {
                How::One(by) => by.len() == other.key.len() && by.iter().all(|column| row.column(column).is_some()),
                How::Many(by) => row.key.len() == 1 && (other.key.contains(by) || other.indexed.contains(by)),
            };
            (!fits).then(|| format!("{from}.{name}: {how:?} does not fit the key of {to}, {:?}", other.key))
        };
        self.0.iter().filter_map(flaw).collect()
    }
}

impl Relation {
    /// As a field of the row's type; nothing where the other model does not exist.
    pub(super) fn field(&self, models: &Models) -> Option<Field> {
        let other = Arc::new(models.get(self.to)?.clone());
        let told = other.schema.as_value()["description"].as_str().unwrap_or_default().to_owned();
        Some(match self.how {
            How::One(by) => self.one(other, by).description(told),
            How::Many(by) => self.many(models.get(self.from)?.key.first()?, other, by).description(told),
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
                    let mut question = paging(session, &other, &context)?;
                    question.filters.push(Filter { field: by.into(), test: Test::Equals(value) });
                    Connection::load(session, &other, question).await
                };
                Ok(Some(page.await.map_err(|problem| problem.into_graphql())?.into_field()))
            })
        });
        field
            .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
            .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)))
    }
}
