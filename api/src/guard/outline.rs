//! Outline of a document: numbers of fields, spreads and aliases, and depth, computed without a schema.

use std::collections::HashMap;

use super::lexer::Token;
use super::limits::{
    ALIASES_MOST, DEPTH_MOST, FIELDS_MOST, FRAGMENTS_MOST, INTROSPECTION_DEPTH_MOST, ROOT_FIELDS_MOST, SPREADS_MOST,
};
use super::violation::Violation;

/// The operations and fragments of a document.
pub(super) struct Outline<'a> {
    operations: Vec<Definition<'a>>,
    fragments: HashMap<&'a str, Definition<'a>>,
    aliases: usize,
}

/// Size of one operation or fragment, without the fragments that it spreads.
#[derive(Default)]
struct Definition<'a> {
    fields: u64,
    depth: usize,
    roots: usize,
    /// True if a root field is not an introspection field.
    selects_data: bool,
    /// Fragments spread, each with the depth of the spread, from 1.
    spreads: Vec<(&'a str, usize)>,
}

/// Size of a definition with all fragments expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: u64,
    spreads: u64,
    depth: usize,
    roots: usize,
    selects_data: bool,
}

impl<'a> Outline<'a> {
    pub(super) fn of(tokens: &[Token<'a>]) -> Result<Self, Violation> {
        let mut outline = Self { operations: Vec::new(), fragments: HashMap::new(), aliases: 0 };
        let mut parser = Parser { tokens, at: 0 };
        while let Some(token) = parser.peek() {
            let fragment = match token {
                Token::Punctuator(b'{') => None,
                Token::Name("query" | "mutation" | "subscription") => {
                    parser.skip_to_selections()?;
                    None
                }
                Token::Name("fragment") => {
                    parser.at += 1;
                    let Some(Token::Name(name)) = parser.peek() else { return syntax() };
                    parser.skip_to_selections()?;
                    Some(name)
                }
                _ => return syntax(),
            };
            let mut definition = Definition::default();
            parser.at += 1;
            parser.selections(1, &mut definition, &mut outline.aliases)?;
            match fragment {
                None => outline.operations.push(definition),
                Some(name) => {
                    if outline.fragments.insert(name, definition).is_some() {
                        return Violation::error("SYNTAX", "two fragments have the same name");
                    }
                }
            }
        }
        Ok(outline)
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        let check = |code, exceeded: bool, limit: usize, unit: &str| {
            if exceeded { Violation::error(code, format!("a document has at most {limit} {unit}")) } else { Ok(()) }
        };
        check("TOO_MANY_ALIASES", self.aliases > ALIASES_MOST, ALIASES_MOST, "aliases")?;
        check("TOO_MANY_FRAGMENTS", self.fragments.len() > FRAGMENTS_MOST, FRAGMENTS_MOST, "fragments")?;
        let mut measured = HashMap::new();
        // The validator visits unused fragments too.
        for name in self.fragments.keys() {
            self.fragment(name, &mut measured, &mut Vec::new())?;
        }
        for operation in &self.operations {
            let size = self.size(operation, &mut measured, &mut Vec::new())?;
            let depth = if size.selects_data { DEPTH_MOST } else { INTROSPECTION_DEPTH_MOST };
            let roots = ROOT_FIELDS_MOST;
            check("TOO_MANY_ROOT_FIELDS", size.roots > roots, roots, "root fields")?;
            check("TOO_DEEP", size.depth > depth, depth, "levels of nested selections")?;
        }
        Ok(())
    }

    /// Size of a fragment. Each fragment is measured once, however often it is spread.
    fn fragment(
        &self,
        name: &'a str,
        measured: &mut HashMap<&'a str, Size>,
        path: &mut Vec<&'a str>,
    ) -> Result<Size, Violation> {
        if let Some(size) = measured.get(name) {
            return Ok(*size);
        }
        // Unknown fragments count as empty; the validator reports them.
        let Some(definition) = self.fragments.get(name) else { return Ok(Size::default()) };
        if path.contains(&name) {
            return Violation::error("FRAGMENT_CYCLE", "a fragment spreads itself");
        }
        path.push(name);
        let size = self.size(definition, measured, path)?;
        path.pop();
        measured.insert(name, size);
        Ok(size)
    }

    fn size(
        &self,
        definition: &Definition<'a>,
        measured: &mut HashMap<&'a str, Size>,
        path: &mut Vec<&'a str>,
    ) -> Result<Size, Violation> {
        let Definition { fields, depth, roots, selects_data, spreads } = definition;
        let mut size = Size { fields: *fields, spreads: 0, depth: *depth, roots: *roots, selects_data: *selects_data };
        for (name, at) in spreads {
            let inner = self.fragment(name, measured, path)?;
            size.fields = size.fields.saturating_add(inner.fields);
            size.spreads = size.spreads.saturating_add(inner.spreads).saturating_add(1);
            size.depth = size.depth.max((at - 1).saturating_add(inner.depth));
            if *at == 1 {
                size.roots = size.roots.saturating_add(inner.roots);
                size.selects_data |= inner.selects_data;
            }
            if size.spreads > SPREADS_MOST {
                let text = format!("a document spreads fragments at most {SPREADS_MOST} times");
                return Violation::error("TOO_MANY_SPREADS", text);
            }
        }
        if size.fields > FIELDS_MOST {
            let text = format!("a document selects at most {FIELDS_MOST} fields");
            return Violation::error("TOO_MANY_FIELDS", text);
        }
        Ok(size)
    }
}

/// Partial parser: it distinguishes fields, spreads and arguments, and accepts more than the grammar.
struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Skips a name, variables and directives, to the `{` of an operation or fragment.
    fn skip_to_selections(&mut self) -> Result<(), Violation> {
        loop {
            match self.peek() {
                Some(Token::Punctuator(b'{')) => return Ok(()),
                Some(Token::Punctuator(b'(')) => self.skip_brackets(),
                Some(_) => self.at += 1,
                None => return syntax(),
            }
        }
    }

