//! Statements that read rows: one page, or one page per parent.

use std::fmt::Write;

use domain::shared::SearchToken;
use platform::database::statement_scope;
use projections::kernel::{Column, ColumnType, Model};
use projections::query::{Parents, QueryError, RowQuery, Test, filterable, value_text};
use serde_json::Value;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

use super::table::{ROW, Table, quoted, sql_cast};

/// SQL statement with its bound values.
pub(super) struct Statement<'q> {
    pub(super) text: String,
    values: Vec<Bound<'q>>,
}

/// Bound value: an id, a text, a value or values in the text form of their column, or a search token.
enum Bound<'q> {
    Id(Uuid),
    Text(&'q str),
    One(String),
    Many(Vec<String>),
    Token(SearchToken),
}

/// Parts that all statements share.
struct Parts {
    table: String,
    /// Condition of the rows of a page.
    rest: String,
    order: String,
    /// Table `k` of the pages, numbered from 1 in `n`.
    pages: String,
    /// Table `m` with the number of all rows of a page.
    count: String,
    /// One row more than requested, which shows whether there is a next page.
    limit: u64,
}

impl<'q> Statement<'q> {
    /// Reads whole rows as JSON texts, with the checkpoint that they reflect.
    pub(super) fn rows(
        model: &'q Model,
        query: &RowQuery,
        order: &[&Column],
        parents: Option<&Parents>,
    ) -> Result<Self, QueryError> {
        let mut statement = Self { text: String::new(), values: Vec::new() };
        let (name, shape) = (statement.bind(Bound::Text(&model.name)), statement.bind(Bound::Text(&model.shape)));
        statement.bind(Bound::Id(query.tenant.uuid()));
        let scope = statement_scope(3);
        let Parts { table, rest, order, pages, count, limit } = statement.parts(model, query, order, parents)?;
        statement.text = format!(
            "SELECT c.lane, c.position, c.epoch, k.n, m.count, r.row FROM {scope} CROSS JOIN LATERAL \
             (SELECT lane, position, epoch FROM reads.checkpoints WHERE model = {name} AND shape = {shape} \
             AND lane = (SELECT routes.lane FROM log.routes WHERE routes.tenant = scope.tenant)) c \
             CROSS JOIN {pages} CROSS JOIN LATERAL {count} m \
             LEFT JOIN LATERAL (SELECT {ROW} AS row, row_number() OVER (ORDER BY {order}) AS n \
             FROM {table} t WHERE {rest} ORDER BY {order} LIMIT {limit}) r ON true ORDER BY k.n, r.n"
        );
        Ok(statement)
    }

    /// Reads these columns, after three others: number of the page, count of its rows, and NULL for a page without rows.
    pub(super) fn cells(
        model: &'q Model,
        columns: &[&Column],
        query: &RowQuery,
        order: &[&Column],
        parents: Option<&Parents>,
    ) -> Result<Self, QueryError> {
        let mut statement = Self { text: String::new(), values: Vec::new() };
        statement.bind(Bound::Id(query.tenant.uuid()));
        let scope = statement_scope(1);
        let Parts { table, rest, order, pages, count, limit } = statement.parts(model, query, order, parents)?;
        let named = |(at, column): (usize, &&Column)| format!(", t.{} AS c{at}", quoted(&column.name));
        let columns_of_t: String = columns.iter().enumerate().map(named).collect();
        let columns_of_r: String = (0..columns.len()).map(|at| format!(", r.c{at}")).collect();
        statement.text = if parents.is_none() && !query.count {
            // A lateral join with the only row of the scope keeps the order, so that no row numbers are needed.
            format!(
                "SELECT 1::bigint, NULL::bigint, 1::bigint{columns_of_r} FROM {scope} CROSS JOIN LATERAL \
                 (SELECT t.tenant{columns_of_t} FROM {table} t WHERE {rest} ORDER BY {order} LIMIT {limit}) r"
            )
        } else {
            format!(
                "SELECT k.n, m.count, r.n{columns_of_r} FROM {scope} CROSS JOIN {pages} CROSS JOIN LATERAL {count} m \
                 LEFT JOIN LATERAL (SELECT row_number() OVER (ORDER BY {order}) AS n{columns_of_t} \
                 FROM {table} t WHERE {rest} ORDER BY {order} LIMIT {limit}) r ON true ORDER BY k.n, r.n"
            )
        };
        Ok(statement)
    }

