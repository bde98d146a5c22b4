//! The API over HTTP, against the whole engine.

mod bad_fields;
mod bad_input;
mod bad_values;
mod hostile_queries;
mod input_schemas;
mod scenarios;
mod spellings;
mod story;
