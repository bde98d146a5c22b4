//! Finds the programs of a PostgreSQL server.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

/// The oldest major version the engine is tested with.
const OLDEST_MAJOR: u32 = 15;

/// The programs of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    major: u32,
}

/// Finds the programs in the configured folder, or in the first folder on the machine with a suitable version.
/// `made_by` is the major version that created the existing data, and the only one that can read them.
pub(super) fn find(configured: Option<&Path>, made_by: Option<u32>) -> Result<Binaries> {
    match configured {
        Some(folder) => pick(vec![folder.to_owned()], made_by, &format!("in {}", folder.display())),
        None => pick(usual_folders(), made_by, "on this machine"),
    }
}

fn pick(folders: Vec<PathBuf>, made_by: Option<u32>, place: &str) -> Result<Binaries> {
    let found: Vec<Binaries> = folders.iter().filter_map(|folder| installation(folder)).collect();
    let fits = |binaries: &&Binaries| made_by.map_or(binaries.major >= OLDEST_MAJOR, |major| binaries.major == major);
    if let Some(binaries) = found.iter().find(fits) {
        return Ok(binaries.clone());
    }
    let wanted = made_by.map_or(format!("{OLDEST_MAJOR} or newer"), |major| major.to_string());
    let because = if made_by.is_some() { ", which the existing data were made by," } else { "" };
    let instead = match found.first() {
        Some(other) => format!(" (only {})", other.major),
        None => String::new(),
    };
    bail!(
        "there is no PostgreSQL {wanted}{because} {place}{instead}; install it with `{}`",
        install_command(cfg!(target_os = "macos"), made_by)
    )
}

fn install_command(mac: bool, major: Option<u32>) -> String {
    match (mac, major) {
        (true, major) => format!("brew install postgresql@{}", major.unwrap_or(16)),
        (false, Some(major)) => format!("apt-get install postgresql-{major}"),
        (false, None) => "apt-get install postgresql".to_owned(),
    }
}

/// Folders in which servers are usually installed, the preferred ones first.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    folders.extend(version_folders("/usr/lib/postgresql", ""));
    folders.extend(version_folders("/opt/homebrew/opt", "postgresql@"));
    folders.extend(version_folders("/usr/local/opt", "postgresql@"));
    folders
}

/// `<parent>/<prefix><number>/bin`, newest first.
fn version_folders(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let by_version: BTreeMap<u32, PathBuf> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    by_version.into_values().rev().collect()
}

/// The installation whose programs are in this folder, or in the folder to which its symbolic links lead.
fn installation(folder: &Path) -> Option<Binaries> {
    let initdb = folder.join("initdb").canonicalize().ok()?;
    let postgres = initdb.with_file_name("postgres");
    let answer = Command::new(&postgres).arg("--version").output().ok()?;
    let major = major_version(&String::from_utf8_lossy(&answer.stdout))?;
    Some(Binaries { initdb, postgres, major })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`, also `17beta1`.
fn major_version(answer: &str) -> Option<u32> {
    let version = answer.split_whitespace().nth(2)?;
    let digits = version.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_read_from_the_version_output_of_postgres() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn missing_server_is_reported_with_the_command_that_installs_it() {
        let nothing = pick(vec![], None, "on this machine").expect_err("there is none");
        assert!(
            nothing.to_string().starts_with("there is no PostgreSQL 15 or newer on this machine; install it with `")
        );
        let other = pick(usual_folders(), Some(9), "on this machine").expect_err("version 9 is not installed");
        assert!(other.to_string().contains("PostgreSQL 9, which the existing data were made by,"), "{other}");
    }

    #[test]
    fn install_command_depends_on_the_system() {
        assert_eq!(install_command(false, None), "apt-get install postgresql");
        assert_eq!(install_command(false, Some(15)), "apt-get install postgresql-15");
        assert_eq!(install_command(true, None), "brew install postgresql@16");
    }
}