    /// The statement with its values, ready to be executed.
    pub(super) fn bound(&self) -> Query<'_, Postgres, PgArguments> {
        self.values.iter().fold(sqlx::query(&self.text), |query, value| match value {
            Bound::Id(id) => query.bind(id),
            Bound::Text(text) => query.bind(text),
            Bound::One(text) => query.bind(text),
            Bound::Many(texts) => query.bind(texts),
            Bound::Token(token) => query.bind(token.number()),
        })
    }

    fn parts(
        &mut self,
        model: &Model,
        query: &RowQuery,
        columns: &[&Column],
        parents: Option<&Parents>,
    ) -> Result<Parts, QueryError> {
        let mut all = self.conditions(model, query)?;
        let pages = match parents {
            None => "(SELECT 1::bigint AS n) k".into(),
            Some(parents) => self.parents(model, parents, &mut all)?,
        };
        let table = Table::live(model).name;
        let count = if query.count {
            format!("(SELECT count(*) AS count FROM {table} t WHERE {all})")
        } else {
            "(SELECT NULL::bigint AS count)".into()
        };
        let mut rest = all;
        if let Some(cursor) = &query.after {
            let after = self.after_cursor(columns, &cursor.values(columns)?, query.descending());
            write!(rest, " AND {after}").ok();
        }
        let direction = if query.descending() { " DESC" } else { "" };
        let order: Vec<_> = columns.iter().map(|column| format!("t.{}{direction}", quoted(&column.name))).collect();
        let (order, limit) = (order.join(", "), u64::from(query.first) + 1);
        Ok(Parts { table, rest, order, pages, count, limit })
    }

    /// Condition for the rows of the tenant that match the owner and the filters of a query.
    fn conditions(&mut self, model: &Model, query: &RowQuery) -> Result<String, QueryError> {
        let mut condition = String::from("t.tenant = scope.tenant");
        if let (Some(owner), Some(column)) = (query.owner, model.owner.and_then(|owner| model.column(owner))) {
            write!(condition, " AND t.{} = {}", quoted(&column.name), self.bind_value(column.kind, owner.to_string()))
                .ok();
        }
        for filter in &query.filters {
            let column = filterable(model, &filter.field)?;
            let name = quoted(&column.name);
            let test = match &filter.test {
                Test::Equals(value) => format!("= {}", self.bind_value(column.kind, value_text(column, value)?)),
                Test::From(value) => format!(">= {}", self.bind_value(column.kind, value_text(column, value)?)),
                Test::To(value) => format!("<= {}", self.bind_value(column.kind, value_text(column, value)?)),
                Test::In(values) => format!("= ANY({})", self.bind_all(column, values)?),
                Test::Tokens(tokens) => {
                    tokens.iter().for_each(|token| condition.push_str(&self.token_condition(model, &name, *token)));
                    continue;
                }
            };
            write!(condition, " AND t.{name} {test}").ok();
        }
        Ok(condition)
    }

    /// Condition, with its AND, that the person in this column has a search token.
    fn token_condition(&mut self, model: &Model, column: &str, token: SearchToken) -> String {
        let (model, token) = (self.bind(Bound::One(model.name.clone())), self.bind(Bound::Token(token)));
        format!(
            " AND t.{column} IN (SELECT s.person FROM work.search_tokens s \
             WHERE s.tenant = scope.tenant AND s.model = {model} AND s.token = {token})"
        )
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
            .map(|(column, value)| value.clone().map(|value| self.bind_value(column.kind, value)))
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

    /// Binds a value given as text and returns its SQL expression.
    fn bind_value(&mut self, kind: ColumnType, text: String) -> String {
        format!("{}::text::{}", self.bind(Bound::One(text)), sql_cast(kind))
    }

    /// Binds values as one array, so that the text of the statement does not depend on their number.
    fn bind_all<'v>(
        &mut self,
        column: &Column,
        values: impl IntoIterator<Item = &'v Value>,
    ) -> Result<String, QueryError> {
        let texts = values.into_iter().map(|value| value_text(column, value)).collect::<Result<_, _>>()?;
        Ok(format!("{}::text[]::{}[]", self.bind(Bound::Many(texts)), sql_cast(column.kind)))
    }

    /// Binds the next parameter and returns its name.
    fn bind(&mut self, value: Bound<'q>) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }
}
