//! Writer: writes loaded rows as the data of an answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::loader::{Loaded, Related};
use super::plan::{EdgeField, Label, Nested, NestedField, PageField, PageInfoField, Plan, Root, RowField};
use super::{Declined, PlannedAnswer};
use crate::graphql::executor::viewer::Viewer;
use crate::port::SealedField;

/// JSON text of the data, as far as it is written.
#[derive(Default)]
pub(super) struct Writer {
    text: Vec<u8>,
    rows: u64,
    /// Sealed values, each with the place in the text where its plaintext belongs.
    sealed: Vec<(usize, SealedField)>,
}

impl Writer {
    pub(super) fn root(&mut self, plan: &Plan, loaded: &[Loaded<'_>]) {
        let mut loaded = loaded.iter();
        self.object(&plan.roots, |writer, root| match root {
            Root::Constant(constant) => writer.raw(constant),
            Root::Read(_) => match loaded.next() {
                Some(loaded) => writer.read(loaded, 0),
                None => writer.raw("null"),
            },
        });
    }

    /// Opens the sealed values with one request and returns the data.
    pub(super) async fn finish(self, viewer: &Viewer) -> Result<PlannedAnswer, Declined> {
        let Self { text, rows, sealed } = self;
        if sealed.is_empty() {
            return Ok(PlannedAnswer { data: text, rows });
        }
        let (places, fields): (Vec<_>, Vec<_>) = sealed.into_iter().unzip();
        let opened = viewer.service.backend.open(viewer.caller.tenant, fields).await;
        let opened = opened.map_err(|_| Declined::Unclear)?;
        let (mut data, mut written) = (Vec::with_capacity(text.len() + opened.len() * 32), 0);
        for (place, opened) in places.into_iter().zip(opened) {
            data.extend(&text[written..place]);
            serde_json::to_writer(&mut data, &opened).map_err(|_| Declined::Unclear)?;
            written = place;
        }
        data.extend(&text[written..]);
        Ok(PlannedAnswer { data, rows })
    }

    /// Writes a page, or the only row of a page.
    fn read(&mut self, loaded: &Loaded<'_>, page: usize) {
        let rows = loaded.found.pages[page].rows.clone();
        self.rows += rows.len() as u64;
        match &loaded.read.page {
            Some(plan) => self.object(&plan.fields, |writer, field| writer.page_field(loaded, page, field)),
            None if rows.is_empty() => self.raw("null"),
            None => self.row(loaded, rows.start),
        }
    }

    fn page_field(&mut self, loaded: &Loaded<'_>, page: usize, field: &PageField) {
        let page = &loaded.found.pages[page];
        match field {
            PageField::Constant(constant) => self.raw(constant),
            PageField::Edges(fields) => self.list(page.rows.clone(), |writer, row| {
                writer.object(fields, |writer, field| match field {
                    EdgeField::Constant(constant) => writer.raw(constant),
                    EdgeField::Cursor => writer.cursor(loaded, row),
                    EdgeField::Node => writer.row(loaded, row),
                });
            }),
            PageField::PageInfo(fields) => self.object(fields, |writer, field| {
                let cursor = match field {
                    PageInfoField::Constant(constant) => return writer.raw(constant),
                    PageInfoField::HasNextPage => return writer.boolean(page.more),
                    PageInfoField::HasPreviousPage => return writer.boolean(loaded.has_previous),
                    PageInfoField::StartCursor => page.rows.clone().next(),
                    PageInfoField::EndCursor => page.rows.clone().next_back(),
                };
                match cursor {
                    Some(row) => writer.cursor(loaded, row),
                    None => writer.raw("null"),
                }
            }),
            PageField::TotalCount => match page.count {
                Some(count) => self.raw(&count.to_string()),
                None => self.raw("null"),
            },
        }
    }

    fn row(&mut self, loaded: &Loaded<'_>, row: usize) {
        let cells = &loaded.found.cells;
        self.object(&loaded.read.row.fields, |writer, field| match field {
            RowField::Constant(constant) => writer.raw(constant),
            RowField::Cell { is_restricted: true, .. } if loaded.access.public_only => writer.raw("null"),
            RowField::Cell { cell, nested: None, .. } => writer.text.extend(cells.get(row, *cell)),
            RowField::Cell { cell, nested: Some(nested), .. } => {
                writer.nested(nested, &serde_json::from_slice(cells.get(row, *cell)).unwrap_or_default());
            }
            RowField::Personal { cell, kind } => writer.personal(loaded, cells.get(row, *cell), kind),
            RowField::Related(relation) => {
                let Related { pages, loaded } = &loaded.related[*relation];
                match pages[row] {
                    Some(page) => writer.read(loaded, page),
                    None => writer.raw("null"),
                }
            }
        });
    }

    /// Leaves a place for the plaintext, or writes null for callers without access to it.
    fn personal(&mut self, loaded: &Loaded<'_>, cell: &[u8], kind: &str) {
        match serde_json::from_slice::<Option<String>>(cell) {
            Ok(Some(ciphertext)) if loaded.sees_personal => {
                self.sealed.push((self.text.len(), SealedField { field: kind.to_owned(), ciphertext }));
            }
            _ => self.raw("null"),
        }
    }

    fn cursor(&mut self, loaded: &Loaded<'_>, row: usize) {
        let (scope, cells) = &loaded.cursor;
        let mut text = Vec::from(scope.as_bytes());
        text.push(b'[');
        for (at, cell) in cells.clone().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.extend(loaded.found.cells.get(row, cell));
        }
        text.push(b']');
        self.raw("\"");
        self.raw(&URL_SAFE_NO_PAD.encode(text));
        self.raw("\"");
    }

    /// Writes the selected members of a value.
    fn nested(&mut self, plan: &Nested, value: &Json) {
        match (plan, value) {
            (Nested::Whole, value) => self.raw(&value.to_string()),
            (Nested::List(inner), Json::Array(values)) => {
                self.list(values, |writer, value| writer.nested(inner, value));
            }
            (Nested::Object(fields), Json::Object(members)) => self.object(fields, |writer, field| match field {
                NestedField::Constant(constant) => writer.raw(constant),
                NestedField::Member(name, plan) => writer.nested(plan, members.get(name).unwrap_or(&Json::Null)),
            }),
            _ => self.raw("null"),
        }
    }

    fn object<F>(&mut self, fields: &[(Label, F)], mut value: impl FnMut(&mut Self, &F)) {
        self.raw("{");
        for (at, (label, field)) in fields.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            self.raw(label);
            value(self, field);
        }
        self.raw("}");
    }

    fn list<I>(&mut self, items: impl IntoIterator<Item = I>, mut item: impl FnMut(&mut Self, I)) {
        self.raw("[");
        for (at, one) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            item(self, one);
        }
        self.raw("]");
    }

    fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    fn raw(&mut self, text: &str) {
        self.text.extend(text.as_bytes());
    }
}
