//! Allotment of a flash sale: an order that is placed in the window buys at the price of the sale and from its units.

use std::collections::BTreeMap;

use domain::flash_sales::{FlashSale, SaleEntry};
use domain::inventory::StockItem;
use domain::kernel::Decision;
use domain::orders::OrderLine;
use domain::shared::{FlashSaleId, ProductId, Quantity};

use super::participant::{HeldOrder, Participant, with_product};
use crate::kernel::{Context, Desk, Hint, Refusal, rejected};

/// Units of flash sales, claimed for one customer.
pub(super) struct SaleAllotment;

impl Participant for SaleAllotment {
    fn streams(&self, order: &HeldOrder, hint: &mut Hint) {
        for (_, sale, _) in claims(order) {
            hint.stream::<FlashSale>(sale).stream::<SaleEntry>(SaleEntry::id(sale, order.customer));
        }
    }

    fn price(
        &self,
        lines: &mut [OrderLine],
        order: &HeldOrder,
        desk: &mut Desk,
        context: &Context,
    ) -> Result<(), Refusal> {
        let mut sales = BTreeMap::new();
        for &product in order.units.keys() {
            let item = desk.read::<StockItem>(StockItem::id(product, order.store))?;
            sales.extend(item.sale_at(context.now).map(|sale| (product, sale)));
        }
        desk.fetch(|hint| {
            for sale in sales.values() {
                hint.stream::<FlashSale>(*sale);
            }
        })?;
        for line in lines {
            if let Some(&sale) = sales.get(&line.product) {
                let price = desk.read::<FlashSale>(sale)?.terms().map_err(rejected)?.price;
                *line = line.clone().in_sale(sale, price).map_err(rejected)?;
            }
        }
        Ok(())
    }

    fn reserve(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |sale, units| claim(order, sale, units, context))?;
        // An order in a sale is an entry into it.
        for (_, sale, _) in claims(order) {
            let entry = SaleEntry::id(sale, order.customer);
            desk.decide::<SaleEntry>(entry, |entry| entry.record(sale, order.customer))?;
        }
        Ok(())
    }

    fn can_be_confirmed(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<bool, Refusal> {
        for (_, sale, units) in claims(order) {
            if claim(order, &*desk.read::<FlashSale>(sale)?, units, context).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn confirm(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let until = order.deadline(context.now);
        decide_each(order, desk, |sale, units| sale.confirm(order.id, order.customer, units, until, context.now))
    }

    fn release(&self, order: &HeldOrder, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |sale, _| sale.release(order.id))
    }

    fn expire(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |sale, _| sale.expire(order.id, context.now))
    }

    /// Does nothing: a paid unit was sold already.
    fn commit(&self, _: &HeldOrder, _: &mut Desk, _: &Context) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Products of an order that are sold in a flash sale, with their sale and units.
fn claims(order: &HeldOrder) -> impl Iterator<Item = (ProductId, FlashSaleId, Quantity)> {
    order.sales.iter().filter_map(|(product, sale)| Some((*product, *sale, *order.units.get(product)?)))
}

fn claim(order: &HeldOrder, sale: &FlashSale, units: Quantity, context: &Context) -> Decision<FlashSale> {
    sale.claim(order.id, order.customer, units, order.deadline(context.now), context.now)
}

/// Runs a verb on the sale of every product.
fn decide_each(
    order: &HeldOrder,
    desk: &mut Desk,
    verb: impl Fn(&FlashSale, Quantity) -> Decision<FlashSale>,
) -> Result<(), Refusal> {
    for (product, sale, units) in claims(order) {
        desk.decide::<FlashSale>(sale, |sale| verb(sale, units)).map_err(|refusal| with_product(product, refusal))?;
    }
    Ok(())
}
