//! `data import`: every row of a file as a put of its own, many under way at once over one client.
//!
//! Rows of one key are written in the order of the file: while one is under way, the next waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use indicatif::{ProgressBar, ProgressStyle};
use net::client::blocking::Client;
use net::client::{Request, RequestId};
use serde_json::json;

use super::rows::Rows;
use crate::args::{Globals, Import, ImportFormat};
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::{Answer, remark};

/// Failures that are named; all of them are counted.
const FAILURES_NAMED_MAX: usize = 20;
/// So many failed requests in a row mean that the cluster is gone, and the rest of the file would only wait for it.
const FAILED_IN_A_ROW_MAX: u64 = 1_000;
/// How long one wait for answers is; the client ends every request by its own timeout.
const POLL: Duration = Duration::from_secs(1);
/// Rows between two looks of the progress bar.
const ROWS_PER_DRAW: u64 = 512;
/// Why the last row of what may have been cut is refused.
const MAY_BE_CUT: &str = "no newline at its end: it may have been cut and was not written; end the last line with one";

pub fn import(globals: &Globals, import: &Import) -> Result<Answer, Failure> {
    let input = open(&import.file, format(import)?)?;
    let run = Run::new(connect(globals)?, import.depth as usize);
    let progress = progress(input.bytes);
    Ok(run.all(input, &progress))
}

/// What is imported.
struct Input<'a, R> {
    path: &'a Path,
    rows: Rows<R>,
    /// Its bytes if it is a regular file. Anything else, such as a pipe, may have been cut and nobody says so.
    bytes: Option<u64>,
}

struct Run {
    client: Client,
    depth: usize,
    under_way: BTreeMap<RequestId, (u64, Vec<u8>)>,
    keys: BTreeSet<Vec<u8>>,
    written: u64,
    failures: u64,
    named: Vec<(u64, String)>,
    failed_in_a_row: u64,
    /// The last line, if its row may have been cut.
    cut: Option<u64>,
    code: Option<Code>,
}

impl Run {
    fn new(client: Client, depth: usize) -> Run {
        Run {
            client,
            depth,
            under_way: BTreeMap::new(),
            keys: BTreeSet::new(),
            written: 0,
            failures: 0,
            named: Vec::new(),
            failed_in_a_row: 0,
            cut: None,
            code: None,
        }
    }

    /// Writes all rows, and waits for their answers also if the file has a bad end.
    fn all(mut self, mut input: Input<'_, impl BufRead>, progress: &ProgressBar) -> Answer {
        let begun = Instant::now();
        let end = self.put_all(&mut input, progress);
        self.drain();
        progress.finish_and_clear();
        if let (Some(line), Some(_)) = (self.cut, input.bytes) {
            remark(format_args!("line {line}: no newline at its end: if the file was cut, so was this value"));
        }
        self.answer(begun.elapsed().as_secs_f64(), end)
    }

    /// Starts one put after the other. An error says why it stopped before the end of the file.
    fn put_all(&mut self, input: &mut Input<'_, impl BufRead>, progress: &ProgressBar) -> Result<(), String> {
        let rows = &mut input.rows;
        loop {
            let (line, row) = match rows.next_row() {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.end_with(Code::Error);
                    return Err(format!("{}: {error}", input.path.display()));
                }
            };
            self.cut = (row.is_ok() && rows.may_be_cut()).then_some(line);
            match row {
                Ok(_) if self.cut.is_some() && input.bytes.is_none() => {
                    self.failed(line, Code::Error, MAY_BE_CUT.to_owned());
                }
                Ok((key, value)) => self.put(line, key, value),
                Err(why) => self.failed(line, Code::Error, why),
            }
            if line % ROWS_PER_DRAW == 0 {
                progress.set_position(rows.bytes());
                progress.set_message(format!("{} rows", self.written));
            }
            if self.failed_in_a_row >= FAILED_IN_A_ROW_MAX {
                return Err(format!("gave up after {FAILED_IN_A_ROW_MAX} failures in a row"));
            }
        }
    }

    fn put(&mut self, line: u64, key: Vec<u8>, value: Vec<u8>) {
        while !self.may_leave(&key, &value) {
            self.complete();
        }
        let operation = Operation::Put { key: key.clone(), value, return_old: false };
        let id = self.client.submit(Request::Write(operation));
        self.keys.insert(key.clone());
        self.under_way.insert(id, (line, key));
    }

    fn may_leave(&self, key: &[u8], value: &[u8]) -> bool {
        let room = self.under_way.len() < self.depth && self.client.has_room(key.len() + value.len());
        self.under_way.is_empty() || room && !self.keys.contains(key)
    }

    fn drain(&mut self) {
        while !self.under_way.is_empty() {
            self.complete();
        }
    }

    fn complete(&mut self) {
        for completion in self.client.poll(POLL) {
            let Some((line, key)) = self.under_way.remove(&completion.id) else { continue };
            self.keys.remove(&key);
            match completion.result {
                Ok(_) => {
                    self.written += 1;
                    self.failed_in_a_row = 0;
                }
                Err(error) => {
                    self.failed_in_a_row += 1;
                    let failure = Failure::from(error);
                    self.failed(line, failure.code, failure.message);
                }
            }
        }
    }

    fn failed(&mut self, line: u64, code: Code, why: String) {
        self.failures += 1;
        if self.named.len() < FAILURES_NAMED_MAX {
            self.named.push((line, why));
        }
        self.end_with(code);
    }

    fn end_with(&mut self, code: Code) {
        self.code = Code::worst(self.code.into_iter().chain([code]));
    }

    fn answer(self, seconds: f64, end: Result<(), String>) -> Answer {
        for (line, why) in &self.named {
            remark(format_args!("line {line}: {why}"));
        }
        if self.failures > self.named.len() as u64 {
            remark(format_args!("and {} more", self.failures - self.named.len() as u64));
        }
        if let Err(why) = &end {
            remark(format_args!("{why}; the rest of the file was not tried"));
        }
        let rate = (self.written as f64 / seconds.max(1e-6)).round();
        let named = self.named.iter().map(|(line, why)| json!({ "line": line, "message": why })).collect::<Vec<_>>();
        let json = json!({
            "rows": self.written + self.failures,
            "written": self.written,
            "errors": self.failures,
            "failures": named,
            "complete": end.is_ok(),
            "unterminated": self.cut.is_some(),
            "seconds": seconds,
            "rows_per_second": rate,
        });
        let row = vec![self.written.to_string(), self.failures.to_string(), format!("{seconds:.2}"), format!("{rate}")];
        Answer { code: self.code, ..Answer::row(json, &["WRITTEN", "ERRORS", "SECONDS", "ROWS/S"], row) }
    }
}

