//! Generated policies: each answers the first command of a ledger with an entry in another ledger.

use std::borrow::Cow;

use commands::kernel::{Policy, Reactions, Start, StreamCommand, StreamOf, VerbOf};
use domain::kernel::Recorded;
use domain::shared::{Permission, StockItemId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::command::Amount;
use crate::names::{numbered, text};
use crate::{Ledger, LedgerEvent};

/// Command of the policies; callers cannot send it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct FollowChange(Amount);

impl JsonSchema for FollowChange {
    fn schema_name() -> Cow<'static, str> {
        "FollowLedger".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Amount::json_schema(generator)
    }
}

impl StreamCommand for FollowChange {
    type Aggregate = Ledger<0>;
    const NEEDS: Permission = Permission::RunEngine;
    const STREAM: StreamOf<Self> = |command| command.0.ledger;
    const VERB: VerbOf<Self> = |command, ledger, _| ledger.add(LedgerEvent::Followed { amount: command.0.amount });
}

/// Policy with this number, which reacts to changes of the ledgers of one aggregate with an entry in the ledger of the
/// same id of the first aggregate.
pub struct Follow<const NUMBER: usize, const POLICY: usize>;

impl<const NUMBER: usize, const POLICY: usize> Follow<NUMBER, POLICY> {
    const NAME: [u8; 16] = numbered(*b"follow_ledger_00", POLICY);
}

impl<const NUMBER: usize, const POLICY: usize> Policy for Follow<NUMBER, POLICY> {
    const ID: &'static str = text(&Self::NAME);
    const START: Start = Start::Beginning;
    type Source = Ledger<NUMBER>;
    const EVENTS: &'static [&'static str] = &["ledger.changed"];

    fn react(event: &Recorded<LedgerEvent>, reactions: &mut Reactions) {
        if let LedgerEvent::Changed { command: 0, amount } = event.event {
            reactions.command(FollowChange(Amount { ledger: StockItemId::new(event.stream), amount }));
        }
    }
}
