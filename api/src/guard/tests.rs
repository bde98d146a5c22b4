use super::*;

#[track_caller]
fn violation(document: &str) -> &'static str {
    check(document).expect_err("the document exceeds a limit").code
}

#[track_caller]
fn accepted(document: &str) {
    assert_eq!(check(document), Ok(()), "{document}");
}

/// A document whose fragments each spread the next one twice.
fn bomb(levels: usize) -> String {
    let fragment = |at: usize| format!("fragment F{at} on Query {{ ...F{} ...F{} }} ", at + 1, at + 1);
    let fragments: String = (0..levels).map(fragment).collect();
    format!("{{ ...F0 }} {fragments} fragment F{levels} on Query {{ __typename }}")
}

#[test]
fn valid_documents_within_the_limits_pass() {
    accepted("{ stockLevels(first: 50, filter: {onHand: {gte: 1}}) { edges { cursor node { item units } } } }");
    accepted(
        "query Q($id: UUID! = \"}\", $in: [[ID!]!] @d) @d(x: {y: [1]}) { a: stockLevel(item: $id) @skip(if: true) { item } }",
    );
    accepted(
        "mutation { reserveStock(input: {item: \"...\", note: \"\"\"{{{[[[ \\\"\"\" #\"\"\"}) { receipt { token } } } # {{{{",
    );
    accepted(
        "\u{feff}query A { ...F } fragment F on Query { ... on Query { x } ... @include(if: true) { y } ...Lost }",
    );
    accepted("subscription S { changed { id } } query T { __schema { types { name } } }");
    accepted("");
}

#[test]
fn deep_nesting_and_exponential_fragments_are_refused_within_50_ms() {
    for levels in [1_600, 5_000] {
        let list = format!("{{ a(x: {}1{}) }}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(violation(&list), "TOO_DEEP");
    }
    let object = format!("{{ a(x: {}1{}) }}", "{a:".repeat(1_500), "}".repeat(1_500));
    assert_eq!(violation(&object), "TOO_DEEP");
    assert_eq!(violation(&format!("query($v: {}Int{}) {{ a }}", "[".repeat(400), "]".repeat(400))), "TOO_DEEP");
    for levels in [15, 20, 25, 28] {
        assert_eq!(violation(&bomb(levels)), "TOO_MANY_SPREADS");
    }
    assert_eq!(violation(&bomb(32)), "TOO_MANY_FRAGMENTS");
    accepted(&bomb(4));
}

#[test]
fn exponential_fragments_are_refused_even_if_unused() {
    assert_eq!(violation(&bomb(20).replace("{ ...F0 }", "{ __typename }")), "TOO_MANY_SPREADS");
}

#[test]
fn fragment_cycles_are_refused() {
    assert_eq!(violation("{ ...A } fragment A on Query { ...A }"), "FRAGMENT_CYCLE");
    let three = "{ a } fragment A on Q { ...B } fragment B on Q { x { ...C } } fragment C on Q { ... on Q { ...A } }";
    assert_eq!(violation(three), "FRAGMENT_CYCLE");
}

#[test]
fn documents_above_a_count_limit_are_refused() {
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    assert_eq!(violation(&format!("{{ {} }}", many(1_000, &|n| format!("a{n}: b ")))), "TOO_MANY_TOKENS");
    assert_eq!(violation(&format!("{{ {} }}", many(100_000, &|n| format!("a{n}:b ")))), "DOCUMENT_TOO_LARGE");
    assert_eq!(violation(&format!("{{ x {{ {} }} }}", many(16, &|n| format!("a{n}:b ")))), "TOO_MANY_ALIASES");
    assert_eq!(violation(&format!("{{ {} }}", many(200_000, &|_| "a ".into()))), "DOCUMENT_TOO_LARGE");
    assert_eq!(violation(&format!("{{ {} }}", many(21, &|_| "a ".into()))), "TOO_MANY_ROOT_FIELDS");
    let hidden = format!("{{ ...F ... {{ ...F }} }} fragment F on Query {{ {} }}", many(11, &|n| format!("f{n} ")));
    assert_eq!(violation(&hidden), "TOO_MANY_ROOT_FIELDS");
    assert_eq!(violation(&format!("{{ a {} }}", many(20_000, &|_| "@d ".into()))), "DOCUMENT_TOO_LARGE");
    assert_eq!(violation(&format!("{{ a {} }}", many(21, &|_| "@d ".into()))), "TOO_MANY_DIRECTIVES");
    assert_eq!(violation(&" ".repeat(2_000_000)), "DOCUMENT_TOO_LARGE");
    assert_eq!(violation(&format!("query({}) {{ a }}", many(1_000, &|n| format!("$v{n}:Int ")))), "TOO_MANY_TOKENS");
    let typenames = format!("{{ a {{ {} }} }}", many(900, &|_| "...F ".replace("...F", "x")));
    accepted(&typenames);
    let wide = format!(
        "{{ a {{ {} }} }} fragment F on A {{ {} }}",
        many(200, &|_| "...F ".into()),
        many(100, &|n| format!("f{n} "))
    );
    assert_eq!(violation(&wide), "TOO_MANY_FIELDS");
}

#[test]
fn depth_includes_fragments_and_has_a_higher_limit_for_introspection() {
    let nested =
        |levels: usize, root: &str| format!("{{ {root} {}{} }}", "{ a ".repeat(levels - 1), "}".repeat(levels - 1));
    accepted(&nested(8, "a"));
    assert_eq!(violation(&nested(9, "a")), "TOO_DEEP");
    accepted(&nested(15, "__schema"));
    assert_eq!(violation(&nested(16, "__schema")), "TOO_DEEP");
    assert_eq!(violation(&nested(9, "__schema").replacen('{', "{ x ", 1)), "TOO_DEEP");
    let through = format!("{{ a {{ b {{ ...F }} }} }} fragment F on X {}", nested(7, "a"));
    assert_eq!(violation(&through), "TOO_DEEP");
}

#[test]
fn invalid_syntax_is_refused() {
    for document in [
        "{",
        "}",
        "{ a ) }",
        "{ a(x: \"open) }",
        "\"\"\"",
        "{ a: }",
        "type A { b: C }",
        "{ a \u{0} }",
        "…",
        "{ a } }",
        "query",
        "fragment F on A",
        "{ ... }",
    ] {
        assert_eq!(violation(document), "SYNTAX", "{document}");
    }
}
