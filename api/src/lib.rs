//! The API: HTTP and GraphQL, built at start from the catalogues of commands and read models.
//!
//! **Here:** authentication, permissions, admission control, the form of answers. **Never here:** I/O, clocks, random
//! numbers, SQL; the crate `cartulary` provides them as a [`Backend`](port::Backend). **To add a command or a read
//! model:** nothing; a relation between read models is one line in the file of its context.
//!
//! Layers, bottom to top; none imports a higher one: [`port`] (traits and data); [`error`]; [`auth`], `admission`,
//! [`command_intake`]; [`graphql`]; [`state`]; [`http`].

pub mod auth;
pub mod command_answer;
pub mod command_intake;
pub mod error;
pub mod graphql;
pub mod guard;
pub mod http;
pub mod json;
pub mod openapi;
pub mod port;
pub mod registries;
pub mod relation;
pub mod state;

mod admission;
mod catalogue;
mod customers;
mod flash_sales;
mod integrations;
mod inventory;
mod loyalty;
mod orders;
mod referrals;
mod reviews;
mod settlement;
mod social;
mod tenancy;
#[cfg(test)]
mod testing;

use relation::Relations;

/// All relations between read models, context by context.
fn relations() -> Relations {
    let mut all = Relations::default();
    catalogue::relations(&mut all);
    customers::relations(&mut all);
    flash_sales::relations(&mut all);
    integrations::relations(&mut all);
    inventory::relations(&mut all);
    loyalty::relations(&mut all);
    orders::relations(&mut all);
    referrals::relations(&mut all);
    reviews::relations(&mut all);
    settlement::relations(&mut all);
    social::relations(&mut all);
    tenancy::relations(&mut all);
    all
}
