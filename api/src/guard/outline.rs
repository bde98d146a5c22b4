//! What a document asks for, as far as its size can be told without a schema.

use std::collections::HashMap;

use super::lexer::Token;
use super::{
    ALIASES_MOST, DEPTH_MOST, FIELDS_MOST, FRAGMENTS_MOST, INTROSPECTION_DEPTH_MOST, ROOT_FIELDS_MOST, Refused,
    SPREADS_MOST,
};

/// Operations and fragments, each with its own size.
pub(super) struct Outline<'a> {
    operations: Vec<Part<'a>>,
    fragments: HashMap<&'a str, Part<'a>>,
    aliases: usize,
}

/// One operation or fragment, without what its spreads bring in.
#[derive(Default)]
struct Part<'a> {
    fields: u64,
    depth: usize,
    roots: usize,
    /// Whether a root field asks for something else than the schema.
    asks_for_data: bool,
    /// Which fragment is spread at which depth, from 1.
    spreads: Vec<(&'a str, usize)>,
}

/// The size of a part with everything its spreads bring in.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: u64,
    spreads: u64,
    depth: usize,
    roots: usize,
    asks_for_data: bool,
}

impl<'a> Outline<'a> {
    pub(super) fn of(tokens: &[Token<'a>]) -> Result<Self, Refused> {
        let mut outline = Self { operations: Vec::new(), fragments: HashMap::new(), aliases: 0 };
        let mut reader = Reader { tokens, at: 0 };
        while let Some(token) = reader.peek() {
            let fragment = match token {
                Token::Mark(b'{') => None,
                Token::Name("query" | "mutation" | "subscription") => {
                    reader.skip_to_selections()?;
                    None
                }
                Token::Name("fragment") => {
                    reader.at += 1;
                    let Some(Token::Name(name)) = reader.peek() else { return syntax() };
                    reader.skip_to_selections()?;
                    Some(name)
                }
                _ => return syntax(),
            };
            let mut part = Part::default();
            reader.at += 1;
            reader.selections(1, &mut part, &mut outline.aliases)?;
            match fragment {
                None => outline.operations.push(part),
                Some(name) => {
                    if outline.fragments.insert(name, part).is_some() {
                        return Refused::because("SYNTAX", "two fragments have one name");
                    }
                }
            }
        }
        Ok(outline)
    }

    pub(super) fn check(&self) -> Result<(), Refused> {
        let most = |code, found: bool, limit: usize, what: &str| {
            if found { Refused::because(code, format!("a document has at most {limit} {what}")) } else { Ok(()) }
        };
        most("TOO_MANY_ALIASES", self.aliases > ALIASES_MOST, ALIASES_MOST, "aliases")?;
        most("TOO_MANY_FRAGMENTS", self.fragments.len() > FRAGMENTS_MOST, FRAGMENTS_MOST, "fragments")?;
        let mut known = HashMap::new();
        // Fragments that nobody spreads are visited by the validator too.
        for name in self.fragments.keys() {
            self.fragment(name, &mut known, &mut Vec::new())?;
        }
        for operation in &self.operations {
            let size = self.size(operation, &mut known, &mut Vec::new())?;
            let depth = if size.asks_for_data { DEPTH_MOST } else { INTROSPECTION_DEPTH_MOST };
            let roots = ROOT_FIELDS_MOST;
            most("TOO_MANY_ROOT_FIELDS", size.roots > roots, roots, "root fields")?;
            most("TOO_DEEP", size.depth > depth, depth, "selections within each other")?;
        }
        Ok(())
    }

    /// Each fragment is measured once, however often it is spread.
    fn fragment(
        &self,
        name: &'a str,
        known: &mut HashMap<&'a str, Size>,
        path: &mut Vec<&'a str>,
    ) -> Result<Size, Refused> {
        if let Some(size) = known.get(name) {
            return Ok(*size);
        }
        // An unknown name is the validator's to report; it brings nothing in.
        let Some(part) = self.fragments.get(name) else { return Ok(Size::default()) };
        if path.contains(&name) {
            return Refused::because("FRAGMENT_CYCLE", "a fragment spreads itself");
        }
        path.push(name);
        let size = self.size(part, known, path)?;
        path.pop();
        known.insert(name, size);
        Ok(size)
    }

    fn size(
        &self,
        part: &Part<'a>,
        known: &mut HashMap<&'a str, Size>,
        path: &mut Vec<&'a str>,
    ) -> Result<Size, Refused> {
        let Part { fields, depth, roots, asks_for_data, spreads } = part;
        let mut size =
            Size { fields: *fields, spreads: 0, depth: *depth, roots: *roots, asks_for_data: *asks_for_data };
        for (name, at) in spreads {
            let inner = self.fragment(name, known, path)?;
            size.fields = size.fields.saturating_add(inner.fields);
            size.spreads = size.spreads.saturating_add(inner.spreads).saturating_add(1);
            size.depth = size.depth.max((at - 1).saturating_add(inner.depth));
            if *at == 1 {
                size.roots = size.roots.saturating_add(inner.roots);
                size.asks_for_data |= inner.asks_for_data;
            }
            if size.spreads > SPREADS_MOST {
                let text = format!("a document spreads fragments at most {SPREADS_MOST} times");
                return Refused::because("TOO_MANY_SPREADS", text);
            }
        }
        if size.fields > FIELDS_MOST {
            let text = format!("a document asks for at most {FIELDS_MOST} fields");
            return Refused::because("TOO_MANY_FIELDS", text);
        }
        Ok(size)
    }
}

/// Reads just enough of the grammar to tell fields, spreads and arguments apart.
struct Reader<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Reader<'_, 'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Past a name, variables and directives, to the `{` of an operation or fragment.
    fn skip_to_selections(&mut self) -> Result<(), Refused> {
        loop {
            match self.peek() {
                Some(Token::Mark(b'{')) => return Ok(()),
                Some(Token::Mark(b'(')) => self.skip_brackets(),
                Some(_) => self.at += 1,
                None => return syntax(),
            }
        }
    }

