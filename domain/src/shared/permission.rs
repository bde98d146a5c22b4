//! Roles and permissions: one table for the write side, the read side and the documentation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Role of a caller within one tenant (IAM-11).
///
/// A customer has a permission for their own data only: the API compares the subject of a command and the owner of a
/// row with the token.
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
    /// Owns the contract with the platform.
    Owner,
    /// Works for the platform: reads data for support, changes only tenants and background work.
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
        /// Permission that a command or a read model requires.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Permission {
            $($(#[doc = $doc])* $name,)*
        }

        impl Permission {
            /// All permissions, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        impl Role {
            /// True if the role has the permission.
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
                    // Policies and timers follow up on commands that were permitted.
                    Self::Engine => true,
                }
            }
        }
    };
}

permissions! {
    //                 Customer Staff Manager Admin Owner Operator
    /// Place orders.
    PlaceOrders:       x x x x x -;
    /// Record that an order is paid.
    PayOrders:         - x x x x -;
    /// Process orders: accept, pack, ship, refund.
    HandleOrders:      - x x x x -;
    /// Import orders from another system.
    ImportOrders:      - - - x x -;
    /// Cancel orders.
    CancelOrders:      x x x x x -;
    /// Read orders and their history.
    SeeOrders:         x x x x x x;
    /// Change stock and reservations.
    ManageStock:       - - x x x -;
    /// Read stock levels and movements.
    SeeStock:          - - x x x x;
    /// Change products and prices.
    ManageProducts:    - - x x x -;
    /// Schedule, change and cancel flash sales.
    ManageFlashSales:  - - x x x -;
    /// Read products.
    SeeProducts:       x x x x x x;
    /// Fill carts and wishlists.
    FillCarts:         x - - x x -;
    /// Register as a customer and update one's own data.
    KeepProfile:       x x x x x -;
    /// Change any customer's data, merge and erase customers.
    ManageCustomers:   - - - x x -;
    /// Read customers; a customer reads only their own data.
    SeeCustomers:      x - x x x x;
    /// Give and take points by hand.
    ManagePoints:      - - - x x -;
    /// Redeem points for rewards.
    RedeemPoints:      x - - x x -;
    /// Read point balances and their entries.
    SeePoints:         x - x x x x;
    /// Change the rules of the loyalty programme.
    ManageProgram:     - - - x x -;
    /// Write reviews and questions, vote, and like posts.
    Participate:       x - - x x -;
    /// Answer reviews and questions for the seller, and read all of them.
    AnswerCustomers:   - - x x x -;
    /// Decide on reports, and remove content of customers.
    ModerateContent:   - - - x x -;
    /// Publish and delete posts.
    PublishPosts:      - - x x x -;
    /// Record activity: views, shares, clicks.
    TrackActivity:     x x x x x -;
    /// Read figures of activity.
    SeeActivity:       - - x x x x;
    /// Read sales figures.
    SeeSales:          - - x x x x;
    /// Open stores of one's own tenant.
    ManageStores:      - - - x x -;
    /// Set the way of payment and request payouts.
    ManagePayouts:     - - - - x -;
    /// Record the outcome of payouts, as the payment provider reports it.
    RecordPayouts:     - - - x x -;
    /// Read transactions, balances and payouts.
    SeeSettlement:     - - - x x x;
    /// Manage webhook subscriptions and read their signing secrets.
    ManageWebhooks:    - - - x x -;
    /// Read webhook subscriptions and their deliveries.
    SeeWebhooks:       - - - x x x;
    /// Read the stored events of single streams: who did what, when, and by which command.
    SeeHistory:        - - - x x x;
    /// Read dead letters, circuit breakers and, as an operator of the platform, the positions of policies.
    SeeWork:           - - - x x x;
    /// Requeue and discard dead letters.
    ManageWork:        - - - x x x;
    /// Register tenants, and restrict, suspend, reinstate and close them.
    ManageTenants:     - - - - - x;
    /// Read tenants; the team of a tenant reads only its own tenant.
    SeeTenants:        - - - x x x;
    /// Reserved for the engine: expire holds, run policies.
    RunEngine:         - - - - - -;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: [Role; 6] = [Role::Customer, Role::Staff, Role::Manager, Role::Admin, Role::Owner, Role::Operator];

    #[test]
    fn every_permission_has_a_role_and_only_the_engine_has_run_engine() {
        for &permission in Permission::ALL {
            assert!(Role::Engine.permits(permission));
            let held = PEOPLE.iter().any(|role| role.permits(permission));
            assert_eq!(held, permission != Permission::RunEngine, "{permission:?}");
        }
    }

    #[test]
    fn higher_team_role_has_all_permissions_of_the_lower_one() {
        for &permission in Permission::ALL {
            for pair in [Role::Staff, Role::Manager, Role::Admin, Role::Owner].windows(2) {
                if let [lower, higher] = *pair {
                    assert!(!lower.permits(permission) || higher.permits(permission), "{higher:?} {permission:?}");
                }
            }
        }
    }

    #[test]
    fn staff_may_only_handle_orders_read_products_update_profiles_and_track_activity() {
        use Permission::*;
        let held: Vec<_> = Permission::ALL.iter().filter(|one| Role::Staff.permits(**one)).collect();
        assert_eq!(
            held,
            [
                &PlaceOrders,
                &PayOrders,
                &HandleOrders,
                &CancelOrders,
                &SeeOrders,
                &SeeProducts,
                &KeepProfile,
                &TrackActivity
            ]
        );
    }

    #[test]
    fn customers_and_operators_have_no_permission_reserved_for_the_team() {
        use Permission::*;
        let of_the_team =
            [HandleOrders, PayOrders, ManageStock, ManageProducts, ManagePoints, ManageProgram, ManageStores];
        for permission in of_the_team {
            assert!(!Role::Customer.permits(permission) && !Role::Operator.permits(permission), "{permission:?}");
        }
    }
}
