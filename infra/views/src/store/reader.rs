//! Row reader: answers each query with one statement, also for several parents, so that rows and checkpoint belong to
//! one snapshot.

use std::fmt::Write;

use domain::shared::TenantId;
use event_log::fault;
use projections::kernel::{Column, ColumnType, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{Cursor, Page, Parents, QueryError, Row, RowQuery, Test, filterable, value_text};
use serde_json::Value;
use sqlx::PgPool;

use super::table::{ROW, Table, quoted, sql_cast};

/// Reads rows of one tenant at a time: the first condition of every statement is the tenant.
#[derive(Clone, Debug)]
pub struct PgReader {
    pool: PgPool,
}

impl PgReader {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Returns one page of the rows that match a query.
    pub async fn page(&self, model: &Model, query: &RowQuery) -> Result<Page, QueryError> {
        let mut pages = self.read(model, query, None).await?;
        Ok(pages.pop().unwrap_or_else(no_page))
    }

    /// Returns one page per parent, in the order of the parents, with one statement.
    pub async fn pages(&self, model: &Model, query: &RowQuery, parents: &Parents) -> Result<Vec<Page>, QueryError> {
        let mut pages = self.read(model, query, Some(parents)).await?;
        // A tenant without a checkpoint has no pages.
        pages.resize_with(parents.values.len(), no_page);
        Ok(pages)
    }

    async fn read(&self, model: &Model, query: &RowQuery, parents: Option<&Parents>) -> Result<Vec<Page>, QueryError> {
        let columns = query.order_columns(model)?;
        let statement = Statement::new(model, query, &columns, parents)?;
        let mut select = sqlx::query_as::<_, PageRow>(&statement.text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(query.tenant.uuid());
        for value in statement.values {
            select = match value {
                Bound::One(text) => select.bind(text),
                Bound::Many(texts) => select.bind(texts),
            };
        }
        let doing = || format!("reading {}", model.plural_stem());
        let rows = select.fetch_all(&self.pool).await.map_err(fault(doing()))?;
        let first = usize::try_from(query.first).unwrap_or(usize::MAX);
        let mut pages = Vec::new();
        for rows in rows.chunk_by(|one, other| one.3 == other.3) {
            let (lane, position, epoch, _, count, _) = rows[0];
            let texts = rows.iter().take(first).filter_map(|row| row.5.as_deref());
            let found = texts.map(|text| row(model, &columns, text)).collect::<Result<_, _>>()?;
            let at = Checkpoint { lane, position, epoch };
            pages.push(Page { rows: found, more: rows.len() > first, at, count });
        }
        Ok(pages)
    }

    /// Checkpoint of a model in the lane of a tenant: lets a reader wait until its own write is visible.
    pub async fn checkpoint(&self, model: &Model, tenant: TenantId) -> Result<Checkpoint, Fault> {
        let found: Option<(i16, i64, i64)> = sqlx::query_as(
            "SELECT lane, position, epoch FROM reads.checkpoints WHERE model = $1 AND shape = $2 \
             AND lane = (SELECT lane FROM log.routes WHERE tenant = $3)",
        )
        .bind(&model.name)
        .bind(&model.shape)
        .bind(tenant.uuid())
        .fetch_optional(&self.pool)
        .await
        .map_err(fault(format!("reading the checkpoint of {}", model.name)))?;
        Ok(found.map_or(Checkpoint::start(0), |(lane, position, epoch)| Checkpoint { lane, position, epoch }))
    }
}

/// Lane, position and epoch of the checkpoint, number of the page, count of matching rows, row.
type PageRow = (i16, i64, i64, i64, Option<i64>, Option<String>);

/// Page of a tenant without a checkpoint.
fn no_page() -> Page {
    Page { rows: Vec::new(), more: false, at: Checkpoint::start(0), count: None }
}

/// Canonical form of a row, with its cursor.
fn row(model: &Model, columns: &[&Column], text: &str) -> Result<Row, Fault> {
    let corrupt = |error| Fault::caused(Cause::Corrupt, format!("reading rows of {}", model.name), error);
    let json = model.canonical(text).map_err(corrupt)?;
    let value: Value = serde_json::from_str(&json).unwrap_or_default();
    Ok(Row { cursor: Cursor::of(&value, columns), json })
}

/// SQL statement with its bound values from $4 on; $1 to $3 are model, shape and tenant.
struct Statement {
    text: String,
    values: Vec<Bound>,
}

/// Bound value or values, in the text form of their column.
enum Bound {
    One(String),
    Many(Vec<String>),
}

impl Statement {
    /// Reads one page, or one per parent: a lateral join reads the rows of each.
    fn new(
        model: &Model,
        query: &RowQuery,
        columns: &[&Column],
        parents: Option<&Parents>,
    ) -> Result<Self, QueryError> {
        let mut statement = Self { text: String::new(), values: Vec::new() };
        let mut condition = statement.conditions(model, query)?;
        let pages = match parents {
            None => "(SELECT 1::bigint AS n) k".into(),
            Some(parents) => statement.parents(model, parents, &mut condition)?,
        };
        let table = Table::live(model).name;
        let count = if query.count {
            format!("(SELECT count(*) AS count FROM {table} t WHERE {condition})")
        } else {
            "(SELECT NULL::bigint AS count)".into()
        };
        if let Some(cursor) = &query.after {
            let after = statement.after_cursor(columns, &cursor.values(columns)?, query.descending());
            write!(condition, " AND {after}").ok();
        }
        let direction = if query.descending() { " DESC" } else { "" };
        let order: Vec<_> = columns.iter().map(|column| format!("t.{}{direction}", quoted(&column.name))).collect();
        let order = order.join(", ");
        // One row more than requested shows whether there is a next page.
        let limit = u64::from(query.first) + 1;
        statement.text = format!(
            "SELECT c.lane, c.position, c.epoch, k.n, m.count, r.row FROM (SELECT lane, position, epoch \
             FROM reads.checkpoints WHERE model = $1 AND shape = $2 \
             AND lane = (SELECT lane FROM log.routes WHERE tenant = $3)) c CROSS JOIN {pages} CROSS JOIN LATERAL {count} m \
             LEFT JOIN LATERAL (SELECT {ROW} AS row, row_number() OVER (ORDER BY {order}) AS n \
             FROM {table} t WHERE {condition} ORDER BY {order} LIMIT {limit}) r ON true ORDER BY k.n, r.n"
        );
        Ok(statement)
    }

    /// Condition for the rows of the tenant that match the owner and the filters of a query.
    fn conditions(&mut self, model: &Model, query: &RowQuery) -> Result<String, QueryError> {
        let mut condition = String::from("t.tenant = $3");
        if let (Some(owner), Some(column)) = (query.owner, model.owner.and_then(|owner| model.column(owner))) {
            write!(condition, " AND t.{} = {}", quoted(&column.name), self.bind(column.kind, owner.to_string())).ok();
        }
        for filter in &query.filters {
            let column = filterable(model, &filter.field)?;
            let name = quoted(&column.name);
            let test = match &filter.test {
                Test::Equals(value) => format!("= {}", self.bind(column.kind, value_text(column, value)?)),
                Test::From(value) => format!(">= {}", self.bind(column.kind, value_text(column, value)?)),
                Test::To(value) => format!("<= {}", self.bind(column.kind, value_text(column, value)?)),
                Test::In(values) => format!("= ANY({})", self.bind_all(column, values)?),
            };
            write!(condition, " AND t.{name} {test}").ok();
        }
        Ok(condition)
    }

    /// Table `k` of the parents, one array per column, numbered from 1. Adds to the condition that a row belongs to its
    /// parent.
    fn parents(&mut self, model: &Model, parents: &Parents, condition: &mut String) -> Result<String, QueryError> {
        let (mut arrays, mut names) = (Vec::new(), Vec::new());
        for (at, field) in parents.columns.iter().enumerate() {
            let column = filterable(model, field)?;
            arrays.push(self.bind_all(column, parents.values.iter().filter_map(|values| values.get(at)))?);
            names.push(format!("v{at}"));
            write!(condition, " AND t.{} = k.v{at}", quoted(field)).ok();
        }
        Ok(format!("unnest({}) WITH ORDINALITY AS k({}, n)", arrays.join(", "), names.join(", ")))
    }

    /// Condition for rows after these cursor values. NULLs sort last, or first when descending.
    fn after_cursor(&mut self, columns: &[&Column], values: &[Option<String>], descending: bool) -> String {
        let operator = if descending { "<" } else { ">" };
        let names: Vec<_> = columns.iter().map(|column| format!("t.{}", quoted(&column.name))).collect();
        let bound: Vec<_> = columns
            .iter()
            .zip(values)
            .map(|(column, value)| value.clone().map(|value| self.bind(column.kind, value)))
            .collect();
        let row = |parts: &[String]| format!("({})", parts.join(", "));
        let rest: Vec<_> = bound.iter().skip(1).flatten().cloned().collect();
        let Some(Some(_)) = bound.first() else {
            let same = format!("({} IS NULL AND {} {operator} {})", names[0], row(&names[1..]), row(&rest));
            return if descending { format!("({same} OR {} IS NOT NULL)", names[0]) } else { same };
        };
        let all: Vec<_> = bound.into_iter().flatten().collect();
        let after = format!("{} {operator} {}", row(&names), row(&all));
        if columns[0].optional && !descending { format!("({after} OR {} IS NULL)", names[0]) } else { after }
    }

    /// Binds a text and returns the SQL expression of its value.
    fn bind(&mut self, kind: ColumnType, text: String) -> String {
        self.values.push(Bound::One(text));
        format!("${}::text::{}", self.values.len() + 3, sql_cast(kind))
    }

    /// Binds values as one array, so that the text of the statement does not depend on their number.
    fn bind_all<'v>(
        &mut self,
        column: &Column,
        values: impl IntoIterator<Item = &'v Value>,
    ) -> Result<String, QueryError> {
        let texts = values.into_iter().map(|value| value_text(column, value)).collect::<Result<_, _>>()?;
        self.values.push(Bound::Many(texts));
        Ok(format!("${}::text[]::{}[]", self.values.len() + 3, sql_cast(column.kind)))
    }
}
