//! Circular imports between the files of a crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Rule;
use crate::{
    rust_source::{ItemPath, declared_names, item_paths},
    workspace::Workspace,
};

pub(super) const CIRCLES: Rule = Rule {
    name: "circles",
    why: "files that import each other in a circle can only be understood together; at most two may, and a module and \
          its own children are not counted",
    violations: circles,
};

/// Bound on the re-exports that are followed for one name.
const REEXPORTS_MAX: usize = 8;

/// One file, which is one module.
struct Module<'a> {
    /// Path below `src/`.
    file: &'a str,
    /// Module path, empty for the root of the crate.
    path: Vec<&'a str>,
    declared: BTreeSet<&'a str>,
    paths: Vec<ItemPath<'a>>,
}

/// The modules of one crate.
struct Modules<'a> {
    modules: Vec<Module<'a>>,
    by_path: BTreeMap<Vec<&'a str>, usize>,
}

fn circles(workspace: &Workspace) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (folder, file, code) in workspace.sources() {
        crates.entry(folder).or_default().push((file, code));
    }
    crates.into_iter().flat_map(|(folder, files)| circles_of(folder, &files)).collect()
}

fn circles_of(folder: &str, files: &[(&str, &str)]) -> Vec<String> {
    let modules = Modules::of(files);
    let edges = modules.edges();
    let mut reported = BTreeSet::new();
    let mut violations = vec![];
    for (from, targets) in edges.iter().enumerate() {
        for to in targets {
            let Some(circle) = circle_through(&edges, from, *to) else { continue };
            // One report for each group of files that are all connected with each other.
            if circle.iter().all(|file| !reported.contains(file)) {
                let files = circle.iter().chain(&circle[..1]).map(|file| modules.modules[*file].file);
                violations.push(format!("{folder}/src: {}", files.collect::<Vec<_>>().join(" -> ")));
            }
            reported.extend(circle);
        }
    }
    violations
}

