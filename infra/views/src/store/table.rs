//! SQL statements for the table of one read model, built from the description of its rows.

use platform::DatabaseRole;
use projections::kernel::{Column, ColumnType, Model};

/// Table of one shape of a read model: the one that is read, the one that a rebuild fills beside it, or the one that the
/// last rebuild has replaced.
pub(super) struct Table<'m> {
    pub(super) model: &'m Model,
    /// Name under which `reads.checkpoints` and `reads.parked` keep the state of this table, as their column `shape`.
    pub(super) state: String,
    /// Name qualified with the schema; built from names in the code only.
    pub(super) name: String,
}

impl<'m> Table<'m> {
    pub(super) fn live(model: &'m Model) -> Self {
        Self { model, state: model.shape.clone(), name: format!("reads.{}", model.table()) }
    }

    pub(super) fn building(model: &'m Model) -> Self {
        Self::beside(model, "build")
    }

    pub(super) fn previous(model: &'m Model) -> Self {
        Self::beside(model, "previous")
    }

    /// Another table of the same shape.
    pub(super) fn beside(model: &'m Model, suffix: &str) -> Self {
        let (state, name) = (format!("{}_{suffix}", model.shape), format!("reads.{}_{suffix}", model.table()));
        Self { model, state, name }
    }

    /// Name without the schema.
    pub(super) fn plain_name(&self) -> &str {
        self.name.trim_start_matches("reads.")
    }

    /// Creates the table without key and indexes, which are cheaper to build after the rows are loaded.
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

    /// Creates one index per indexed field and one for the owner. Each ends with the key, so that pages are read in
    /// index order.
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

    /// Opens the table to readers, behind row-level security. Rows can no longer be copied into it.
    pub(super) fn open_to_readers(&self) -> [String; 2] {
        [
            format!("SELECT log.protect('{}')", self.name),
            format!(
                "GRANT SELECT ON {} TO {}, {}",
                self.name,
                DatabaseRole::Reader.name(),
                DatabaseRole::Auditor.name()
            ),
        ]
    }

    /// Creates a view with the plain name of the model, for people who query the database; processes read the table. It has
    /// the privileges of its user.
    pub(super) fn create_view(&self) -> [String; 2] {
        let view = format!("reads.{}", self.model.plural_stem());
        let create = format!("CREATE VIEW {view} WITH (security_invoker = true) AS SELECT * FROM {}", self.name);
        [format!("DROP VIEW IF EXISTS {view}"), create]
    }

    /// Upserts rows from one array per column, the tenants first.
    ///
    /// The arrays are unnested in the select list; in FROM, PostgreSQL would first materialise each of them.
    pub(super) fn put(&self) -> String {
        let array = |(at, column): (usize, &Column)| format!(", unnest(${}::{}[])", at + 2, sql_cast(column.kind));
        let arrays: String = self.model.columns.iter().enumerate().map(array).collect();
        self.insert(&format!("SELECT unnest($1::uuid[]){arrays}"))
    }

    /// Upserts the rows of another table with the same columns.
    pub(super) fn insert_from(&self, source: &str) -> String {
        self.insert(&format!("SELECT {} FROM {source}", self.columns()))
    }

    /// Upserts the selected rows. For a model that only appends rows, an existing row is an error.
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

    /// Deletes rows by key: $1 tenants, then one array per key field.
    pub(super) fn delete(&self) -> String {
        let (arrays, names) = self.key_parameters(2);
        format!(
            "DELETE FROM {} t USING unnest($1::uuid[]{arrays}) AS k(tenant{names}) WHERE {}",
            self.name,
            self.key_matches()
        )
    }

