//! Registry of all commands, policies and effects. HTTP, GraphQL, schemas and documentation are derived from it.

use std::collections::BTreeMap;

use domain::kernel::{Aggregate, Recorded, Unreadable};
use domain::shared::{Permission, input_schema};
use domain::tenancy::TenantStates;
use schemars::Schema;
use serde_json::Value;

use super::{AnyCommand, Command, Effect, EffectDescriptor, Misuse, Policy, Reactions, Start, Visitor};
use super::{error_text, shape};

/// Registry of the commands, policies and effects of all contexts.
#[derive(Default)]
pub struct Commands {
    /// Name of the context that is being visited.
    context: &'static str,
    commands: BTreeMap<String, CommandDescriptor>,
    policies: Vec<PolicyDescriptor>,
    effects: BTreeMap<&'static str, EffectDescriptor>,
}

/// Descriptor of a command type.
pub struct CommandDescriptor {
    /// The public name (`ReserveStock`).
    pub name: String,
    /// The bounded context (`inventory`).
    pub context: &'static str,
    pub needs: Permission,
    /// States of the tenant in which the command is decided.
    pub states: TenantStates,
    /// JSON Schema of the body. Its descriptions are the documentation of the command.
    pub schema: Schema,
    parse: fn(&str) -> Result<Box<dyn AnyCommand>, Misuse>,
}

impl CommandDescriptor {
    /// JSON Schema of the body with the constraints of the parser: what it accepts, and its values by pattern and list.
    pub fn input_schema(&self) -> Value {
        input_schema(self.schema.as_value())
    }

    /// Parses a body. An error names the path of the field.
    pub fn parse(&self, body: &str) -> Result<Box<dyn AnyCommand>, Misuse> {
        let command = (self.parse)(body)?;
        shape::check(&self.schema, body)?;
        Ok(command)
    }
}

/// Descriptor of a policy type.
#[derive(Clone, Copy)]
pub struct PolicyDescriptor {
    pub id: &'static str,
    pub start: Start,
    /// Stream type of the events that the policy reacts to.
    pub source: &'static str,
    /// Names of these events; see [`Policy::EVENTS`].
    pub events: &'static [&'static str],
    react: fn(&Recorded<StoredEvent<'_>>) -> Result<Reactions, Unreadable>,
}

/// An event as the log stores it.
#[derive(Clone, Copy)]
pub struct StoredEvent<'a> {
    pub name: &'a str,
    pub version: i16,
    pub payload: &'a str,
}

impl PolicyDescriptor {
    /// True if the policy reacts to events of this name in streams of this type.
    pub fn listens_to(&self, source: &str, event: &str) -> bool {
        self.source == source && self.events.contains(&event)
    }

    /// The reactions to this event.
    pub fn react(&self, event: &Recorded<StoredEvent<'_>>) -> Result<Reactions, Unreadable> {
        (self.react)(event)
    }
}

impl Commands {
    /// The registry of all contexts.
    pub fn all() -> Self {
        let mut all = Self::default();
        crate::visit(&mut all);
        all
    }

    pub fn get(&self, name: &str) -> Option<&CommandDescriptor> {
        self.commands.get(name)
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &CommandDescriptor> {
        self.commands.values()
    }

    pub fn policies(&self) -> &[PolicyDescriptor] {
        &self.policies
    }

    pub fn effect_descriptor(&self, name: &str) -> Option<&EffectDescriptor> {
        self.effects.get(name)
    }

    /// In alphabetical order.
    pub fn effect_descriptors(&self) -> impl Iterator<Item = &EffectDescriptor> {
        self.effects.values()
    }
}

impl Visitor for Commands {
    fn context(&mut self, name: &'static str) {
        self.context = name;
    }

    fn command<C: Command>(&mut self) {
        let descriptor = CommandDescriptor {
            name: C::schema_name().into_owned(),
            context: self.context,
            needs: C::NEEDS,
            states: C::WHILE,
            schema: schemars::schema_for!(C),
            parse: parse::<C>,
        };
        self.commands.insert(descriptor.name.clone(), descriptor);
    }

    fn policy<P: Policy>(&mut self) {
        let (id, start, source, events) = (P::ID, P::START, P::Source::TYPE, P::EVENTS);
        self.policies.push(PolicyDescriptor { id, start, source, events, react: react::<P> });
    }

    fn effect<E: Effect>(&mut self) {
        self.effects.insert(E::NAME, EffectDescriptor::of::<E>());
    }
}

fn parse<C: Command>(body: &str) -> Result<Box<dyn AnyCommand>, Misuse> {
    let mut json = serde_json::Deserializer::from_str(body);
    let command: C = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let code = if error.inner().is_data() { "INVALID_FIELD" } else { "INVALID_JSON" };
        let message = error_text::plain_words(&error.inner().to_string());
        let parent = Some(error.path().to_string()).filter(|path| path != ".");
        // The path of the error includes the name of an unknown field, but not that of a missing one.
        let named = error_text::named_field(&message)
            .filter(|name| parent.as_deref().and_then(|path| path.rsplit('.').next()) != Some(*name));
        let field: Vec<_> = parent.as_deref().into_iter().chain(named).collect();
        Misuse::new(code, field.join("."), message)
    })?;
    json.end().map_err(|error| Misuse::new("INVALID_JSON", "", error.to_string()))?;
    Ok(Box::new(command))
}

fn react<P: Policy>(event: &Recorded<StoredEvent<'_>>) -> Result<Reactions, Unreadable> {
    let StoredEvent { name, version, payload } = event.event;
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
        let context_of = |name: &str| commands.get(name).map(|command| command.context);
        assert_eq!(context_of("CreateProduct"), Some("catalogue"));
        assert_eq!(context_of("ReserveStock"), Some("inventory"));
        assert_eq!(context_of("PlaceOrder"), Some("orders"));
        assert_eq!(context_of("OpenTenant"), Some("tenancy"));
        assert!(commands.iter().all(|command| !command.context.is_empty()));
    }
}
