//! Row store: one PostgreSQL table for each shape of a read model.
//!
//! Statements are built from the descriptions of our own row types; values from callers are always bound parameters.

mod binary_format;
mod comparison;
mod digest;
mod json_cell;
mod key_rebuild;
mod read_statement;
mod reader;
mod row_fold;
mod rows;
mod search_queue;
mod shapes;
mod snapshot;
mod status;
mod table;
mod table_builder;

pub use comparison::compare_with_rebuild;
pub use digest::{digest, rows};
pub(crate) use key_rebuild::{KeyRebuild, ParkedEntry, rebuild_parked};
pub use reader::PgReader;
pub use replay::comparison::Comparison;
pub use rows::PgRows;
pub(crate) use shapes::identity;
pub use shapes::{drop_unused, keep_tables, mark_used, roll_back};
pub(crate) use snapshot::Snapshot;
pub use status::projection_status;
pub use table_builder::PgTableBuilder;
