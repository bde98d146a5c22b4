//! Start and end of flash sales, recorded by timers.

use domain::flash_sales::FlashSale;
use domain::shared::{FlashSaleId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flash_sale::end_allotment;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, TenantStates};

/// Record that the window of a flash sale has begun.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartFlashSale {
    pub sale: FlashSaleId,
    /// The time at which it begins.
    pub at: Timestamp,
}

impl Command for StartFlashSale {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<FlashSale>(self.sale);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_due(self.at)?;
        desk.decide::<FlashSale>(self.sale, |sale| sale.record_start(context.now))
    }
}

/// Record that the window of a flash sale is over. Its unsold units are available again.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndFlashSale {
    pub sale: FlashSaleId,
    /// The time at which it is over.
    pub at: Timestamp,
}

impl Command for EndFlashSale {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<FlashSale>(self.sale);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_due(self.at)?;
        desk.decide::<FlashSale>(self.sale, |sale| sale.record_end(context.now))?;
        // The timer of an earlier window fires too; the sale is then not over.
        if desk.read::<FlashSale>(self.sale)?.terms().is_ok_and(|terms| terms.ends_at <= context.now) {
            return end_allotment(desk, self.sale);
        }
        Ok(())
    }
}
