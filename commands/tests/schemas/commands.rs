//! Schemas of commands: descriptions, required and unknown fields, and a round trip of sample bodies.

use std::collections::BTreeSet;

use commands::kernel::{Command, Commands, Effect, Policy, Visitor};
use domain::shared::Permission;
use domain::tenancy::TenantState;
use serde_json::{Value, json};

use super::samples::{smallest, whole};
use crate::shop::Seal;

#[test]
fn every_command_and_every_enum_in_its_fields_has_a_description() {
    for kind in Commands::all().iter() {
        let schema = kind.schema.as_value();
        assert!(schema["description"].is_string(), "{} has no doc comment", kind.name);
        for (name, of) in definitions(schema) {
            let described = of["description"].is_string() || of["enum"].is_null() && of["oneOf"].is_null();
            assert!(described, "{name} in {} is an enum without a doc comment", kind.name);
        }
    }
}

/// The registry keeps one command of each name, so a second one would be lost without an error.
#[test]
fn names_of_commands_policies_and_effects_are_unique() {
    struct Names(BTreeSet<String>);
    impl Names {
        fn add(&mut self, kind: &str, name: &str) {
            assert!(self.0.insert(format!("{kind} {name}")), "two are called {name}: {kind}");
        }
    }
    impl Visitor for Names {
        fn command<C: Command>(&mut self) {
            self.add("command", &C::schema_name());
        }
        fn policy<P: Policy>(&mut self) {
            self.add("policy", P::ID);
        }
        fn effect<E: Effect>(&mut self) {
            self.add("effect", E::NAME);
        }
    }
    let mut names = Names(BTreeSet::new());
    commands::visit(&mut names);
    assert!(names.0.len() > 100, "only {} names", names.0.len());
}

/// A command of the engine completes what was begun, also after the tenant was suspended or closed.
#[test]
fn every_command_of_the_engine_is_decided_in_every_state_of_an_opened_tenant() {
    let all = Commands::all();
    let engine = all.iter().filter(|kind| kind.needs == Permission::RunEngine);
    let refused = engine.filter(|kind| !kind.states.contains(Some(TenantState::Closed)));
    let names: Vec<_> = refused.map(|kind| kind.name.as_str()).collect();
    assert!(names.is_empty(), "commands of the engine without `WHILE: TenantStates::OPENED`: {names:?}");
}

#[test]
fn every_command_refuses_unknown_fields() {
    for kind in Commands::all().iter() {
        let schema = kind.schema.as_value();
        let objects = [(kind.name.as_str(), schema)].into_iter().chain(definitions(schema));
        for (name, object) in objects.filter(|(_, of)| of["type"] == "object") {
            assert_eq!(object["additionalProperties"], json!(false), "{name} in {}", kind.name);
        }
        let mut body = smallest(kind);
        body.insert("unknown".into(), json!(1));
        let Err(misuse) = kind.parse(&Value::from(body).to_string()) else {
            panic!("{} accepts an unknown field", kind.name)
        };
        assert_eq!((&*misuse.code, misuse.field.as_str()), ("INVALID_FIELD", "unknown"), "{}", kind.name);
    }
}

#[test]
fn every_command_parses_its_smallest_body_and_its_own_output() {
    for kind in Commands::all().iter() {
        let body = Value::from(smallest(kind)).to_string();
        let mut command = kind.parse(&body).unwrap_or_else(|misuse| panic!("{}: {misuse:?} in {body}", kind.name));
        assert_eq!(command.name(), kind.name);
        command.seal(&mut Seal).expect("a parsed command is not sealed yet");
        let written = command.to_json().expect("a sealed command is JSON");
        let again = kind.parse(&written).unwrap_or_else(|misuse| panic!("{}: {misuse:?}", kind.name));
        assert_eq!(again.to_json().expect("JSON"), written);
    }
}

#[test]
fn every_required_field_is_required_by_the_parser() {
    for kind in Commands::all().iter() {
        let whole = smallest(kind);
        for field in whole.keys() {
            let mut body = whole.clone();
            body.remove(field);
            assert!(kind.parse(&Value::from(body).to_string()).is_err(), "{} without {field}", kind.name);
        }
    }
}

#[test]
fn every_personal_field_is_sealed_before_serialization() {
    for kind in Commands::all().iter() {
        let command = kind.parse(&Value::from(whole(kind)).to_string());
        let mut command = command.unwrap_or_else(|misuse| panic!("{}: {misuse:?}", kind.name));
        command.seal(&mut Seal).expect("a parsed command is not sealed yet");
        let written = command.to_json();
        assert!(written.is_ok(), "{} leaves a personal field open", kind.name);
    }
}

fn definitions(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["$defs"].as_object().into_iter().flatten().map(|(name, of)| (name.as_str(), of))
}
