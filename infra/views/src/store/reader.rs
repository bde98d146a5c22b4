//! Row reader: answers each query with one statement, also for several parents, so that rows and checkpoint belong to
//! one snapshot.

use domain::shared::TenantId;
use event_log::fault;
use platform::database::statement_scope;
use projections::kernel::{Column, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{CellPage, CellPages, Cells, Cursor, Page, Parents, QueryError, Row, RowQuery};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row as _, ValueRef};

use super::json_cell::write_cell;
use super::read_statement::Statement;

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
        let statement = Statement::rows(model, query, &columns, parents)?;
        let doing = || format!("reading {}", model.plural_stem());
        let rows = statement.bound().fetch_all(&self.pool).await.map_err(|error| read_error(model, error))?;
        let rows = rows.iter().map(PageRow::from_row).collect::<Result<Vec<_>, _>>().map_err(fault(doing()))?;
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

    /// Returns cells of the rows that match a query, with one statement: one page, or one per parent.
    pub async fn cells(
        &self,
        model: &Model,
        columns: &[&Column],
        query: &RowQuery,
        parents: Option<&Parents>,
    ) -> Result<CellPages, QueryError> {
        let statement = Statement::cells(model, columns, query, &query.order_columns(model)?, parents)?;
        let doing = || format!("reading {}", model.plural_stem());
        let rows = statement.bound().fetch_all(&self.pool).await.map_err(|error| read_error(model, error))?;
        let mut found = CellPages { cells: Cells::new(columns.len()), pages: Vec::new() };
        read_cells(&rows, columns, query.first, &mut found).map_err(fault(doing()))?;
        // A page without rows has no row of the plain statement.
        found.pages.resize_with(parents.map_or(1, |parents| parents.values.len()), CellPage::default);
        Ok(found)
    }

    /// Checkpoint of a model in the lane of a tenant: lets a reader wait until its own write is visible.
    pub async fn checkpoint(&self, model: &Model, tenant: TenantId) -> Result<Checkpoint, Fault> {
        let text = format!(
            "SELECT c.* FROM {} CROSS JOIN LATERAL (SELECT lane, position, epoch FROM reads.checkpoints \
             WHERE model = $1 AND shape = $2 \
             AND lane = (SELECT routes.lane FROM log.routes WHERE routes.tenant = scope.tenant)) c",
            statement_scope(3)
        );
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

/// Lane, position and epoch of the checkpoint, number of the page, count of matching rows, row.
type PageRow = (i16, i64, i64, i64, Option<i64>, Option<String>);

/// Error of a statement. A table that does not exist belongs to a read model that is still being built.
fn read_error(model: &Model, error: sqlx::Error) -> QueryError {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("42P01") => QueryError::Building { model: model.name.clone() },
        _ => fault(format!("reading {}", model.plural_stem()))(error).into(),
    }
}

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

/// Appends pages of rows that are sorted by the number of their page.
fn read_cells(rows: &[PgRow], columns: &[&Column], first: u32, found: &mut CellPages) -> Result<(), sqlx::Error> {
    let first = usize::try_from(first).unwrap_or(usize::MAX);
    let mut page_number = None;
    for row in rows {
        let number: i64 = row.try_get(0)?;
        if page_number.replace(number) != Some(number) {
            let start = found.cells.rows();
            found.pages.push(CellPage { rows: start..start, more: false, count: row.try_get(1)? });
        }
        let Some(page) = found.pages.last_mut().filter(|_| !is_null(row, 2)) else { continue };
        if page.rows.len() == first {
            page.more = true;
            continue;
        }
        for (at, column) in columns.iter().enumerate() {
            found.cells.push(|text| write_cell(text, column.kind, row.try_get_raw(at + 3)?))?;
        }
        page.rows.end += 1;
    }
    Ok(())
}

fn is_null(row: &PgRow, at: usize) -> bool {
    row.try_get_raw(at).is_ok_and(|value| value.is_null())
}