/// Shortest circle of at least three files that begins with this edge.
fn circle_through(edges: &[BTreeSet<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut reached_from = BTreeMap::from([(to, to)]);
    let mut open = VecDeque::from([to]);
    while let Some(file) = open.pop_front() {
        for next in edges[file].iter().filter(|next| (file, **next) != (to, from)) {
            if reached_from.contains_key(next) {
                continue;
            }
            reached_from.insert(*next, file);
            open.push_back(*next);
        }
    }
    let mut circle = vec![from];
    let mut file = *reached_from.get(&from)?;
    while file != to {
        circle.push(file);
        file = reached_from[&file];
    }
    circle.push(to);
    circle[1..].reverse();
    Some(circle)
}

impl<'a> Modules<'a> {
    fn of(files: &[(&'a str, &'a str)]) -> Self {
        let has_library = files.iter().any(|(file, _)| *file == "lib.rs");
        let mut modules = vec![];
        for (file, code) in files {
            // The binary of a crate with a library imports the library by its name.
            if *file == "build.rs" || file.starts_with("bin/") || (*file == "main.rs" && has_library) {
                continue;
            }
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path = if ["lib", "main"].contains(&path) { vec![] } else { path.split('/').collect() };
            modules.push(Module { file, path, declared: declared_names(code), paths: item_paths(code) });
        }
        let by_path = modules.iter().enumerate().map(|(at, module)| (module.path.clone(), at)).collect();
        Self { modules, by_path }
    }

    /// Files that each file imports from, without re-exports and without a module's own children and parent.
    fn edges(&self) -> Vec<BTreeSet<usize>> {
        let imported = |at: usize, module: &Module<'a>| {
            let used = module.paths.iter().filter(|path| !path.is_public);
            let targets = used.flat_map(|path| self.targets(at, path));
            targets.filter(|target| *target != at && !self.are_parent_and_child(at, *target)).collect()
        };
        self.modules.iter().enumerate().map(|(at, module)| imported(at, module)).collect()
    }

    fn are_parent_and_child(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.modules[one].path, &self.modules[other].path);
        let is_parent = |parent: &[&str], child: &[&str]| child.split_last().is_some_and(|(_, path)| path == parent);
        is_parent(one, other) || is_parent(other, one)
    }

    fn targets(&self, at: usize, path: &ItemPath<'a>) -> Option<usize> {
        self.resolve(at, &path.segments, 0)
    }

    /// File that declares the item of a path, as seen from a file. `None` for items of other crates.
    fn resolve(&self, at: usize, segments: &[&'a str], depth: usize) -> Option<usize> {
        let (first, mut rest) = segments.split_first()?;
        let mut path = match *first {
            "crate" => vec![],
            "self" => self.modules[at].path.clone(),
            "super" => self.parent(at)?,
            child => {
                rest = segments;
                let path = self.modules[at].path.clone();
                let is_child = self.by_path.contains_key(&[&path[..], &[child]].concat());
                is_child.then_some(path)?
            }
        };
        while let Some((segment, after)) = rest.split_first() {
            if *segment == "super" {
                path.pop()?;
            } else {
                path.push(segment);
                if !self.by_path.contains_key(&path) {
                    path.pop();
                    let module = *self.by_path.get(&path)?;
                    return self.declaring(module, rest, depth);
                }
            }
            rest = after;
        }
        self.by_path.get(&path).copied()
    }

    fn parent(&self, at: usize) -> Option<Vec<&'a str>> {
        self.modules[at].path.split_last().map(|(_, parent)| parent.to_vec())
    }

    /// File that declares a name of a module: the module itself, or one that it imports the name from.
    fn declaring(&self, module: usize, names: &[&'a str], depth: usize) -> Option<usize> {
        let name = names[0];
        if depth > REEXPORTS_MAX || self.modules[module].declared.contains(name) {
            return Some(module);
        }
        let bound = self.modules[module].paths.iter().filter(|path| path.bound == Some(name));
        let mut sources = bound.map(|path| self.resolve(module, &path.segments, depth + 1));
        if let Some(source) = sources.next() {
            return source.map(|source| self.behind(source, &names[1..], depth));
        }
        let globs = self.modules[module].paths.iter().filter(|path| path.bound == Some("*"));
        let declares = |source: &usize| self.modules[*source].declared.contains(name);
        let of_glob = globs.filter_map(|path| self.resolve(module, &path.segments, depth + 1)).find(declares);
        Some(of_glob.unwrap_or(module))
    }

    /// File behind a re-exported module, if the rest of the path leads further.
    fn behind(&self, source: usize, rest: &[&'a str], depth: usize) -> usize {
        if rest.is_empty() || self.modules[source].declared.contains(rest[0]) {
            return source;
        }
        let path: Vec<&str> = ["self"].into_iter().chain(rest.iter().copied()).collect();
        self.resolve(source, &path, depth + 1).unwrap_or(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        circles(&workspace_of(files))
    }

    #[test]
    fn a_circle_of_three_files_is_found_and_one_of_two_is_not() {
        let files = |c: &'static str| {
            [
                ("infra/work/src/lib.rs", "mod a; mod b; mod c;"),
                ("infra/work/src/a.rs", "use crate::b::B; pub struct A;"),
                ("infra/work/src/b.rs", "use crate::{c::C, a::A}; pub struct B;"),
                ("infra/work/src/c.rs", c),
            ]
        };
        assert_eq!(
            of(&files("fn c() { crate::a::A }")),
            ["infra/work/src: a.rs -> b.rs -> c.rs"].map(|s| format!("{s} -> a.rs"))
        );
        assert!(of(&files("use crate::b::B; pub struct C;")).is_empty());
        assert!(of(&files("#[cfg(test)]\nmod tests { use crate::a::A; }")).is_empty());
    }

    #[test]
    fn a_reexport_stands_for_the_file_that_declares_the_item() {
        let files = |user: &'static str| {
            [
                ("infra/work/src/lib.rs", "mod a; mod x; pub use a::*;"),
                ("infra/work/src/a/mod.rs", "mod b; mod c; pub use b::{B, Inner as Outer}; pub fn own() {}"),
                ("infra/work/src/a/b.rs", "use super::c::C; pub struct B; pub struct Inner;"),
                ("infra/work/src/a/c.rs", "use crate::x::X; pub struct C;"),
                ("infra/work/src/x.rs", user),
            ]
        };
        let circle = ["infra/work/src: a/b.rs -> a/c.rs -> x.rs -> a/b.rs"];
        assert_eq!(of(&files("use crate::a::Outer; pub struct X;")), circle);
        assert_eq!(of(&files("use crate::a::{B}; pub struct X;")), circle);
        assert!(of(&files("use crate::a::own; pub struct X;")).is_empty());
    }

    #[test]
    fn a_module_and_its_own_children_are_not_counted() {
        let files = [
            ("infra/work/src/lib.rs", "mod a;"),
            ("infra/work/src/a/mod.rs", "mod b; mod c; use b::B; pub struct A;"),
            ("infra/work/src/a/b.rs", "use super::c::C; pub struct B;"),
            ("infra/work/src/a/c.rs", "use super::A; pub struct C;"),
        ];
        assert!(of(&files).is_empty());
    }
}
