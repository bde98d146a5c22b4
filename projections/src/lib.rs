//! Read side: what people look at, folded from what happened.
//!
//! **Here:** read models, one file each, and the projector that keeps them. **Never here:** decisions, commands, SQL,
//! a runtime, a clock. **To add a read model** (ARCHITECTURE.md, *To add something*): one file in its context, one line in that context's `visit`.

pub mod kernel;
pub mod ports;
pub mod projector;
pub mod question;
pub mod testing;

pub mod catalogue;
pub mod customers;
pub mod integrations;
pub mod inventory;
pub mod loyalty;
pub mod orders;
pub mod tenancy;

use kernel::Visitor;

/// Walks all read models, context by context.
pub fn visit(each: &mut impl Visitor) {
    each.context("catalogue");
    catalogue::visit(each);
    each.context("customers");
    customers::visit(each);
    each.context("integrations");
    integrations::visit(each);
    each.context("inventory");
    inventory::visit(each);
    each.context("loyalty");
    loyalty::visit(each);
    each.context("orders");
    orders::visit(each);
    each.context("tenancy");
    tenancy::visit(each);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kernel::Models;
    use super::testing::check;

    #[test]
    fn every_read_model_keeps_the_laws_and_has_names_of_its_own() {
        let models = Models::all();
        models.iter().for_each(check);
        let names: BTreeSet<_> = models.iter().flat_map(|model| [model.field(), model.fields()]).collect();
        assert_eq!(names.len(), 2 * models.iter().count());
    }
}
