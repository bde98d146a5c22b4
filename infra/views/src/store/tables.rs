//! The statements for the table of one read model, made from the description of its rows.

use projections::kernel::{Column, ColumnType, Model};

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
        let view = format!("reads.{}", self.model.plural_stem());
        [format!("DROP VIEW IF EXISTS {view}"), format!("CREATE VIEW {view} AS SELECT * FROM {}", self.name)]
    }

    /// Puts rows from an array for each column, the tenants first.
    ///
    /// Unnesting in the select list: in FROM, every array would first be copied into a store of its own.
    pub(super) fn put(&self) -> String {
        let array = |(at, column): (usize, &Column)| format!(", unnest(${}::{}[])", at + 2, sql_cast(column.kind));
        let arrays: String = self.model.columns.iter().enumerate().map(array).collect();
        self.insert(&format!("SELECT unnest($1::uuid[]){arrays}"))
    }

    /// Puts the rows of another table of the same shape.
    pub(super) fn insert_from(&self, source: &str) -> String {
        self.insert(&format!("SELECT {} FROM {source}", self.columns()))
    }

    /// Puts what is selected. Where every event makes a row of its own, one that is there already is an error.
    fn insert(&self, select: &str) -> String {
        let insert = format!("INSERT INTO {} ({}) {select}", self.name, self.columns());
        if self.model.appends {
            return insert;
        }
        let set: Vec<_> = self
            .model
            .columns
            .iter()
            .filter(|column| !self.model.key.contains(&column.name.as_str()))
            .map(|column| format!("{0} = excluded.{0}", quoted(&column.name)))
            .collect();
        let update = if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!("{insert} ON CONFLICT ({}) DO {update}", self.key())
    }

    /// Deletes the rows at the places: $1 tenants, then an array for each field of the key.
    pub(super) fn delete(&self) -> String {
        let (arrays, names) = self.places(2);
        format!(
            "DELETE FROM {} t USING unnest($1::uuid[]{arrays}) AS k(tenant{names}) WHERE {}",
            self.name,
            self.at_place()
        )
    }

    /// The rows at the places in their order, and whether earlier events of a key wait for the model $1 in the shape
    /// $2. The places: $3 keys as texts, $4 tenants, then an array for each field of the key.
    ///
    /// `LATERAL` keeps the planner, which cannot know how many places there are, from reading the whole table. Where
    /// nothing waits for the model at all, that is found out once.
    pub(super) fn load(&self) -> String {
        let (arrays, names) = self.places(5);
        format!(
            "SELECT r.row, (SELECT EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2)) \
             AND EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2 \
             AND p.tenant = k.tenant AND p.key = k.key) \
             FROM unnest($3::text[], $4::uuid[]{arrays}) WITH ORDINALITY AS k(key, tenant{names}, n) \
             LEFT JOIN LATERAL (SELECT row_to_json(t)::text AS row FROM {} t WHERE {} LIMIT 1) r ON true ORDER BY k.n",
            self.name,
            self.at_place()
        )
    }

    /// The arrays of the key's fields, bound from a number on, and what `k` calls them.
    fn places(&self, first: usize) -> (String, String) {
        let array = |(at, kind): (usize, ColumnType)| format!(", ${}::{}[]", at + first, sql_cast(kind));
        let arrays = self.key_kinds().into_iter().enumerate().map(array).collect();
        (arrays, (0..self.model.key.len()).map(|at| format!(", k{at}")).collect())
    }

    /// What the fields of the key hold.
    pub(super) fn key_kinds(&self) -> Vec<ColumnType> {
        self.model.key.iter().filter_map(|field| self.model.column(field)).map(|column| column.kind).collect()
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
        let part = |(at, field): (usize, &&str)| format!(" AND t.{} = k.k{at}", quoted(field));
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
fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "text COLLATE \"C\"",
        other => sql_cast(other),
    }
}

pub(super) fn sql_cast(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Uuid => "uuid",
        ColumnType::Integer => "bigint",
        ColumnType::Boolean => "boolean",
        ColumnType::Text => "text",
        ColumnType::Instant => "timestamptz",
        ColumnType::Day => "date",
        ColumnType::Json => "jsonb",
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
