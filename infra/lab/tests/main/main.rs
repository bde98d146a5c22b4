//! Processes that are killed, and what goes on from where they stood.

mod killed;
