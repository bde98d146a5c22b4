//! All commands, policies and effects by name: the one description that HTTP, GraphQL, schemas and documents read.

use std::collections::BTreeMap;

use domain::kernel::{Aggregate, Recorded, Unreadable};
use domain::shared::Permission;
use schemars::Schema;

use super::{AnyCommand, Command, Effect, EffectKind, Misuse, Policy, Reactions, Start, Visitor};
use super::{shape, wording};

/// Every command, policy and effect of the house.
#[derive(Default)]
pub struct Commands {
    /// The context that is being visited.
    context: &'static str,
    commands: BTreeMap<String, CommandKind>,
    policies: Vec<PolicyKind>,
    effects: BTreeMap<&'static str, EffectKind>,
}

/// One kind of command.
pub struct CommandKind {
    /// As callers write it (`ReserveStock`).
    pub name: String,
    /// The bounded context it belongs to (`inventory`).
    pub context: &'static str,
    pub needs: Permission,
    /// JSON Schema of its body; the descriptions are its documentation.
    pub schema: Schema,
    parse: fn(&str) -> Result<Box<dyn AnyCommand>, Misuse>,
}

impl CommandKind {
    /// Reads a body. What it refuses, it refuses with the path of the field.
    pub fn parse(&self, body: &str) -> Result<Box<dyn AnyCommand>, Misuse> {
        let command = (self.parse)(body)?;
        shape::check(&self.schema, body)?;
        Ok(command)
    }
}

/// One kind of policy.
#[derive(Clone, Copy)]
pub struct PolicyKind {
    pub id: &'static str,
    pub start: Start,
    /// The stream type it listens to.
    pub source: &'static str,
    /// The events it reacts to; see [`Policy::EVENTS`].
    pub events: &'static [&'static str],
    react: fn(&Recorded<Stored<'_>>) -> Result<Reactions, Unreadable>,
}

/// An event as the log stores it.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub name: &'a str,
    pub version: i16,
    pub payload: &'a str,
}

impl PolicyKind {
    /// Whether it reacts to events of this name in streams of this type.
    pub fn listens_to(&self, source: &str, event: &str) -> bool {
        self.source == source && self.events.contains(&event)
    }

    /// What must follow from this event.
    pub fn react(&self, event: &Recorded<Stored<'_>>) -> Result<Reactions, Unreadable> {
        (self.react)(event)
    }
}

impl Commands {
    /// All of them.
    pub fn all() -> Self {
        let mut all = Self::default();
        crate::visit(&mut all);
        all
    }

    pub fn get(&self, name: &str) -> Option<&CommandKind> {
        self.commands.get(name)
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &CommandKind> {
        self.commands.values()
    }

    pub fn policies(&self) -> &[PolicyKind] {
        &self.policies
    }

    pub fn effect_kind(&self, name: &str) -> Option<&EffectKind> {
        self.effects.get(name)
    }

    /// In alphabetical order.
    pub fn effect_kinds(&self) -> impl Iterator<Item = &EffectKind> {
        self.effects.values()
    }
}

impl Visitor for Commands {
    fn context(&mut self, name: &'static str) {
        self.context = name;
    }

    fn command<C: Command>(&mut self) {
        let kind = CommandKind {
            name: C::schema_name().into_owned(),
            context: self.context,
            needs: C::NEEDS,
            schema: schemars::schema_for!(C),
            parse: parse::<C>,
        };
        self.commands.insert(kind.name.clone(), kind);
    }

    fn policy<P: Policy>(&mut self) {
        let (id, start, source, events) = (P::ID, P::START, P::Source::TYPE, P::EVENTS);
        self.policies.push(PolicyKind { id, start, source, events, react: react::<P> });
    }

    fn effect<E: Effect>(&mut self) {
        self.effects.insert(E::NAME, EffectKind::of::<E>());
    }
}

fn parse<C: Command>(body: &str) -> Result<Box<dyn AnyCommand>, Misuse> {
    let mut json = serde_json::Deserializer::from_str(body);
    let command: C = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let code = if error.inner().is_data() { "INVALID_FIELD" } else { "INVALID_JSON" };
        let message = wording::plain(&error.inner().to_string());
        let parent = Some(error.path().to_string()).filter(|path| path != ".");
        // A path ends at an unknown field, but before one that is missing.
        let named = wording::named_field(&message)
            .filter(|name| parent.as_deref().and_then(|path| path.rsplit('.').next()) != Some(*name));
        let field: Vec<_> = parent.as_deref().into_iter().chain(named).collect();
        Misuse::new(code, field.join("."), message)
    })?;
    json.end().map_err(|error| Misuse::new("INVALID_JSON", "", error.to_string()))?;
    Ok(Box::new(command))
}

fn react<P: Policy>(event: &Recorded<Stored<'_>>) -> Result<Reactions, Unreadable> {
    let Stored { name, version, payload } = event.event;
    let event = event.clone().map(P::Source::read(name, version, payload)?);
    let mut reactions = Reactions::new(P::ID, &event);
    P::react(&event, &mut reactions);
    Ok(reactions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_belongs_to_the_context_that_lists_it() {
        let commands = Commands::all();
        let context_of = |name: &str| commands.get(name).map(|kind| kind.context);
        assert_eq!(context_of("CreateProduct"), Some("catalogue"));
        assert_eq!(context_of("ReserveStock"), Some("inventory"));
        assert_eq!(context_of("PlaceOrder"), Some("orders"));
        assert_eq!(context_of("OpenTenant"), Some("tenancy"));
        assert!(commands.iter().all(|kind| !kind.context.is_empty()));
    }
}