    /// Loads rows by key in the order of the parameters, each with a flag that is true if events of this key are
    /// parked. $1 model, $2 shape, $3 keys as text, $4 tenants, then one array per key field.
    ///
    /// `LATERAL` keeps the planner, which cannot know the number of keys, from scanning the whole table. The first EXISTS
    /// runs once per statement and skips the second one if the model has no parked events.
    pub(super) fn load(&self) -> String {
        let (arrays, names) = self.key_parameters(5);
        format!(
            "SELECT r.row, (SELECT EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2)) \
             AND EXISTS (SELECT FROM reads.parked p WHERE p.model = $1 AND p.shape = $2 \
             AND p.tenant = k.tenant AND p.key = k.key) \
             FROM unnest($3::text[], $4::uuid[]{arrays}) WITH ORDINALITY AS k(key, tenant{names}, n) \
             LEFT JOIN LATERAL (SELECT row_to_json(t)::text AS row FROM {} t WHERE {} LIMIT 1) r ON true ORDER BY k.n",
            self.name,
            self.key_matches()
        )
    }

    /// Array parameters of the key fields, numbered from `first`, and their column names in `k`.
    fn key_parameters(&self, first: usize) -> (String, String) {
        let array = |(at, kind): (usize, ColumnType)| format!(", ${}::{}[]", at + first, sql_cast(kind));
        let arrays = self.key_types().into_iter().enumerate().map(array).collect();
        (arrays, (0..self.model.key.len()).map(|at| format!(", k{at}")).collect())
    }

    /// Column types of the key fields.
    pub(super) fn key_types(&self) -> Vec<ColumnType> {
        self.model.key.iter().filter_map(|field| self.model.column(field)).map(|column| column.kind).collect()
    }

    /// All columns, the tenant first.
    pub(super) fn columns(&self) -> String {
        let columns: String = self.model.columns.iter().map(|column| format!(", {}", quoted(&column.name))).collect();
        format!("tenant{columns}")
    }

    /// Key columns, the tenant first.
    pub(super) fn key(&self) -> String {
        let columns: String = self.model.key.iter().map(|field| format!(", {}", quoted(field))).collect();
        format!("tenant{columns}")
    }

    /// Condition: row `t` has the key `k`.
    fn key_matches(&self) -> String {
        let part = |(at, field): (usize, &&str)| format!(" AND t.{} = k.k{at}", quoted(field));
        let parts: String = self.model.key.iter().enumerate().map(part).collect();
        format!("t.tenant = k.tenant{parts}")
    }
}

/// Expression of a row as JSON text, without the tenant, which is a column of the store only.
pub(super) const ROW: &str = "(to_jsonb(t) - 'tenant')::text";

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Column type in a table definition. Texts are compared byte by byte, so that their order does not depend on a locale.
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
    fn tables_have_typed_columns_and_begin_keys_and_indexes_with_the_tenant() {
        let model = Model::of::<Reservation>();
        let table = Table { model: &model, state: "r".into(), name: "reads.r".into() };
        assert_eq!(
            table.create(),
            "CREATE TABLE reads.r (tenant uuid NOT NULL, \"ended_at\" timestamptz, \"made_at\" timestamptz NOT NULL, \
             \"order\" uuid, \"reservation\" uuid NOT NULL, \"status\" text COLLATE \"C\" NOT NULL, \
             \"stock_item\" uuid NOT NULL, \"units\" bigint NOT NULL, \"until\" timestamptz)"
        );
        assert_eq!(table.create_key(), "ALTER TABLE reads.r ADD PRIMARY KEY (tenant, \"stock_item\", \"reservation\")");
        assert_eq!(
            table.create_indexes(),
            [
                "CREATE INDEX ON reads.r (tenant, \"order\", \"stock_item\", \"reservation\")",
                "CREATE INDEX ON reads.r (tenant, \"reservation\", \"stock_item\")",
                "CREATE INDEX ON reads.r (tenant, \"status\", \"stock_item\", \"reservation\")",
                "CREATE INDEX ON reads.r (tenant, \"until\", \"stock_item\", \"reservation\")",
            ]
        );
    }
}