    /// Skips a whole `(…)`. The lexer has checked that brackets are balanced.
    fn skip_brackets(&mut self) {
        let mut open = 0_usize;
        while let Some(token) = self.take() {
            match token {
                Token::Punctuator(b'(' | b'[' | b'{') => open += 1,
                Token::Punctuator(b')' | b']' | b'}') => open -= 1,
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }

    /// Reads the selections up to their `}`. Recursion is bounded by the lexer's limit of nested brackets.
    fn selections(
        &mut self,
        depth: usize,
        definition: &mut Definition<'a>,
        aliases: &mut usize,
    ) -> Result<(), Violation> {
        loop {
            match self.take() {
                Some(Token::Punctuator(b'}')) => return Ok(()),
                Some(Token::Punctuator(b'{')) => {
                    self.selections(depth + 1, definition, aliases)?;
                }
                Some(Token::Punctuator(b'@')) => self.at += 1,
                Some(Token::Punctuator(b'(')) => {
                    self.at -= 1;
                    self.skip_brackets();
                }
                Some(Token::Spread) => match self.take() {
                    Some(Token::Name("on")) => {
                        self.at += 1;
                        self.inline(depth, definition, aliases)?;
                    }
                    Some(Token::Name(name)) => definition.spreads.push((name, depth)),
                    _ => {
                        self.at -= 1;
                        self.inline(depth, definition, aliases)?;
                    }
                },
                Some(Token::Name(mut name)) => {
                    if self.peek() == Some(Token::Punctuator(b':')) {
                        *aliases += 1;
                        self.at += 1;
                        let Some(Token::Name(field)) = self.take() else { return syntax() };
                        name = field;
                    }
                    definition.fields += 1;
                    definition.depth = definition.depth.max(depth);
                    if depth == 1 {
                        definition.roots += 1;
                        definition.selects_data |= !name.starts_with("__");
                    }
                }
                _ => return syntax(),
            }
        }
    }

    /// Reads an inline fragment. Its selections count at the level of the fragment itself.
    fn inline(&mut self, depth: usize, definition: &mut Definition<'a>, aliases: &mut usize) -> Result<(), Violation> {
        self.skip_to_selections()?;
        self.at += 1;
        self.selections(depth, definition, aliases)
    }
}

fn syntax<T>() -> Result<T, Violation> {
    Violation::error("SYNTAX", "the document is not valid GraphQL")
}
