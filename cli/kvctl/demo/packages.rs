//! The machine's own package database as keys and values: `Package:Architecture` and the stanza.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

/// Every stanza of a dpkg status file, by key. The last of two with one key counts, as for dpkg.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let packages = parse(&String::from_utf8_lossy(&std::fs::read(path)?));
    ensure!(packages.len() > 1, "holds {} packages; the demo needs a few", packages.len());
    Ok(packages)
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let stanzas = text.split("\n\n").map(str::trim_end).filter(|stanza| !stanza.is_empty());
    stanzas.filter_map(|stanza| Some((key(stanza)?, stanza.trim_start_matches('\n').to_owned()))).collect()
}

fn key(stanza: &str) -> Option<String> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(format!("{}:{}", field("Package:")?, field("Architecture:").unwrap_or("all")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_a_value_under_its_package_and_architecture() {
        let text = "Package: a\nArchitecture: all\nDescription: x\n .\n y\n\nPackage: b\nVersion: 1\n\n\n";
        let packages = parse(text);
        assert_eq!(packages.keys().collect::<Vec<_>>(), ["a:all", "b:all"]);
        assert_eq!(packages["a:all"], "Package: a\nArchitecture: all\nDescription: x\n .\n y");
    }
}
