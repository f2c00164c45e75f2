//! What the demo says while it runs: on standard output, or on standard error where that is for JSON.

use crate::output::Format;

/// The teller.
pub struct Story {
    json: bool,
}

impl Story {
    pub fn new(format: Format) -> Story {
        Story { json: format == Format::Json }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Something begins, or is done.
    pub fn step(&self, text: impl AsRef<str>) {
        self.say(&format!("== {}", text.as_ref()));
    }

    /// What was seen on the way.
    pub fn detail(&self, text: impl AsRef<str>) {
        self.say(&format!("   {}", text.as_ref()));
    }

    /// Three commands that work as they are printed; `key` is one of the keys that are there.
    pub fn end(&self, endpoints: &[String], kept: bool, key: &str) {
        let own = std::env::current_exe().map_or("kvctl".to_owned(), |path| path.display().to_string());
        let first = endpoints.first().map_or("127.0.0.1:7400", String::as_str);
        let commands = if kept {
            vec![
                format!("{own} -e {first} status"),
                format!("{own} -e {first} get --raw '{key}'"),
                format!("{own} -e {first} bench run put --clients 64 --duration 5s"),
            ]
        } else {
            vec![
                format!("{own} demo --keep          # the same, and the cluster stays"),
                format!("{own} demo --nodes 5       # with five nodes"),
                format!("{own} --help               # everything else"),
            ]
        };
        self.step("try next:");
        commands.iter().for_each(|command| self.detail(command));
    }

    fn say(&self, line: &str) {
        use std::io::Write;
        // A reader that has gone away does not stop the demo.
        let _ = if self.json { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    }
}
