//! Copies of rows that many ask for by key, so that the store is not asked for each of them.
//!
//! A copy carries the checkpoint it is true at and the moment before which it was not read. It is believed for
//! `row_cache_ms` and no longer, whatever became of the word that its row has changed; who demands a position gets
//! none. Whose rows a reader may see is decided after the copy was found, on the row itself. Personal fields are as
//! sealed in a copy as they are in the store.

mod asking;
mod copies;
mod following;
mod in_memory;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use projections::kernel::{Key, Model};
use projections::ports::Checkpoint;
use projections::query::{Cursor, Page, QueryError, Row, RowQuery};
use serde_json::Value;

use crate::store::PgReader;
use edge::redis::Redis;
use platform::clock::now;

use asking::ByKey;
pub use copies::{Copied, Copies, Name};
pub use following::follow;
pub use in_memory::InMemory;
pub use shared::Shared;

/// How long a copy may be believed at most, whatever is set.
pub const LIFE_MS_MOST: u32 = 60_000;

/// A row that is larger is not copied.
const ROW_BYTES_MOST: usize = 8 * 1024;

/// Answers questions by key from copies, and everything else from the store.
#[derive(Clone)]
pub struct HotRows {
    pub copies: Arc<dyn Copies>,
    life: Duration,
}

impl HotRows {
    /// Copies in Redis, or in the memory of this process where there is none.
    pub fn new(redis: Option<Redis>, life: Duration) -> Self {
        let copies: Arc<dyn Copies> = match redis {
            Some(redis) => Arc::new(Shared::new(redis, life)),
            None => Arc::new(InMemory::default()),
        };
        Self { copies, life }
    }

    /// The rows that fit a question, from copies where it names keys and demands no position.
    pub async fn page(&self, reader: &PgReader, model: &Model, question: &RowQuery) -> Result<Page, QueryError> {
        let asked = if question.bypass_cache { None } else { ByKey::of(model, question) };
        match asked {
            Some(asked) => self.page_by_key(reader, model, question, &asked).await,
            None => reader.page(model, question).await,
        }
    }

    async fn page_by_key(
        &self,
        reader: &PgReader,
        model: &Model,
        question: &RowQuery,
        asked: &ByKey,
    ) -> Result<Page, QueryError> {
        let names: Vec<Name> = asked.keys.iter().map(|key| Name::of(model, question.tenant, key)).collect();
        let begun = now();
        let copies = self.copies.find(&names).await;
        let mut found = Found::default();
        let mut missing = Vec::new();
        for (key, copy) in asked.keys.iter().zip(copies) {
            match copy.filter(|copy| copy.is_believed(begun, self.life)) {
                Some(copy) => _ = found.add(model, copy.at, &copy.row),
                None => missing.push(key),
            }
        }
        let hits = asked.keys.len() - missing.len();
        metrics::counter!("cartulary_hot_rows_total", "found" => "yes").increment(hits as u64);
        if !missing.is_empty() {
            metrics::counter!("cartulary_hot_rows_total", "found" => "no").increment(missing.len() as u64);
            // The whole rows, whoever asks: what she may see of them is decided below.
            let page = reader.page(model, &asked.store_question(model, question.tenant, &missing)).await?;
            let mut copies = Vec::new();
            for Row { json, .. } in page.rows {
                let name = Name::of(model, question.tenant, &found.add(model, page.at, &json));
                if json.len() <= ROW_BYTES_MOST {
                    copies.push((name, Copied { row: json, at: page.at, read_at: begun }));
                }
            }
            found.at.get_or_insert(page.at);
            self.copies.keep(model, page.at, copies).await;
        }
        found.page(model, question, asked)
    }
}

/// Rows by key, as values and as they were written, and the oldest checkpoint among them.
#[derive(Default)]
struct Found {
    rows: BTreeMap<Key, (Value, String)>,
    at: Option<Checkpoint>,
}

impl Found {
    /// Takes a row and says which key it has.
    fn add(&mut self, model: &Model, at: Checkpoint, json: &str) -> Key {
        let row: Value = serde_json::from_str(json).unwrap_or_default();
        let key = model.key_of(&row);
        self.rows.insert(key.clone(), (row, json.to_owned()));
        self.at = Some(self.at.map_or(at, |known| if known.position <= at.position { known } else { at }));
        key
    }

    /// What of it this reader may see and asked for.
    fn page(self, model: &Model, question: &RowQuery, asked: &ByKey) -> Result<Page, QueryError> {
        let columns = question.order_columns(model)?;
        let rows = self.rows.into_values().filter(|(row, _)| asked.conditions.matches(row));
        let rows = rows.map(|(row, json)| Row { cursor: Cursor::of(&row, &columns), json }).collect();
        Ok(Page { rows, more: false, at: self.at.unwrap_or(Checkpoint::start(0)), count: None })
    }
}
