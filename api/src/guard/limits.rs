//! Limits of a GraphQL document.

/// Highest size of a document, in bytes. Documents of storefronts have one or two kilobytes.
pub const BYTES_MOST: usize = 16 * 1_024;
/// Highest number of lexical tokens.
pub const TOKENS_MOST: usize = 1_000;
/// Highest nesting of brackets of all kinds.
pub const NESTING_MOST: usize = 32;
/// Highest number of aliases in a document.
pub const ALIASES_MOST: usize = 15;
/// Highest number of root fields of an operation, with fragments expanded.
pub const ROOT_FIELDS_MOST: usize = 20;
/// Highest number of directives in a document.
pub const DIRECTIVES_MOST: usize = 20;
/// Highest number of named fragments in a document.
pub const FRAGMENTS_MOST: usize = 32;
/// Highest number of fragment spreads of one operation or fragment, with fragments expanded.
pub const SPREADS_MOST: u64 = 500;
/// Highest number of fields of one operation or fragment, with fragments expanded.
pub const FIELDS_MOST: u64 = 2_000;
/// Highest nesting of selections.
pub const DEPTH_MOST: usize = 8;
/// Highest nesting of selections of an operation whose root fields are all introspection fields. The standard
/// introspection query nests `ofType` deeply.
pub const INTROSPECTION_DEPTH_MOST: usize = 15;
