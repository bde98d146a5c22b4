//! The front door: HTTP and GraphQL, built at start from the catalogues of commands and read models.
//!
//! **Here:** who is calling, what they may do, how answers look. **Never here:** I/O, clocks, random numbers, SQL;
//! the floor above brings them as a [`Backend`](backend::Backend). **To add a command or a read model:** nothing; a
//! relation between read models is one line in the file of its context.

pub mod admission;
pub mod auth;
pub mod backend;
pub mod error;
pub mod freshness;
pub mod front;
pub mod graphql;
pub mod guard;
pub mod http;
pub mod integrations;
pub mod json;
pub mod limits;
pub mod live;
pub mod openapi;
pub mod receipt;

mod catalogue;
mod customers;
mod inventory;
mod loyalty;
mod orders;
mod tenancy;
#[cfg(test)]
mod testing;

use graphql::Relations;

/// Every way between read models, context by context.
fn relations() -> Relations {
    let mut all = Relations::default();
    catalogue::relations(&mut all);
    customers::relations(&mut all);
    integrations::relations(&mut all);
    inventory::relations(&mut all);
    loyalty::relations(&mut all);
    orders::relations(&mut all);
    tenancy::relations(&mut all);
    all
}
