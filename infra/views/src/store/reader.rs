//! Row reader: answers each query with one statement, so that rows and checkpoint belong to one snapshot.

use std::fmt::Write;

use domain::shared::TenantId;
use event_log::fault;
use platform::database::statement_scope;
use projections::kernel::{Column, ColumnType, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{Cursor, Page, QueryError, Row, RowQuery, Test, filterable, value_text};
use serde_json::Value;
use sqlx::PgPool;

use super::table::{ROW, Table, quoted, sql_cast};

/// Reads rows of one tenant at a time. The tenant is the first condition of every statement, and row-level security compares
/// it once more with the tenant that the statement has set.
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
        let columns = query.order_columns(model)?;
        let statement = Statement::page(model, query, &columns)?;
        let doing = || format!("reading {}", model.plural_stem());
        let mut select = sqlx::query_as::<_, PageRow>(&statement.text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(query.tenant.uuid());
        for value in &statement.values {
            select = select.bind(value);
        }
        let mut page_rows = select.fetch_all(&self.pool).await.map_err(fault(doing()))?;
        let at = page_rows.first().map_or(Checkpoint::start(0), |&(lane, position, epoch, ..)| Checkpoint {
            lane,
            position,
            epoch,
        });
        let count = page_rows.first().and_then(|row| row.3);
        let first = usize::try_from(query.first).unwrap_or(usize::MAX);
        let more = page_rows.len() > first;
        page_rows.truncate(first);
        let texts = page_rows.into_iter().filter_map(|(.., row)| row);
        let rows = texts.map(|text| row(model, &columns, &text)).collect::<Result<_, _>>()?;
        Ok(Page { rows, more, at, count })
    }

    /// Checkpoint of a model in the lane of a tenant: lets a reader wait until its own write is visible.
    pub async fn checkpoint(&self, model: &Model, tenant: TenantId) -> Result<Checkpoint, Fault> {
        let text = format!("SELECT c.* FROM {} CROSS JOIN LATERAL {CHECKPOINT} c", statement_scope(TENANT));
        let found: Option<(i16, i64, i64)> = sqlx::query_as(&text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(tenant.uuid())
            .fetch_optional(&self.pool)
            .await
            .map_err(fault(format!("reading the checkpoint of {}", model.name)))?;
        Ok(found.map_or(Checkpoint::start(0), |(lane, position, epoch)| Checkpoint { lane, position, epoch }))
    }
}

/// Number of the parameter that names the tenant.
const TENANT: u8 = 3;
/// Checkpoint of the model $1 in the shape $2 in the lane of the tenant.
const CHECKPOINT: &str = "(SELECT lane, position, epoch FROM reads.checkpoints WHERE model = $1 AND shape = $2 \
     AND lane = (SELECT r.lane FROM log.routes r WHERE r.tenant = scope.tenant))";

/// Lane, position and epoch of the checkpoint, count of matching rows, row.
type PageRow = (i16, i64, i64, Option<i64>, Option<String>);

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
    values: Vec<String>,
}

impl Statement {
    fn page(model: &Model, query: &RowQuery, columns: &[&Column]) -> Result<Self, QueryError> {
        let mut statement = Self { text: String::new(), values: Vec::new() };
        let mut condition = String::from("t.tenant = scope.tenant");
        if let (Some(owner), Some(column)) = (query.owner, model.owner.and_then(|owner| model.column(owner))) {
            write!(condition, " AND t.{} = {}", quoted(&column.name), statement.bind(column.kind, owner.to_string()))
                .ok();
        }
        for filter in &query.filters {
            let column = filterable(model, &filter.field)?;
            let name = quoted(&column.name);
            match &filter.test {
                Test::Equals(value) => write!(condition, " AND t.{name} = {}", statement.checked(column, value)?).ok(),
                Test::From(value) => write!(condition, " AND t.{name} >= {}", statement.checked(column, value)?).ok(),
                Test::To(value) => write!(condition, " AND t.{name} <= {}", statement.checked(column, value)?).ok(),
                Test::In(values) => {
                    let values: Vec<_> =
                        values.iter().map(|value| statement.checked(column, value)).collect::<Result<_, _>>()?;
                    let any = if values.is_empty() { "NULL".into() } else { values.join(", ") };
                    write!(condition, " AND t.{name} IN ({any})").ok()
                }
            };
        }
        let table = Table::live(model).name;
        let count = if query.count {
            format!("(SELECT count(*) FROM {table} t WHERE {condition})")
        } else {
            "NULL::bigint".into()
        };
        if let Some(cursor) = &query.after {
            let after = statement.after_cursor(columns, &cursor.values(columns)?, query.descending());
            write!(condition, " AND {after}").ok();
        }
        let direction = if query.descending() { " DESC" } else { "" };
        let order: Vec<_> = columns.iter().map(|column| format!("t.{}{direction}", quoted(&column.name))).collect();
        let order = order.join(", ");
        let scope = statement_scope(TENANT);
        // One row more than requested shows whether there is a next page.
        let limit = u64::from(query.first) + 1;
        statement.text = format!(
            "SELECT c.lane, c.position, c.epoch, {count}, r.row FROM {scope} CROSS JOIN LATERAL {CHECKPOINT} c \
             LEFT JOIN LATERAL (SELECT {ROW} AS row, row_number() OVER (ORDER BY {order}) AS n \
             FROM {table} t WHERE {condition} ORDER BY {order} LIMIT {limit}) r ON true ORDER BY r.n"
        );
        Ok(statement)
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

    /// Checks a value against the type of its column and binds it.
    fn checked(&mut self, column: &Column, value: &Value) -> Result<String, QueryError> {
        Ok(self.bind(column.kind, value_text(column, value)?))
    }

    /// Binds a text and returns the SQL expression of its value.
    fn bind(&mut self, kind: ColumnType, text: String) -> String {
        self.values.push(text);
        format!("${}::text::{}", self.values.len() + 3, sql_cast(kind))
    }
}
