//! Read side: read models folded from events.
//!
//! **Here:** read models, one file each, and the projector that keeps them up to date. **Never here:** decisions,
//! commands, SQL, a runtime, a clock. **To add a read model** (ARCHITECTURE.md, *To add something*): one file in its
//! context's folder, one line in that context's `visit`.

pub mod kernel;
pub mod ports;
pub mod projector;
pub mod query;
pub mod testing;

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
pub mod settlement;
pub mod social;
pub mod tenancy;

use kernel::Visitor;

/// Visits every read model, context by context.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kernel::Models;
    use super::testing::check;

    #[test]
    fn every_read_model_is_well_formed_and_has_unique_names() {
        let models = Models::all();
        models.iter().for_each(check);
        let names: BTreeSet<_> = models.iter().flat_map(|model| [model.field(), model.fields()]).collect();
        assert_eq!(names.len(), 2 * models.iter().count());
    }
}