    /// Past a whole `(…)`. The lexer has seen that brackets are balanced.
    fn skip_brackets(&mut self) {
        let mut open = 0_usize;
        while let Some(token) = self.take() {
            match token {
                Token::Mark(b'(' | b'[' | b'{') => open += 1,
                Token::Mark(b')' | b']' | b'}') => open -= 1,
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }

    /// The selections up to their `}`. Recursion is bounded by the lexer's limit of nested brackets.
    fn selections(&mut self, depth: usize, part: &mut Part<'a>, aliases: &mut usize) -> Result<(), Refused> {
        loop {
            match self.take() {
                Some(Token::Mark(b'}')) => return Ok(()),
                Some(Token::Mark(b'{')) => {
                    self.selections(depth + 1, part, aliases)?;
                }
                Some(Token::Mark(b'@')) => self.at += 1,
                Some(Token::Mark(b'(')) => {
                    self.at -= 1;
                    self.skip_brackets();
                }
                Some(Token::Spread) => match self.take() {
                    Some(Token::Name("on")) => {
                        self.at += 1;
                        self.inline(depth, part, aliases)?;
                    }
                    Some(Token::Name(name)) => part.spreads.push((name, depth)),
                    _ => {
                        self.at -= 1;
                        self.inline(depth, part, aliases)?;
                    }
                },
                Some(Token::Name(mut name)) => {
                    if self.peek() == Some(Token::Mark(b':')) {
                        *aliases += 1;
                        self.at += 1;
                        let Some(Token::Name(behind)) = self.take() else { return syntax() };
                        name = behind;
                    }
                    part.fields += 1;
                    part.depth = part.depth.max(depth);
                    if depth == 1 {
                        part.roots += 1;
                        part.asks_for_data |= !name.starts_with("__");
                    }
                }
                _ => return syntax(),
            }
        }
    }

    /// A fragment without a name: its selections stand on the level of the fragment itself.
    fn inline(&mut self, depth: usize, part: &mut Part<'a>, aliases: &mut usize) -> Result<(), Refused> {
        self.skip_to_selections()?;
        self.at += 1;
        self.selections(depth, part, aliases)
    }
}

fn syntax<T>() -> Result<T, Refused> {
    Refused::because("SYNTAX", "the document is no GraphQL")
}
