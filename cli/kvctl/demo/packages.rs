//! The machine's own package database as keys and values: `Package:Architecture` and the stanza.
//!
//! A machine without one, as most are that are not Debian's, gets packages that nobody has ever installed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Where dpkg keeps what is installed.
const OWN: &str = "/var/lib/dpkg/status";
/// How many are made up.
const MADE_UP: usize = 300;

/// Every stanza of a dpkg status file, by key, and where they come from: the file, or this machine's own one, or from nowhere.
pub fn get(file: Option<&Path>) -> Result<(BTreeMap<String, String>, String)> {
    match file {
        None if !Path::new(OWN).exists() => Ok((parse(&made_up()), "nowhere: they are made up".to_owned())),
        _ => {
            let path = file.unwrap_or(Path::new(OWN));
            let name = path.display().to_string();
            Ok((read(path).with_context(|| name.clone())?, name))
        }
    }
}

/// The last of two with one key counts, as for dpkg.
fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let packages = parse(&String::from_utf8_lossy(&std::fs::read(path)?));
    ensure!(packages.len() > 1, "holds {} packages; the demo needs a few", packages.len());
    Ok(packages)
}

/// Packages of different lengths, always the same.
fn made_up() -> String {
    (0..MADE_UP).fold(String::new(), |mut text, number| {
        let filler = "a line of its description\n ".repeat(number % 17);
        let head = format!("Package: p{number}\nArchitecture: all\nVersion: 1.{number}");
        let _ = writeln!(text, "{head}\nDescription: number {number}\n {filler}.\n"); // a string takes everything
        text
    })
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
    fn packages_that_are_made_up_are_as_good_as_installed_ones() {
        let packages = parse(&made_up());
        assert_eq!(packages.len(), MADE_UP);
        assert!(packages["p16:all"].len() > packages["p17:all"].len());
        assert!(get(Some(Path::new("/no/such/file"))).is_err(), "a file that was asked for is not made up");
    }

    #[test]
    fn a_stanza_is_a_value_under_its_package_and_architecture() {
        let text = "Package: a\nArchitecture: all\nDescription: x\n .\n y\n\nPackage: b\nVersion: 1\n\n\n";
        let packages = parse(text);
        assert_eq!(packages.keys().collect::<Vec<_>>(), ["a:all", "b:all"]);
        assert_eq!(packages["a:all"], "Package: a\nArchitecture: all\nDescription: x\n .\n y");
    }
}
