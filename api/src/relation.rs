//! Relations between read models: declarations only. `graphql::relation_fields` makes fields of them.

use projections::kernel::{Model, Models};

/// All relations, in the order of the contexts.
#[derive(Clone, Debug, Default)]
pub struct Relations(Vec<Relation>);

/// A relation from the rows of one read model to the rows of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relation {
    pub(crate) from: &'static str,
    /// Name of the GraphQL field. A column of the same name is renamed to `…Id`.
    pub(crate) name: &'static str,
    pub(crate) to: &'static str,
    pub(crate) join: Join,
}

/// Columns that connect the rows of a relation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Join {
    /// These columns of the row hold the key of the other row.
    One(&'static [&'static str]),
    /// This column of the other rows holds the key of the row.
    Many(&'static str),
}

impl Relations {
    /// Adds a relation to the row whose key these columns hold. A column of the same name is called `…Id` from then on,
    /// which is a breaking change for clients.
    pub fn one(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static [&'static str]) {
        self.0.push(Relation { from, name, to, join: Join::One(by) });
    }

    /// Adds a relation to the rows whose column, a key field or an indexed one, holds the row's key.
    pub fn many(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static str) {
        self.0.push(Relation { from, name, to, join: Join::Many(by) });
    }

    /// The relations that start at a read model.
    pub(crate) fn of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(|relation| relation.from == model.name)
    }

    /// The relations with a field name, of all read models.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(move |relation| relation.name == name)
    }

    /// Relations that do not fit the read models, one error text each.
    pub(crate) fn errors(&self, models: &Models) -> Vec<String> {
        let error = |relation: &Relation| {
            let Relation { from, name, to, join } = relation;
            let (Some(row), Some(other)) = (models.get(from), models.get(to)) else {
                return Some(format!("{from}.{name}: the read model {from} or {to} does not exist"));
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
    pub(crate) fn is_page(&self) -> bool {
        matches!(self.join, Join::Many(_))
    }
}
