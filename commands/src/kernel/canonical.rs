//! Canonical form of a command: one text for all spellings of one request, by which a repeat is recognised.
//!
//! The text is written from the parsed command. Blanks, the order of fields, escapes, the case of ids, the offset of
//! times and the transport do not change it, nor does a field that is null instead of left out.

use domain::shared::{SealError, Sealed, Sealer};
use serde_json::Value;
use uuid::Uuid;

use super::{AnyCommand, CommandDescriptor, Misuse};

impl CommandDescriptor {
    /// The canonical form of a command that was parsed from `body` and is not sealed yet: its name, a line break, and
    /// its fields as JSON in alphabetical order, without those that are null.
    ///
    /// It contains personal fields as plain text, so it must not be stored or logged; a keyed digest of it may be.
    pub fn canonical(&self, command: &dyn AnyCommand, body: &str) -> Result<String, Misuse> {
        let fields = match command.to_value() {
            Ok(fields) => fields,
            // The command has open personal fields, which cannot be serialized. They are shown in a second copy.
            Err(_) => self.uncovered(body)?,
        };
        let mut text = format!("{}\n", self.name);
        write(&fields, &mut text);
        Ok(text)
    }

    /// The fields of a command, with personal fields as plain text.
    fn uncovered(&self, body: &str) -> Result<Value, Misuse> {
        let mut copy = self.parse(body)?;
        copy.seal(&mut PlainText).map_err(|error| {
            let field = if let SealError::AlreadySealed(field) = error { field } else { "" };
            Misuse::new("INVALID_FIELD", field, error.to_string())
        })?;
        copy.to_value().map_err(|error| Misuse::new("INVALID_FIELD", "", error.to_string()))
    }
}

/// Sealer that seals nothing: the text stays readable, so that equal texts are recognised without a key.
struct PlainText;

impl Sealer for PlainText {
    fn seal(&mut self, _: Uuid, _: &str, text: &str, _: Option<&str>) -> Result<Sealed, SealError> {
        Ok(Sealed::new(text, None))
    }
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write(value, text);
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::Commands;

    const ID: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";

    fn canonical(name: &str, body: &str) -> String {
        let commands = Commands::all();
        let kind = commands.get(name).expect("a command");
        let command = kind.parse(body).expect("a valid body");
        kind.canonical(&*command, body).expect("a canonical form")
    }

    #[test]
    fn spellings_of_one_command_have_one_form() {
        let form = canonical("RegisterCustomer", &format!(r#"{{"customer":"{ID}","name":"Zoë"}}"#));
        assert_eq!(form, format!("RegisterCustomer\n{{\"customer\":\"{ID}\",\"name\":\"sealed.v1.Zoë.\"}}"));
        for spelling in [
            format!(r#" {{ "name": "Zoë",	"customer": "{ID}" }}{}"#, "\n"),
            format!(r#"{{"customer":"{}","name":"Zo\u00eb"}}"#, ID.to_uppercase()),
            format!(r#"{{"customer":"{ID}","name":"Zoë","email":null,"phone":null}}"#),
        ] {
            assert_eq!(canonical("RegisterCustomer", &spelling), form, "{spelling}");
        }
    }

    #[test]
    fn different_commands_have_different_forms() {
        let body = |name: &str| format!(r#"{{"customer":"{ID}","name":"{name}"}}"#);
        assert_ne!(canonical("RegisterCustomer", &body("Ada")), canonical("RegisterCustomer", &body("Ben")));
        assert_ne!(canonical("RegisterCustomer", &body("Ada")), canonical("UpdateProfile", &body("Ada")));
        let with_email = format!(r#"{{"customer":"{ID}","name":"Ada","email":"ada@example.org"}}"#);
        assert_ne!(canonical("RegisterCustomer", &body("Ada")), canonical("RegisterCustomer", &with_email));
    }

    #[test]
    fn a_field_that_was_sent_sealed_is_refused() {
        let body = format!(r#"{{"customer":"{ID}","name":"Ada","email":"sealed.v1.AAAA."}}"#);
        let commands = Commands::all();
        let kind = commands.get("RegisterCustomer").expect("a command");
        let command = kind.parse(&body).expect("it parses");
        assert_eq!(kind.canonical(&*command, &body).map_err(|misuse| misuse.field), Err("email".into()));
    }
}
