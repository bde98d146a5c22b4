//! Generated commands: each adds an amount to a ledger.

use std::borrow::Cow;

use commands::kernel::{StreamCommand, StreamOf, VerbOf};
use domain::shared::{Permission, StockItemId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::aggregate::{Ledger, LedgerEvent};

/// Command with this number of the aggregate with this number; `ChangeLedger07By3` in the API.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Change<const NUMBER: usize, const COMMAND: u8>(pub Amount);

/// Add an amount to a ledger.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub ledger: StockItemId,
    /// The amount to add.
    pub amount: i64,
}

impl<const NUMBER: usize, const COMMAND: u8> JsonSchema for Change<NUMBER, COMMAND> {
    fn schema_name() -> Cow<'static, str> {
        format!("ChangeLedger{NUMBER:02}By{COMMAND}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Amount::json_schema(generator)
    }
}

impl<const NUMBER: usize, const COMMAND: u8> StreamCommand for Change<NUMBER, COMMAND> {
    type Aggregate = Ledger<NUMBER>;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.0.ledger;
    const VERB: VerbOf<Self> =
        |command, ledger, _| ledger.add(LedgerEvent::Changed { command: COMMAND, amount: command.0.amount });
}
