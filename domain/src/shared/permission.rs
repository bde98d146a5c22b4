//! Who may do what: one table, read by the write side, the read side and the documents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// As whom somebody acts within one tenant (IAM-11, S-21).
///
/// What a customer is permitted reaches no further than herself: the subject of a command and the owner of a row
/// are compared with her token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Handles orders.
    Staff,
    /// Runs a store: products, stock, orders and figures.
    Manager,
    /// Runs the tenant, its loyalty programme included.
    Admin,
    /// Holds the contract.
    Owner,
    /// Works for the platform: sees what helps, changes only tenants.
    Operator,
    /// The engine itself: policies and timers.
    Engine,
}

macro_rules! mark {
    (x) => {
        true
    };
    (-) => {
        false
    };
}

macro_rules! permissions {
    ($($(#[doc = $doc:literal])* $name:ident: $customer:tt $staff:tt $manager:tt $admin:tt $owner:tt $operator:tt;)*) => {
        /// Something one must be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Permission {
            $($(#[doc = $doc])* $name,)*
        }

        impl Permission {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        impl Role {
            /// Whether somebody in this role may do this.
            pub const fn permits(self, permission: Permission) -> bool {
                let [customer, staff, manager, admin, owner, operator] = match permission {
                    $(Permission::$name => {
                        let team = [mark!($staff), mark!($manager), mark!($admin), mark!($owner)];
                        [mark!($customer), team[0], team[1], team[2], team[3], mark!($operator)]
                    })*
                };
                match self {
                    Self::Customer => customer,
                    Self::Staff => staff,
                    Self::Manager => manager,
                    Self::Admin => admin,
                    Self::Owner => owner,
                    Self::Operator => operator,
                    // Policies act on what was permitted before.
                    Self::Engine => true,
                }
            }
        }
    };
}

permissions! {
    //                 Customer Staff Manager Admin Owner Operator
    /// Buy, and open the order that says so.
    PlaceOrders:       x x x x x -;
    /// Record that an order is paid.
    PayOrders:         - x x x x -;
    /// Take an order through its life: confirm, pack, send, refund.
    HandleOrders:      - x x x x -;
    /// Bring orders in from another system.
    ImportOrders:      - - - x x -;
    /// Call an order off.
    CancelOrders:      x x x x x -;
    /// See orders and what happened to them.
    SeeOrders:         x x x x x x;
    /// Change what is in stock or set aside.
    ManageStock:       - - x x x -;
    /// See what is in stock and how it got there.
    SeeStock:          - - x x x x;
    /// Change what is sold and at which price.
    ManageProducts:    - - x x x -;
    /// See what is sold.
    SeeProducts:       x x x x x x;
    /// Register as a customer and keep the own data up to date.
    KeepProfile:       x x x x x -;
    /// Change any customer's data, merge and erase customers.
    ManageCustomers:   - - - x x -;
    /// See customers; a customer sees herself.
    SeeCustomers:      x - x x x x;
    /// Give and take points by hand.
    ManagePoints:      - - - x x -;
    /// Turn points into rewards.
    RedeemPoints:      x - - x x -;
    /// See balances of points and how they came about.
    SeePoints:         x - x x x x;
    /// Change the rules of the loyalty programme.
    ManageProgram:     - - - x x -;
    /// See figures of the business.
    SeeSales:          - - x x x x;
    /// Open stores of the own tenant.
    ManageStores:      - - - x x -;
    /// Have events sent to addresses outside, and see the secrets that they are signed with.
    ManageWebhooks:    - - - x x -;
    /// See who is sent events, and what became of it.
    SeeWebhooks:       - - - x x x;
    /// Register, suspend and reinstate tenants.
    ManageTenants:     - - - - - x;
    /// See tenants; a tenant's own team sees that one.
    SeeTenants:        - - - x x x;
    /// What only the engine itself does: let holds pass, follow up on what happened.
    RunEngine:         - - - - - -;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: [Role; 6] = [Role::Customer, Role::Staff, Role::Manager, Role::Admin, Role::Owner, Role::Operator];

    #[test]
    fn each_permission_is_held_by_somebody_and_only_the_engine_runs_the_engine() {
        for &permission in Permission::ALL {
            assert!(Role::Engine.permits(permission));
            let held = PEOPLE.iter().any(|role| role.permits(permission));
            assert_eq!(held, permission != Permission::RunEngine, "{permission:?}");
        }
    }

    #[test]
    fn whoever_stands_higher_in_a_team_may_do_what_those_below_may() {
        for &permission in Permission::ALL {
            for pair in [Role::Staff, Role::Manager, Role::Admin, Role::Owner].windows(2) {
                if let [lower, higher] = *pair {
                    assert!(!lower.permits(permission) || higher.permits(permission), "{higher:?} {permission:?}");
                }
            }
        }
    }

    #[test]
    fn staff_handles_orders_and_sees_products_and_nothing_more() {
        use Permission::*;
        let held: Vec<_> = Permission::ALL.iter().filter(|one| Role::Staff.permits(**one)).collect();
        assert_eq!(
            held,
            [&PlaceOrders, &PayOrders, &HandleOrders, &CancelOrders, &SeeOrders, &SeeProducts, &KeepProfile]
        );
    }

    #[test]
    fn customers_and_operators_change_no_store() {
        use Permission::*;
        let of_the_team =
            [HandleOrders, PayOrders, ManageStock, ManageProducts, ManagePoints, ManageProgram, ManageStores];
        for permission in of_the_team {
            assert!(!Role::Customer.permits(permission) && !Role::Operator.permits(permission), "{permission:?}");
        }
    }
}