fn format(import: &Import) -> Result<ImportFormat, Failure> {
    if let Some(format) = import.format {
        return Ok(format);
    }
    match import.file.extension().and_then(|extension| extension.to_str()) {
        Some("tsv") => Ok(ImportFormat::Tsv),
        Some("jsonl") => Ok(ImportFormat::Jsonl),
        _ => Err(Failure::usage(format!("{}: neither .tsv nor .jsonl; say --format", import.file.display()))),
    }
}

fn open(path: &Path, format: ImportFormat) -> Result<Input<'_, BufReader<File>>, Failure> {
    let file = match path == Path::new("-") {
        true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        false => File::open(path),
    };
    let file = file.and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = file.map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    let rows = Rows::new(BufReader::with_capacity(1 << 20, file), format);
    Ok(Input { path, rows, bytes: metadata.is_file().then_some(metadata.len()) })
}

/// Draws on standard error, and only on a terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let style = match bytes {
        Some(_) => ProgressStyle::with_template("{wide_bar} {percent}% {msg} {eta}"),
        None => ProgressStyle::with_template("{spinner} {msg} {elapsed}"),
    };
    let bar = bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use net::client::ClientOptions;

    use super::*;

    /// A run whose client finds nobody and gives each row up after a moment.
    fn run(bytes_max: usize) -> Run {
        let timeout = Duration::from_millis(20);
        let options = ClientOptions { timeout, bytes_max, ..ClientOptions::default() };
        Run::new(Client::connect(&["127.0.0.1:1".to_owned()], options).unwrap(), 256)
    }

    #[test]
    fn a_row_waits_until_the_client_has_room_for_its_bytes() {
        let mut run = run(1_000);
        for line in 1..=10 {
            run.put(line, vec![line as u8], vec![b'v'; 299]);
            assert!(run.under_way.len() <= 3, "{} of 300 bytes each", run.under_way.len());
        }
        run.drain();
        assert_eq!(run.failures, 10);
        assert!(run.named.iter().all(|(_, why)| !why.contains("wait already")), "{:?}", run.named);
    }

    struct Unreadable;

    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a bad sector"))
        }
    }

    /// What is said of an import that ends in a read error after these rows.
    fn cut_short(rows: &'static [u8]) -> Answer {
        let source = rows.chain(BufReader::new(Unreadable));
        let rows = Rows::new(source, ImportFormat::Tsv);
        run(1_000).all(Input { path: Path::new("rows.tsv"), rows, bytes: Some(100) }, &ProgressBar::hidden())
    }

    #[test]
    fn rows_before_a_read_error_are_waited_for_and_counted() {
        let answer = cut_short(b"a\t1\nno tab\nb\t2\n");
        assert_eq!((&answer.json["rows"], &answer.json["errors"]), (&json!(3), &json!(3)));
        assert_eq!(answer.json["complete"], false);
        assert_eq!(answer.code, Some(Code::Unavailable), "that of the rows, which says more");

        let answer = cut_short(b"");
        assert_eq!((&answer.json["rows"], &answer.json["complete"]), (&json!(0), &json!(false)));
        assert_eq!(answer.code, Some(Code::Error));
    }
}
