//! Relations between read models: declarations only. The GraphQL fields that follow them are in `graphql`.

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
    pub(crate) cardinality: Cardinality,
}

/// Number of rows at the other end, and the columns that connect them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cardinality {
    /// These columns of the row are the key of the other row.
    One(&'static [&'static str]),
    /// This column of the other rows is the key of the row.
    Many(&'static str),
}

impl Relations {
    /// Adds a relation to the row whose key these columns hold. A column of the same name is called `…Id` from then on,
    /// which is a breaking change for clients.
    pub fn one(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static [&'static str]) {
        self.0.push(Relation { from, name, to, cardinality: Cardinality::One(by) });
    }

    /// Adds a relation to the rows whose column, a key field or an indexed one, holds the row's key.
    pub fn many(&mut self, from: &'static str, name: &'static str, to: &'static str, by: &'static str) {
        self.0.push(Relation { from, name, to, cardinality: Cardinality::Many(by) });
    }

    /// The relations that start at a read model.
    pub(crate) fn of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(|relation| relation.from == model.name)
    }

    /// The relations with a field name, of all read models.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.0.iter().filter(move |relation| relation.name == name)
    }

    /// Names of the fields that return many rows.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &str> {
        let many = |relation: &&Relation| matches!(relation.cardinality, Cardinality::Many(_));
        self.0.iter().filter(many).map(|relation| relation.name)
    }

    /// Relations that do not match the read models, one sentence each.
    pub(crate) fn flaws(&self, models: &Models) -> Vec<String> {
        let flaw = |relation: &Relation| {
            let Relation { from, name, to, cardinality } = relation;
            let (Some(row), Some(other)) = (models.get(from), models.get(to)) else {
                return Some(format!("{from}.{name}: the read model {from} or {to} does not exist"));
            };
            let fits = match cardinality {
                Cardinality::One(by) => {
                    by.len() == other.key.len() && by.iter().all(|column| row.column(column).is_some())
                }
                Cardinality::Many(by) => row.key.len() == 1 && (other.key.contains(by) || other.indexed.contains(by)),
            };
            (!fits).then(|| format!("{from}.{name}: {cardinality:?} does not match the key of {to}, {:?}", other.key))
        };
        self.0.iter().filter_map(flaw).collect()
    }
}
