//! Rules of the workspace, one test each.

use std::sync::LazyLock;

use xtask::{tidy::RULES, workspace::Workspace};

static WORKSPACE: LazyLock<Result<Workspace, String>> =
    LazyLock::new(|| Workspace::read().map_err(|error| format!("{error:#}")));

fn check(name: &str) -> Result<(), String> {
    let rule = RULES.iter().find(|rule| rule.name == name).ok_or(format!("there is no rule `{name}`"))?;
    let workspace = WORKSPACE.as_ref().map_err(Clone::clone)?;
    rule.failure(workspace).map_or(Ok(()), Err)
}

/// One test per rule, so that a failure is named after its rule.
macro_rules! tidy {
    ($($test:ident: $rule:literal,)*) => {
        $(
            #[test]
            fn $test() {
                if let Err(failure) = check($rule) {
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
    crates_use_only_crates_below_them: "layers",
    lower_layers_use_no_impure_external_crate: "external-crates",
    the_product_links_no_crate_of_the_lab: "product",
    files_do_not_import_each_other_in_circles: "circles",
    contexts_do_not_name_each_other: "contexts",
    every_item_is_in_its_list: "lists",
    every_context_is_visited: "contexts-listed",
    no_function_is_too_long: "function-length",
    no_file_is_too_long: "file-length",
    no_file_name_is_empty: "file-names",
    no_file_is_named_by_a_gerund: "gerunds",
    no_work_is_marked_as_unfinished: "unfinished",
    type_names_are_unique_in_a_crate: "type-names",
    doc_comments_are_plain: "doc-comments",
    documents_are_plain: "documents",
    documents_name_paths_that_exist: "document-paths",
    every_context_is_in_the_architecture: "architecture",
    only_listed_capabilities_are_proven: "known-capabilities",
    the_page_of_capabilities_equals_the_scenarios: "capabilities-page",
    the_map_of_crates_equals_the_manifests: "crate-map",
}
