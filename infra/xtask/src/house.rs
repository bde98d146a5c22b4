//! The house as its rules see it: every text file, and which crate uses which.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::programs;

const TEXT: &[&str] = &["rs", "md", "toml", "sql", "txt", "yml"];
const NOT_OURS: &[&str] = &["target", "node_modules"];
const HIDDEN_BUT_OURS: &[&str] = &[".ci", ".cargo"];
/// Folders of `domain/src` that belong to no context.
const NO_CONTEXT: &[&str] = &["kernel", "shared"];

#[derive(Debug, Default)]
pub struct House {
    /// Text by path from the root, with `/` between the parts.
    pub files: BTreeMap<String, String>,
    pub crates: Vec<Crate>,
}

/// A crate of ours and what it is built with; what only its tests use does not count.
#[derive(Debug, Default)]
pub struct Crate {
    pub name: String,
    pub uses: BTreeSet<String>,
}

impl House {
    pub fn read() -> Result<Self> {
        let root = root();
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files)?;
        Ok(Self { files, crates: crates()? })
    }

    /// The Rust files, by path.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The bounded contexts: what the domain has folders for.
    pub fn contexts(&self) -> BTreeSet<&str> {
        let folders = self.files.keys().filter_map(|path| path.strip_prefix("domain/src/")?.strip_suffix("/mod.rs"));
        folders.filter(|folder| !folder.contains('/') && !NO_CONTEXT.contains(folder)).collect()
    }

    /// The files of one context on one floor: a folder or a single file.
    pub fn of_context(&self, floor: &str, context: &str) -> impl Iterator<Item = (&str, &str)> {
        let (folder, file) = (format!("{floor}/src/{context}/"), format!("{floor}/src/{context}.rs"));
        self.rust().filter(move |(path, _)| path.starts_with(&folder) || *path == file)
    }
}

/// The root of the house. Asked of cargo first: a shared target folder may hold a build of another clone.
pub fn root() -> PathBuf {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let ours = Path::new(&here).ancestors().find(|folder| folder.join("infra/xtask/Cargo.toml").is_file());
    ours.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !HIDDEN_BUT_OURS.contains(&name.as_str());
        if hidden || NOT_OURS.contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|ending| TEXT.iter().any(|text| ending == *text)) {
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            files.insert(path.strip_prefix(root)?.to_string_lossy().into_owned(), text);
        }
    }
    Ok(())
}

fn crates() -> Result<Vec<Crate>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
    }
    let answer = programs::cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]).output()?;
    ensure!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    let metadata: Metadata = serde_json::from_slice(&answer.stdout)?;
    let uses = |dependencies: Vec<Dependency>| {
        dependencies.into_iter().filter(|used| used.kind.as_deref() != Some("dev")).map(|used| used.name).collect()
    };
    let packages = metadata.packages.into_iter();
    Ok(packages.map(|package| Crate { name: package.name, uses: uses(package.dependencies) }).collect())
}
