//! Example of the body of a batch.

/// Two commands, one per line: a product is created and put on sale.
pub(super) const BATCH: &str = concat!(
    r#"{"id": "teapot-1", "name": "CreateProduct", "body": {"product": "0193e0a5-7c00-7000-8000-0000000000aa", "#,
    r#""name": "Teapot", "sku": "TEAPOT-1", "price": {"minor": 2900, "currency": "USD"}, "description": null}}"#,
    "\n",
    r#"{"id": "teapot-2", "name": "PublishProduct", "body": {"product": "0193e0a5-7c00-7000-8000-0000000000aa"}}"#,
    "\n",
);

#[cfg(test)]
mod tests {
    use commands::kernel::Commands;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_line_is_a_valid_command() {
        let commands = Commands::all();
        for line in BATCH.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let kind = commands.get(line["name"].as_str().expect("a name")).expect("a command");
            assert!(kind.parse(&line["body"].to_string()).is_ok(), "{line}");
        }
        assert_eq!(BATCH.lines().count(), 2);
    }
}
