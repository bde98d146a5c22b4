//! Entry of customers into flash sales.

use domain::flash_sales::{FlashSale, FlashSaleRejection, SaleEntry};
use domain::shared::{CustomerId, FlashSaleId, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject, rejected};

/// Record that a customer entered a running flash sale, for example by opening it in an app.
///
/// A customer counts once as a participant of the sale. An order in the sale records the entry by itself.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnterFlashSale {
    pub sale: FlashSaleId,
    pub customer: CustomerId,
}

impl Command for EnterFlashSale {
    const NEEDS: Permission = Permission::PlaceOrders;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<FlashSale>(self.sale).stream::<SaleEntry>(SaleEntry::id(self.sale, self.customer));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| self.streams(hint))?;
        if !desk.read::<FlashSale>(self.sale)?.is_running(context.now).map_err(rejected)? {
            return Err(rejected(FlashSaleRejection::SaleNotRunning {}));
        }
        let entry = SaleEntry::id(self.sale, self.customer);
        desk.decide::<SaleEntry>(entry, |entry| entry.record(self.sale, self.customer))
    }
}
