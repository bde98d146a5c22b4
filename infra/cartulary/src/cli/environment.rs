//! `.cartulary/env`: the addresses, keys and tokens of an engine that `cartulary dev` started, as a file for shells.
//!
//! People source it; `doctor`, `replay` and other subcommands in the same folder read it if no other database is configured.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::embedded_engine::EmbeddedEngine;
use crate::settings::Settings;

pub(super) fn file(project: &Path) -> PathBuf {
    project.join(".cartulary/env")
}

/// Writes the file, readable by its owner alone because it holds tokens.
pub fn write(project: &Path, engine: &EmbeddedEngine, tokens: Vec<(&'static str, String)>) -> Result<PathBuf> {
    let absolute = |file: &Path| fs::canonicalize(file).map(|file| file.display().to_string());
    let mut variables = vec![
        ("CARTULARY_URL", engine.url()),
        ("CARTULARY_DATABASE_URL", engine.database_url()),
        ("CARTULARY_OUTER_KEY_FILE", absolute(&engine.outer_key_file)?),
        ("CARTULARY_TOKEN_KEYS", format!("dev={}", absolute(&engine.token_public_file)?)),
    ];
    variables.extend(tokens);
    let text: String = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    let path = file(project);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The settings, completed from the file in this folder if they name its database or none.
pub(super) fn complete(project: &Path, mut settings: Settings) -> Result<Settings> {
    let path = file(project);
    if !path.exists() {
        return Ok(settings);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = |name: &str| text.lines().find_map(|line| unquoted(line.strip_prefix("export ")?, name));
    let database_url = value("CARTULARY_DATABASE_URL");
    if settings.database_url.is_some() && settings.database_url != database_url {
        return Ok(settings);
    }
    settings.database_url = database_url;
    if settings.outer_key.is_none() && settings.outer_key_file.is_none() {
        settings.outer_key_file = value("CARTULARY_OUTER_KEY_FILE").map(PathBuf::from);
    }
    if settings.token_keys.is_empty() {
        settings.token_keys = value("CARTULARY_TOKEN_KEYS").into_iter().collect();
    }
    Ok(settings)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn unquoted(line: &str, name: &str) -> Option<String> {
    let value = line.strip_prefix(name)?.strip_prefix('=')?;
    Some(value.strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_read_back_as_it_was_written() {
        for value in ["postgres:///x?host=/run/a&port=5432", "it's", ""] {
            assert_eq!(unquoted(&format!("NAME={}", quoted(value)), "NAME").as_deref(), Some(value));
        }
        assert_eq!(unquoted("NAMES='x'", "NAME"), None);
    }
}
