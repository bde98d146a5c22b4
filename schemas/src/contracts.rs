//! JSON Schemas of commands, aggregates and read models.

use std::collections::BTreeMap;

use commands::kernel::Commands;
use domain::kernel::{Aggregate, Visitor};
use projections::kernel::Models;
use schemars::schema_for;
use serde_json::{Value, json};

/// All JSON Schemas by path below `schemas/`.
pub(crate) fn all() -> BTreeMap<String, Value> {
    let mut all = Contracts::default();
    domain::visit(&mut all);
    for command in Commands::all().iter() {
        let mut schema = command.schema.clone().to_value();
        schema["x-permission"] = json!(command.needs);
        all.0.insert(format!("commands/{}/{}.json", command.context, command.name), schema);
    }
    for model in Models::all().iter() {
        let mut schema = model.schema.clone().to_value();
        schema["x-permission"] = json!(model.needs);
        schema["x-key"] = json!(model.key);
        schema["x-indexed"] = json!(model.indexed);
        schema["x-owner"] = json!(model.owner);
        all.0.insert(format!("read-models/{}/{}.json", model.context, model.name), schema);
    }
    all.0
}

#[derive(Default)]
struct Contracts(BTreeMap<String, Value>);

impl Visitor for Contracts {
    fn aggregate<A: Aggregate>(&mut self) {
        let context = context_of(std::any::type_name::<A>());
        let mut events = schema_for!(A::Event).to_value();
        events["x-aggregate"] = json!(A::TYPE);
        events["x-version"] = json!(A::EVENT_VERSION);
        self.0.insert(format!("events/{context}/{}.json", A::TYPE), events);
        let mut rejections = schema_for!(A::Rejection).to_value();
        rejections["x-aggregate"] = json!(A::TYPE);
        self.0.insert(format!("rejections/{context}/{}.json", A::TYPE), rejections);
    }
}

/// Context of a domain type: `domain::inventory::stock_item::StockItem` belongs to `inventory`.
fn context_of(path: &'static str) -> &'static str {
    path.split("::").nth(1).unwrap_or(path)
}
