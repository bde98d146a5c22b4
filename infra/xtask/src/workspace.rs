//! The workspace as the rules see it: the text files, and the crates with their dependencies.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{programs, rust_source};

const TEXT_EXTENSIONS: &[&str] = &["rs", "md", "toml", "lock", "sql", "txt", "yml"];
const SKIPPED_FOLDERS: &[&str] = &["target", "node_modules"];
const HIDDEN_BUT_INCLUDED: &[&str] = &[".ci", ".cargo"];
/// Folders of `domain/src` that are not bounded contexts.
const NO_CONTEXT: &[&str] = &["kernel", "shared"];

#[derive(Debug, Default)]
pub struct Workspace {
    /// Text by path from the root, with `/` between the parts.
    pub files: BTreeMap<String, String>,
    pub crates: Vec<Crate>,
    /// Rust files without comments, literals and test code, by path.
    pub(crate) code: BTreeMap<String, String>,
}

/// A crate of the workspace.
#[derive(Debug, Default)]
pub struct Crate {
    pub name: String,
    /// `description` of its manifest.
    pub description: String,
    /// Normal and build dependencies; dev-dependencies do not count.
    pub uses: BTreeSet<String>,
}

impl Workspace {
    pub fn read() -> Result<Self> {
        let root = root();
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files)?;
        Ok(Self::new(files, crates()?))
    }

    pub(crate) fn new(files: BTreeMap<String, String>, crates: Vec<Crate>) -> Self {
        let rust = files.iter().filter(|(path, _)| path.ends_with(".rs"));
        let code = |text: &str| rust_source::without_tests(&rust_source::code_only(text));
        let code = rust.map(|(path, text)| (path.clone(), code(text))).collect();
        Self { files, crates, code }
    }

    /// Rust files, by path.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Rust files of the crates themselves, without their tests, as (folder of the crate, path below `src/`, code).
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.code.iter().filter_map(|(path, code)| {
            let (folder, file) = path.split_once("/src/")?;
            let is_test = file == "tests.rs" || file.ends_with("/tests.rs") || file.contains("tests/");
            (!is_test).then_some((folder, file, code.as_str()))
        })
    }

    /// Bounded contexts: the folders of the domain.
    pub fn contexts(&self) -> BTreeSet<&str> {
        let folders = self.files.keys().filter_map(|path| path.strip_prefix("domain/src/")?.strip_suffix("/mod.rs"));
        folders.filter(|folder| !folder.contains('/') && !NO_CONTEXT.contains(folder)).collect()
    }

    /// Files of one context in one layer: a folder or a single file.
    pub fn of_context(&self, layer: &str, context: &str) -> impl Iterator<Item = (&str, &str)> {
        let (folder, file) = (format!("{layer}/src/{context}/"), format!("{layer}/src/{context}.rs"));
        self.rust().filter(move |(path, _)| path.starts_with(&folder) || *path == file)
    }
}

/// Root folder of the workspace. Cargo's variable comes first: a shared target folder may hold an xtask that was built
/// from another clone.
pub fn root() -> PathBuf {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let root = Path::new(&here).ancestors().find(|folder| folder.join("infra/xtask/Cargo.toml").is_file());
    root.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !HIDDEN_BUT_INCLUDED.contains(&name.as_str());
        if hidden || SKIPPED_FOLDERS.contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| TEXT_EXTENSIONS.iter().any(|text| extension == *text)) {
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            files.insert(path.strip_prefix(root)?.to_string_lossy().into_owned(), text);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    description: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

fn metadata() -> Result<Metadata> {
    let answer = programs::cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]).output()?;
    ensure!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(serde_json::from_slice(&answer.stdout)?)
}

/// Folder in which cargo builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(metadata()?.target_directory)
}

fn crates() -> Result<Vec<Crate>> {
    let uses = |dependencies: Vec<Dependency>| {
        dependencies.into_iter().filter(|used| used.kind.as_deref() != Some("dev")).map(|used| used.name).collect()
    };
    let packages = metadata()?.packages.into_iter();
    let crates = packages.map(|package| Crate {
        name: package.name,
        description: package.description.unwrap_or_default(),
        uses: uses(package.dependencies),
    });
    Ok(crates.collect())
}
