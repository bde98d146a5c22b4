//! Contract files on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders below `schemas/` that contain contracts and nothing else.
const FOLDERS: [&str; 6] = ["commands", "events", "published", "rejections", "read-models", "graphql"];
const FILES: [&str; 2] = ["asyncapi.json", "openapi.json"];

/// Reads the contracts on disk, by path below `schemas/`.
pub fn read(home: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for name in FILES {
        match fs::read_to_string(home.join(name)) {
            Ok(text) => drop(files.insert(name.into(), text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for folder in FOLDERS {
        gather(home, &home.join(folder), &mut files)?;
    }
    Ok(files)
}

fn gather(home: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(home, &path, files)?;
        } else if let Some(name) = path.strip_prefix(home).ok().and_then(Path::to_str).filter(|_| is_contract(&path)) {
            files.insert(name.replace('\\', "/"), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

fn is_contract(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json" || extension == "graphql")
}

/// Writes changed contracts and deletes obsolete ones. Returns the affected paths.
pub fn write(home: &Path, generated: &BTreeMap<String, String>) -> io::Result<Vec<String>> {
    let stored = read(home)?;
    let changed = differences(&stored, generated);
    for name in &changed {
        let path: PathBuf = home.join(name);
        match generated.get(name) {
            Some(text) => {
                path.parent().map(fs::create_dir_all).transpose()?;
                fs::write(&path, text)?;
            }
            None => fs::remove_file(&path)?,
        }
    }
    Ok(changed)
}

/// Paths whose texts differ or exist on one side only.
pub fn differences(stored: &BTreeMap<String, String>, generated: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<_> = stored.keys().chain(generated.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|name| stored.get(*name) != generated.get(*name)).cloned().collect()
}
