//! The answer of a command and its three printed forms: a table, plain tab-separated lines, one JSON document.
//!
//! Answers go to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::exit::{Code, Failure};
use crate::text::escape_ends;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns with a header, for people
    Table,
    /// A line a row, separated by tabs, without a header
    Plain,
    /// One JSON document
    Json,
}

impl Format {
    /// The form for this run: as asked for, or else by where the answer goes.
    pub fn chosen(asked: Option<Format>) -> Format {
        asked.unwrap_or(if io::stdout().is_terminal() { Format::Table } else { Format::Plain })
    }
}

/// What a command found out.
#[derive(Debug)]
pub struct Answer {
    pub json: Value,
    pub sections: Vec<Section>,
    /// The exit code that the answer asks for; `None` is success.
    pub code: Option<Code>,
}

/// Some rows under one header. Cells are already printable.
#[derive(Debug)]
pub struct Section {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Section {
    pub fn new(header: &[&'static str], rows: Vec<Vec<String>>) -> Section {
        Section { header: header.to_vec(), rows }
    }
}

impl Answer {
    pub fn new(json: Value, section: Section) -> Answer {
        Answer { json, sections: vec![section], code: None }
    }

    /// A single row.
    pub fn row(json: Value, header: &[&'static str], row: Vec<String>) -> Answer {
        Answer::new(json, Section::new(header, vec![row]))
    }
}

/// Prints an answer and gives the process its exit code.
pub fn print(format: Format, answer: &Answer) -> ExitCode {
    let text = match format {
        Format::Json => format!("{}\n", answer.json),
        Format::Plain => plain(&answer.sections),
        Format::Table => table(&answer.sections),
    };
    match write_out(text.as_bytes()) {
        Ok(()) => answer.code.map_or(ExitCode::SUCCESS, |code| ExitCode::from(code as u8)),
        Err(failure) => fail(Format::Plain, &failure),
    }
}

/// Prints a failure: a sentence on standard error, and in JSON also the one document on standard output.
pub fn fail(format: Format, failure: &Failure) -> ExitCode {
    if format == Format::Json {
        // If even this cannot be written, the sentence and the exit code still say it.
        let _ = write_out(format!("{}\n", failure.json()).as_bytes());
    }
    remark(&failure.message);
    if let Some(hint) = &failure.hint {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    ExitCode::from(failure.code as u8)
}

/// Says a sentence on standard error. Where that cannot be written, the answer and the exit code still say it.
pub fn remark(sentence: impl Display) {
    let _ = writeln!(io::stderr(), "kvctl: {sentence}");
}

/// Writes bytes to standard output, all of them.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader has seen enough (`kvctl scan | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::error(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn plain(sections: &[Section]) -> String {
    sections.iter().flat_map(|section| &section.rows).map(|row| row.join("\t") + "\n").collect()
}

fn table(sections: &[Section]) -> String {
    let drawn: Vec<String> = sections.iter().filter(|section| !section.rows.is_empty()).map(draw).collect();
    drawn.join("\n")
}

fn draw(section: &Section) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(&section.header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for row in &section.rows {
        table.add_row(row.iter().map(|cell| escape_ends(cell)));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Section> {
        let row = |a: &str, b: &str| vec![a.to_string(), b.to_string()];
        vec![Section::new(&["KEY", "VALUE"], vec![row("a", "1"), row("longer", "2")])]
    }

    #[test]
    fn a_table_has_a_header_and_aligned_columns() {
        assert_eq!(table(&sections()), "KEY     VALUE\na       1\nlonger  2\n");
    }

    #[test]
    fn blanks_at_the_end_of_a_cell_are_seen_in_a_table_and_stay_in_plain_lines() {
        let cells = ["a ", " b c ", "\u{3000}"].map(str::to_owned);
        let sections = [Section::new(&["KEY", "VALUE", "MORE"], vec![cells.to_vec()])];
        let drawn = "KEY    VALUE        MORE\na\\x20  \\x20b c\\x20  \\xe3\\x80\\x80\n";
        assert_eq!(table(&sections), drawn);
        assert_eq!(plain(&sections), "a \t b c \t\u{3000}\n");
    }

    #[test]
    fn plain_lines_are_rows_with_tabs_between() {
        assert_eq!(plain(&sections()), "a\t1\nlonger\t2\n");
    }
}
