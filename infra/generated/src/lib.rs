//! Generated catalogue: 40 aggregates, 400 commands, 120 read models and 60 policies beside those of the contexts. The
//! lab measures with it what a complete engine costs at start, per command, per event and per query.
//!
//! **Here:** generic types, numbered by const parameters. **Never here:** behaviour that a context would have. Not in
//! the product.

mod aggregate;
mod command;
mod names;
mod policy;
mod read_model;

use std::sync::Arc;

use api::registries::Registries;
use commands::kernel::{Commands, StateRegistry};
use projections::kernel::Models;

pub use aggregate::{Ledger, LedgerEvent, LedgerRejection};
pub use command::Change;
pub use policy::{Follow, FollowChange};
pub use read_model::Summary;

/// Number of generated aggregate types.
pub const AGGREGATES: usize = 40;
/// Number of commands of each generated aggregate.
pub const COMMANDS_EACH: usize = 10;
/// Number of read models of each generated aggregate.
pub const READ_MODELS_EACH: usize = 3;
/// Number of generated policies.
pub const POLICIES: usize = 60;

/// Calls a macro with each pair of an aggregate's number and the next one's.
macro_rules! for_each_aggregate {
    ($call:ident, $visitor:expr) => {
        for_each_aggregate!(@ $call, $visitor,
            0 1, 2 3, 4 5, 6 7, 8 9, 10 11, 12 13, 14 15, 16 17, 18 19,
            20 21, 22 23, 24 25, 26 27, 28 29, 30 31, 32 33, 34 35, 36 37, 38 39);
    };
    (@ $call:ident, $visitor:expr, $($even:literal $odd:literal),*) => {
        $($call!($visitor, $even); $call!($visitor, $odd);)*
    };
}

macro_rules! visit_aggregate {
    ($visitor:expr, $number:literal) => {
        $visitor.aggregate::<Ledger<$number>>();
    };
}

macro_rules! visit_commands {
    ($visitor:expr, $number:literal) => {
        visit_commands!(@ $visitor, $number, 0 1 2 3 4 5 6 7 8 9);
    };
    (@ $visitor:expr, $number:literal, $($command:literal)*) => {
        $($visitor.command::<Change<$number, $command>>();)*
    };
}

macro_rules! visit_read_models {
    ($visitor:expr, $number:literal) => {
        $visitor.read_model::<Summary<$number, 0>>();
        $visitor.read_model::<Summary<$number, 1>>();
        $visitor.read_model::<Summary<$number, 2>>();
    };
}

/// Visits one policy of every aggregate, and a second one of the first twenty.
macro_rules! visit_policies {
    ($visitor:expr, $number:literal) => {
        $visitor.policy::<Follow<$number, $number>>();
        if $number + AGGREGATES < POLICIES {
            $visitor.policy::<Follow<$number, { $number + AGGREGATES }>>();
        }
    };
}

/// The registries of all contexts together with the generated catalogue.
pub fn registries() -> Registries {
    let all = Registries::all();
    Registries {
        states: Arc::new(states(StateRegistry::all())),
        commands: Arc::new(commands(Commands::all())),
        models: Arc::new(models(Models::all())),
        relations: all.relations,
    }
}

fn states(mut registry: StateRegistry) -> StateRegistry {
    use domain::kernel::Visitor;
    for_each_aggregate!(visit_aggregate, registry);
    registry
}

fn commands(mut registry: Commands) -> Commands {
    use commands::kernel::Visitor;
    registry.context("generated");
    for_each_aggregate!(visit_commands, registry);
    registry.command::<FollowChange>();
    for_each_aggregate!(visit_policies, registry);
    registry
}

fn models(mut registry: Models) -> Models {
    use projections::kernel::Visitor;
    registry.context("generated");
    for_each_aggregate!(visit_read_models, registry);
    registry
}

#[cfg(test)]
mod tests {
    use projections::testing::check;

    use super::*;

    #[test]
    fn generated_catalogue_adds_the_stated_numbers_of_commands_read_models_and_policies() {
        let (own, all) = (Registries::all(), registries());
        assert_eq!(all.commands.iter().count(), own.commands.iter().count() + AGGREGATES * COMMANDS_EACH + 1);
        assert_eq!(all.models.iter().count(), own.models.iter().count() + AGGREGATES * READ_MODELS_EACH);
        assert_eq!(all.commands.policies().len(), own.commands.policies().len() + POLICIES);
    }

    #[test]
    fn every_generated_read_model_is_well_formed() {
        registries().models.iter().for_each(check);
    }
}
