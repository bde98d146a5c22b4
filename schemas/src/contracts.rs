//! JSON Schemas of commands, aggregates and read models.

use std::collections::BTreeMap;

use commands::kernel::Commands;
use domain::kernel::{Aggregate, Visitor};
use projections::kernel::Models;
use schemars::schema_for;
use serde_json::{Value, json};

use crate::published;

/// All JSON Schemas by path below `schemas/`.
pub(crate) fn all() -> BTreeMap<String, Value> {
    let mut all = Contracts::default();
    domain::visit(&mut all);
    for command in Commands::all().iter() {
        let mut schema = command.input_schema();
        schema["x-permission"] = json!(command.needs);
        all.schemas.insert(format!("commands/{}/{}.json", command.context, command.name), schema);
    }
    for model in Models::all().iter() {
        let mut schema = model.schema.clone().to_value();
        schema["x-permission"] = json!(model.needs);
        schema["x-key"] = json!(model.key);
        schema["x-indexed"] = json!(model.indexed);
        schema["x-owner"] = json!(model.owner);
        schema["x-public"] = json!(model.public);
        all.schemas.insert(format!("read-models/{}/{}.json", model.context, model.name), schema);
    }
    all.schemas
}

#[derive(Default)]
struct Contracts {
    schemas: BTreeMap<String, Value>,
    /// Context whose aggregates are being visited.
    context: &'static str,
}

impl Visitor for Contracts {
    fn context(&mut self, name: &'static str) {
        self.context = name;
    }

    fn aggregate<A: Aggregate>(&mut self) {
        let context = self.context;
        let mut events = schema_for!(A::Event).to_value();
        events["x-aggregate"] = json!(A::TYPE);
        for variant in events["oneOf"].as_array_mut().into_iter().flatten() {
            // Serde tags externally: the one required property of a variant is the event's name.
            let version = variant["required"][0].as_str().map(A::event_version);
            variant["x-version"] = json!(version);
        }
        self.schemas.insert(format!("events/{context}/{}.json", A::TYPE), events);
        if let Some(published) = published::schema::<A>() {
            self.schemas.insert(format!("published/{context}/{}.json", A::TYPE), published);
        }
        let mut rejections = schema_for!(A::Rejection).to_value();
        rejections["x-aggregate"] = json!(A::TYPE);
        self.schemas.insert(format!("rejections/{context}/{}.json", A::TYPE), rejections);
    }
}
