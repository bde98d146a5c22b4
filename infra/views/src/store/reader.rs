//! Answers questions about read models, one statement each, so that rows and checkpoint belong together.

use std::fmt::Write;

use domain::shared::{CustomerId, TenantId};
use projections::kernel::{Column, ColumnType, Key, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{Cursor, Page, QueryError, Row, RowQuery, Test, filterable, value_text};
use serde_json::Value;
use sqlx::PgPool;

use super::fault;
use super::tables::{ROW, Table, quoted, sql_cast};

/// Reads rows. It sees what one tenant may see, because every statement it makes begins with the tenant.
#[derive(Clone, Debug)]
pub struct PgReader {
    pool: PgPool,
}

impl PgReader {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// One row by its key, if there is one and, where an owner is named, it is hers.
    pub async fn find(
        &self,
        model: &Model,
        tenant: TenantId,
        owner: Option<CustomerId>,
        key: &Key,
    ) -> Result<Option<Row>, QueryError> {
        let values: Vec<Value> = serde_json::from_str(key.as_str()).unwrap_or_default();
        let tests = model.key.iter().zip(values).map(|(field, value)| (*field, Test::Equals(value)));
        let mut question = RowQuery { owner, ..RowQuery::all(tenant, 1) };
        question.filters =
            tests.map(|(field, test)| projections::query::Filter { field: field.into(), test }).collect();
        if question.filters.len() != model.key.len() {
            return Err(QueryError::Misuse { field: "key".into(), text: "expected a value for each key field".into() });
        }
        Ok(self.page(model, &question).await?.rows.pop())
    }

    /// The rows that fit a question.
    pub async fn page(&self, model: &Model, question: &RowQuery) -> Result<Page, QueryError> {
        let columns = question.order_columns(model)?;
        let statement = Statement::page(model, question, &columns)?;
        let doing = || format!("reading {}", model.plural_stem());
        let mut query = sqlx::query_as::<_, Found>(&statement.text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(question.tenant.uuid());
        for value in &statement.values {
            query = query.bind(value);
        }
        let mut found = query.fetch_all(&self.pool).await.map_err(fault(doing()))?;
        let at = found.first().map_or(Checkpoint::start(0), |&(lane, position, epoch, ..)| Checkpoint {
            lane,
            position,
            epoch,
        });
        let count = found.first().and_then(|found| found.3);
        let first = usize::try_from(question.first).unwrap_or(usize::MAX);
        let more = found.len() > first;
        found.truncate(first);
        let texts = found.into_iter().filter_map(|(.., row)| row);
        let rows = texts.map(|text| row(model, &columns, &text)).collect::<Result<_, _>>()?;
        Ok(Page { rows, more, at, count })
    }

    /// How far a model has come in the lane of a tenant, for whoever must read what was just written.
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

/// Lane, position, epoch, count, row.
type Found = (i16, i64, i64, Option<i64>, Option<String>);

/// A row as every machine writes it, with its cursor.
fn row(model: &Model, columns: &[&Column], text: &str) -> Result<Row, Fault> {
    let corrupt = |error| Fault::caused(Cause::Corrupt, format!("reading rows of {}", model.name), error);
    let json = model.canonical(text).map_err(corrupt)?;
    let value: Value = serde_json::from_str(&json).unwrap_or_default();
    Ok(Row { cursor: Cursor::of(&value, columns), json })
}

/// A statement and the values it is bound to, from $4 on; $1 to $3 are model, shape and tenant.
struct Statement {
    text: String,
    values: Vec<String>,
}

impl Statement {
    fn page(model: &Model, question: &RowQuery, columns: &[&Column]) -> Result<Self, QueryError> {
        let mut statement = Self { text: String::new(), values: Vec::new() };
        let mut fits = String::from("t.tenant = $3");
        if let (Some(owner), Some(column)) = (question.owner, model.owner.and_then(|owner| model.column(owner))) {
            write!(fits, " AND t.{} = {}", quoted(&column.name), statement.bind(column.kind, owner.to_string())).ok();
        }
        for filter in &question.filters {
            let column = filterable(model, &filter.field)?;
            let name = quoted(&column.name);
            match &filter.test {
                Test::Equals(value) => write!(fits, " AND t.{name} = {}", statement.checked(column, value)?).ok(),
                Test::From(value) => write!(fits, " AND t.{name} >= {}", statement.checked(column, value)?).ok(),
                Test::To(value) => write!(fits, " AND t.{name} <= {}", statement.checked(column, value)?).ok(),
                Test::In(values) => {
                    let values: Vec<_> =
                        values.iter().map(|value| statement.checked(column, value)).collect::<Result<_, _>>()?;
                    let any = if values.is_empty() { "NULL".into() } else { values.join(", ") };
                    write!(fits, " AND t.{name} IN ({any})").ok()
                }
            };
        }
        let table = Table::live(model).name;
        let count = if question.count {
            format!("(SELECT count(*) FROM {table} t WHERE {fits})")
        } else {
            "NULL::bigint".into()
        };
        if let Some(cursor) = &question.after {
            let behind = statement.behind(columns, &cursor.values(columns)?, question.descending());
            write!(fits, " AND {behind}").ok();
        }
        let direction = if question.descending() { " DESC" } else { "" };
        let order: Vec<_> = columns.iter().map(|column| format!("t.{}{direction}", quoted(&column.name))).collect();
        let order = order.join(", ");
        // One more than asked for says whether more follow.
        let limit = u64::from(question.first) + 1;
        statement.text = format!(
            "SELECT c.lane, c.position, c.epoch, {count}, r.row FROM (SELECT lane, position, epoch \
             FROM reads.checkpoints WHERE model = $1 AND shape = $2 \
             AND lane = (SELECT lane FROM log.routes WHERE tenant = $3)) c \
             LEFT JOIN LATERAL (SELECT {ROW} AS row, row_number() OVER (ORDER BY {order}) AS n \
             FROM {table} t WHERE {fits} ORDER BY {order} LIMIT {limit}) r ON true ORDER BY r.n"
        );
        Ok(statement)
    }

    /// That a row comes behind these values. Rows without a sort value come last, or first when descending.
    fn behind(&mut self, columns: &[&Column], values: &[Option<String>], descending: bool) -> String {
        let than = if descending { "<" } else { ">" };
        let names: Vec<_> = columns.iter().map(|column| format!("t.{}", quoted(&column.name))).collect();
        let bound: Vec<_> = columns
            .iter()
            .zip(values)
            .map(|(column, value)| value.clone().map(|value| self.bind(column.kind, value)))
            .collect();
        let row = |parts: &[String]| format!("({})", parts.join(", "));
        let rest: Vec<_> = bound.iter().skip(1).flatten().cloned().collect();
        let Some(Some(_)) = bound.first() else {
            let same = format!("({} IS NULL AND {} {than} {})", names[0], row(&names[1..]), row(&rest));
            return if descending { format!("({same} OR {} IS NOT NULL)", names[0]) } else { same };
        };
        let all: Vec<_> = bound.into_iter().flatten().collect();
        let behind = format!("{} {than} {}", row(&names), row(&all));
        if columns[0].optional && !descending { format!("({behind} OR {} IS NULL)", names[0]) } else { behind }
    }

    fn checked(&mut self, column: &Column, value: &Value) -> Result<String, QueryError> {
        Ok(self.bind(column.kind, value_text(column, value)?))
    }

    /// Binds a text and gives the expression for its value.
    fn bind(&mut self, kind: ColumnType, text: String) -> String {
        self.values.push(text);
        format!("${}::text::{}", self.values.len() + 3, sql_cast(kind))
    }
}
