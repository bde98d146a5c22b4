//! Cells: selected columns of rows as JSON texts in one buffer, from which an answer is written without a tree of values.

use std::ops::Range;

use serde_json::Value;

use crate::kernel::Column;

/// JSON texts of the cells of many rows, row by row, in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    text: Vec<u8>,
    /// End of each cell in the buffer.
    ends: Vec<usize>,
    /// Cells per row.
    width: usize,
}

/// Pages of cells: one page, or one per parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellPages {
    pub cells: Cells,
    pub pages: Vec<CellPage>,
}

/// One page of [`CellPages`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellPage {
    /// Rows of the page.
    pub rows: Range<usize>,
    /// True if more rows follow.
    pub more: bool,
    /// Number of all matching rows, if the query counts them.
    pub count: Option<i64>,
}

impl Cells {
    /// Makes an empty table with this number of cells per row.
    pub fn new(width: usize) -> Self {
        Self { text: Vec::new(), ends: Vec::new(), width }
    }

    /// Appends the next cell; `write` appends its JSON text to the buffer.
    pub fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        write(&mut self.text)?;
        self.ends.push(self.text.len());
        Ok(())
    }

    /// Appends the cells of a row that is given as a JSON object.
    pub fn push_row(&mut self, columns: &[&Column], row: &Value) -> Result<(), serde_json::Error> {
        columns.iter().try_for_each(|column| self.push(|text| serde_json::to_writer(text, &row[&column.name])))
    }

    /// Number of complete rows.
    pub fn rows(&self) -> usize {
        self.ends.len().checked_div(self.width).unwrap_or(0)
    }

    /// JSON text of a cell.
    pub fn get(&self, row: usize, cell: usize) -> &[u8] {
        let at = row * self.width + cell;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::StockLevel;
    use crate::kernel::Model;

    #[test]
    fn cells_are_the_json_texts_of_the_columns() {
        let model = Model::of::<StockLevel>();
        let columns: Vec<_> = ["status", "available"].iter().filter_map(|name| model.column(name)).collect();
        let mut cells = Cells::new(columns.len());
        for row in [json!({ "status": "a\"b", "available": 1 }), json!({ "status": null, "available": -2 })] {
            cells.push_row(&columns, &row).expect("JSON");
        }
        let text = |row, cell| String::from_utf8_lossy(cells.get(row, cell)).into_owned();
        assert_eq!([text(0, 0), text(0, 1), text(1, 0), text(1, 1)], ["\"a\\\"b\"", "1", "null", "-2"]);
        assert_eq!((cells.rows(), Cells::default().rows()), (2, 0));
    }
}
