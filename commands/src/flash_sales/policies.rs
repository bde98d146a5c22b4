//! Policies on flash sales.

use domain::flash_sales::{FlashSale, FlashSaleEvent};
use domain::kernel::Recorded;
use domain::shared::FlashSaleId;

use super::{EndFlashSale, StartFlashSale};
use crate::kernel::{Policy, Reactions, Start};

/// Sets timers that record the start and the end of a flash sale, moves them when the window changes, and cancels them
/// when the sale is cancelled. Decisions follow the window itself; read models and subscribers need the events.
pub struct RecordSaleWindow;

impl Policy for RecordSaleWindow {
    const ID: &'static str = "record_sale_window";
    const START: Start = Start::Beginning;
    type Source = FlashSale;
    const EVENTS: &'static [&'static str] = &["flash_sale.scheduled", "flash_sale.changed", "flash_sale.cancelled"];

    fn react(event: &Recorded<FlashSaleEvent>, reactions: &mut Reactions) {
        let sale = FlashSaleId::new(event.stream);
        match &event.event {
            FlashSaleEvent::Scheduled { terms, .. } | FlashSaleEvent::Changed { terms } => {
                reactions.timer(START, terms.starts_at, StartFlashSale { sale, at: terms.starts_at });
                reactions.timer(END, terms.ends_at, EndFlashSale { sale, at: terms.ends_at });
            }
            FlashSaleEvent::Cancelled {} => {
                reactions.cancel(START);
                reactions.cancel(END);
            }
            _ => {}
        }
    }
}

/// Keys of the timers of a sale.
const START: &str = "start";
const END: &str = "end";
