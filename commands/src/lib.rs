//! Write side: commands, the desk (unit of work of one command), and the scribe (single writer) that decides them in
//! order.
//!
//! **Never here:** async, runtimes, clocks, databases, read models.
//! **To add a command** (ARCHITECTURE.md, *To add something*): one verb in the domain, one struct here in the file of
//! its aggregate, one line in its context's `visit`.

pub mod kernel;

pub mod analytics;
pub mod catalogue;
pub mod customers;
pub mod flash_sales;
pub mod integrations;
pub mod inventory;
pub mod loyalty;
pub mod orders;
pub mod referrals;
pub mod reviews;
pub mod scribe;
pub mod settlement;
pub mod social;
pub mod tenancy;

use kernel::Visitor;

/// Visits every command, policy and effect, context by context.
pub fn visit(each: &mut impl Visitor) {
    domain::visit_contexts! {
        analytics::visit(each);
        catalogue::visit(each);
        customers::visit(each);
        flash_sales::visit(each);
        integrations::visit(each);
        inventory::visit(each);
        loyalty::visit(each);
        orders::visit(each);
        referrals::visit(each);
        reviews::visit(each);
        settlement::visit(each);
        social::visit(each);
        tenancy::visit(each);
    }
}
