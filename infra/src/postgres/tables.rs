//! The statements for the table of one read model, made from the description of its rows.

use projections::kernel::{Column, Kind, Model};

/// The table of one shape of a read model, or the one being built beside it.
pub(super) struct Table<'m> {
    pub(super) model: &'m Model,
    /// With its schema; made of our own names only.
    pub(super) name: String,
}

impl<'m> Table<'m> {
    pub(super) fn live(model: &'m Model) -> Self {
        Self { model, name: format!("reads.{}", model.table()) }
    }

    pub(super) fn building(model: &'m Model) -> Self {
        Self { model, name: format!("reads.{}_build", model.table()) }
    }

    /// The table alone; its key and indexes are cheaper to make when the rows are there.
    pub(super) fn create(&self) -> String {
        let column = |column: &Column| {
            let null = if column.optional { "" } else { " NOT NULL" };
            format!(", {} {}{null}", quoted(&column.name), sql_type(column.kind))
        };
        let columns: String = self.model.columns.iter().map(column).collect();
        format!("CREATE TABLE {} (tenant uuid NOT NULL{columns})", self.name)
    }

    pub(super) fn create_key(&self) -> String {
        format!("ALTER TABLE {} ADD PRIMARY KEY ({})", self.name, self.key())
    }

    /// One per indexed field, ending in the key, so that pages of it are read in order.
    pub(super) fn create_indexes(&self) -> Vec<String> {
        let rest = |field: &str| {
            self.model
                .key
                .iter()
                .filter(|key| **key != field)
                .map(|key| format!(", {}", quoted(key)))
                .collect::<String>()
        };
        let index = |field: &&str| format!("CREATE INDEX ON {} (tenant, {}{})", self.name, quoted(field), rest(field));
        let owner = self.model.owner.filter(|owner| !self.model.indexed.contains(owner) && self.model.key[0] != *owner);
        self.model.indexed.iter().chain(&owner).map(index).collect()
    }

    /// A plain name for people; our own processes read the table of their shape.
    pub(super) fn create_view(&self) -> [String; 2] {
        let view = format!("reads.{}", self.model.stems());
        [format!("DROP VIEW IF EXISTS {view}"), format!("CREATE VIEW {view} AS SELECT * FROM {}", self.name)]
    }

    /// Puts the rows of a JSON array.
    pub(super) fn put(&self) -> String {
        self.insert_from(&format!("jsonb_populate_recordset(NULL::{}, $1::jsonb)", self.name))
    }

    /// Puts the rows of another table of the same shape.
    pub(super) fn insert_from(&self, source: &str) -> String {
        let columns = self.columns();
        let set: Vec<_> = self
            .model
            .columns
            .iter()
            .filter(|column| !self.model.key.contains(&column.name.as_str()))
            .map(|column| format!("{0} = excluded.{0}", quoted(&column.name)))
            .collect();
        let update = if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {source} ON CONFLICT ({}) DO {update}",
            self.name,
            self.key()
        )
    }

    /// Deletes the rows at the places ($1 tenants, $2 keys).
    pub(super) fn delete(&self) -> String {
        format!(
            "DELETE FROM {} t USING unnest($1::uuid[], $2::text[]) AS k(tenant, key) WHERE {}",
            self.name,
            self.at_place()
        )
    }

    /// The rows at the places ($3 tenants, $4 keys) in their order, and whether earlier events of a key wait for the
    /// model $1 in the shape $2.
    ///
    /// `LATERAL` keeps the planner, which cannot know how many places there are, from reading the whole table.
    pub(super) fn load(&self) -> String {
        format!(
            "SELECT r.row, EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2 \
             AND p.tenant = k.tenant AND p.key = k.key) \
             FROM unnest($3::uuid[], $4::text[]) WITH ORDINALITY AS k(tenant, key, n) \
             LEFT JOIN LATERAL (SELECT {} AS row FROM {} t WHERE {} LIMIT 1) r ON true ORDER BY k.n",
            ROW,
            self.name,
            self.at_place()
        )
    }

    /// Every column, the tenant first.
    pub(super) fn columns(&self) -> String {
        let columns: String = self.model.columns.iter().map(|column| format!(", {}", quoted(&column.name))).collect();
        format!("tenant{columns}")
    }

    /// The columns of the key, the tenant first.
    pub(super) fn key(&self) -> String {
        let columns: String = self.model.key.iter().map(|field| format!(", {}", quoted(field))).collect();
        format!("tenant{columns}")
    }

    /// That row `t` stands at place `k`.
    fn at_place(&self) -> String {
        let part = |(at, field): (usize, &&str)| {
            let kind = self.model.column(field).map_or("text", |column| sql_cast(column.kind));
            format!(" AND t.{} = ((k.key::json)->>{at})::{kind}", quoted(field))
        };
        let parts: String = self.model.key.iter().enumerate().map(part).collect();
        format!("t.tenant = k.tenant{parts}")
    }
}

/// A row as JSON text; the tenant is the store's own business.
pub(super) const ROW: &str = "(to_jsonb(t) - 'tenant')::text";

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Texts compare byte by byte, so that every machine orders alike.
fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text COLLATE \"C\"",
        other => sql_cast(other),
    }
}

pub(super) fn sql_cast(kind: Kind) -> &'static str {
    match kind {
        Kind::Uuid => "uuid",
        Kind::Integer => "bigint",
        Kind::Boolean => "boolean",
        Kind::Text => "text",
        Kind::Instant => "timestamptz",
        Kind::Day => "date",
        Kind::Json => "jsonb",
    }
}

#[cfg(test)]
mod tests {
    use projections::inventory::Reservation;

    use super::*;

    #[test]
    fn a_table_has_typed_columns_and_the_tenant_in_front_of_everything() {
        let model = Model::of::<Reservation>();
        let table = Table { model: &model, name: "reads.r".into() };
        assert_eq!(
            table.create(),
            "CREATE TABLE reads.r (tenant uuid NOT NULL, \"ended_at\" timestamptz, \"made_at\" timestamptz NOT NULL, \
             \"reservation\" uuid NOT NULL, \"status\" text COLLATE \"C\" NOT NULL, \"stock_item\" uuid NOT NULL, \
             \"units\" bigint NOT NULL, \"until\" timestamptz)"
        );
        assert_eq!(table.create_key(), "ALTER TABLE reads.r ADD PRIMARY KEY (tenant, \"stock_item\", \"reservation\")");
        assert_eq!(
            table.create_indexes(),
            [
                "CREATE INDEX ON reads.r (tenant, \"reservation\", \"stock_item\")",
                "CREATE INDEX ON reads.r (tenant, \"status\", \"stock_item\", \"reservation\")",
                "CREATE INDEX ON reads.r (tenant, \"until\", \"stock_item\", \"reservation\")",
            ]
        );
    }
}
