//! The project's files as text, and their code without comments, strings and unit tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

/// One file of the project.
pub struct Source {
    /// Its path inside the project, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// What the compiler would see of it, without strings and `mod tests`; empty for files that are not Rust.
    pub code: String,
    /// Lines of `text`.
    pub lines: usize,
}

/// Every Rust file and script of the project, read once.
pub fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut found = Vec::new();
        collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut found);
        assert!(found.len() > 50, "only {} files found", found.len());
        found
    })
}

/// A file of the project by its path.
pub fn read(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if !name.starts_with('.') && !["target", "kvd-data", "corpus", "artifacts"].contains(&name.as_str()) {
                collect(&entry.path(), &path, found);
            }
        } else if kind.is_file() && (name.ends_with(".rs") || name.ends_with(".sh")) {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let code = if name.ends_with(".rs") { without_tests(&bare(&text)) } else { String::new() };
            found.push(Source { path, lines: text.lines().count(), text, code });
        }
    }
}

impl Source {
    /// Whether this file is the room `path`: that directory, or the file of that name.
    pub fn is_in(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
    }

    /// Whether it is Rust that ships (a `tests.rs` is not).
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.ends_with("/tests.rs") && !self.path.contains("/tests/")
    }

    /// Whether the code has these words, not as a part of longer ones.
    pub fn has_word(&self, words: &str) -> bool {
        self.code.match_indices(words).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + words.len()..].chars().next();
            !before.is_some_and(is_name) && !after.is_some_and(is_name)
        })
    }

    /// The names that stand directly under `root::`, also in `root::{a, b::c}`.
    pub fn named_under(&self, root: &str) -> BTreeSet<String> {
        let start = format!("{root}::");
        let mut names = BTreeSet::new();
        for (at, _) in self.code.match_indices(&start) {
            if self.code[..at].chars().next_back().is_some_and(is_name) {
                continue;
            }
            let rest = &self.code[at + start.len()..];
            if rest.starts_with('{') {
                names.extend(names_in_braces(rest));
            } else {
                names.extend(leading_name(rest));
            }
        }
        names
    }
}

fn names_in_braces(text: &str) -> Vec<String> {
    let (mut names, mut depth, mut wanted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '{' => (depth, wanted) = (depth + 1, depth == 0),
            '}' => depth -= 1,
            ',' => wanted = depth == 1,
            c if is_name(c) && wanted => {
                names.extend(leading_name(&text[at..]));
                wanted = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn leading_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| is_name(*c)).collect();
    (!name.is_empty()).then_some(name)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Code without comments and without what stands in strings.
fn bare(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = 2 + hashes;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            0
        };
        if skip > 0 {
            rest = &rest[skip..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Unit tests stand at the end of a file, in `mod tests`.
fn without_tests(code: &str) -> String {
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code.to_owned(),
    }
}
