//! The rules of the house, one test each; a failure says what is broken and why it matters.

use xtask::{house::House, tidy::RULES};

fn holds(name: &str) -> Result<(), String> {
    let rule = RULES.iter().find(|rule| rule.name == name).ok_or(format!("there is no rule `{name}`"))?;
    let house = House::read().map_err(|error| format!("{error:#}"))?;
    rule.failure(&house).map_or(Ok(()), Err)
}

/// One test per rule, so that a failure has a name.
macro_rules! tidy {
    ($($test:ident: $rule:literal,)*) => {
        $(
            #[test]
            fn $test() {
                if let Err(failure) = holds($rule) {
                    panic!("{failure}");
                }
            }
        )*

        #[test]
        fn every_rule_has_a_test() {
            let tested = [$($rule),*];
            let untested: Vec<_> = RULES.iter().map(|rule| rule.name).filter(|name| !tested.contains(name)).collect();
            assert!(untested.is_empty(), "{untested:?}");
        }
    };
}

tidy! {
    floors_only_use_floors_below_them: "floors",
    lower_floors_use_no_outside_crate_that_does_things: "outside-crates",
    contexts_do_not_name_each_other: "contexts",
    everything_is_in_its_list: "lists",
    every_context_is_visited: "contexts-listed",
    no_function_is_too_long: "function-length",
    no_file_is_too_long: "file-length",
    no_file_name_says_nothing: "file-names",
    nothing_is_put_off: "unfinished",
    every_context_is_on_the_map: "architecture",
    no_scenario_proves_what_was_never_promised: "known-capabilities",
    the_page_of_capabilities_says_what_the_scenarios_say: "capabilities-page",
}
