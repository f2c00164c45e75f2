//! Rows of a file to import: bytes in, one (key, value) or one reason a line.
//!
//! Memory stays bounded by the longest line allowed, whatever the file is.

use std::io::{self, BufRead, Read};

use serde::Deserialize;

use crate::args::ImportFormat;
use crate::text::{from_base64, unescape};

/// A value of 1 MiB as base64 or with every byte escaped stays below this; a longer line is an error of its own.
const LINE_BYTES_MAX: usize = 16 << 20;

/// A row, or what is wrong with its line.
pub type Row = Result<(Vec<u8>, Vec<u8>), String>;

/// Reads one row after the other. Empty lines are passed over.
pub struct Rows<R> {
    source: R,
    format: ImportFormat,
    line: u64,
    bytes: u64,
    buffer: Vec<u8>,
    ended: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRow {
    key: String,
    value: String,
    #[serde(default)]
    enc: JsonEncoding,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsonEncoding {
    #[default]
    Utf8,
    Base64,
}

impl<R: BufRead> Rows<R> {
    pub fn new(source: R, format: ImportFormat) -> Rows<R> {
        Rows { source, format, line: 0, bytes: 0, buffer: Vec::new(), ended: true }
    }

    /// The next row with the number of its line, from 1; `None` at the end. An error is one of reading the source.
    pub fn next_row(&mut self) -> io::Result<Option<(u64, Row)>> {
        loop {
            let fits = self.read_line()?;
            let Some(fits) = fits else { return Ok(None) };
            self.line += 1;
            if !fits {
                return Ok(Some((self.line, Err(format!("longer than {LINE_BYTES_MAX} bytes")))));
            }
            if !self.buffer.is_empty() {
                return Ok(Some((self.line, parse(&self.buffer, self.format))));
            }
        }
    }

    /// Whether the last row may be less than was meant: its line has no end, and nothing else in a .tsv says where a value
    /// ends.
    pub fn may_be_cut(&self) -> bool {
        self.format == ImportFormat::Tsv && !self.ended
    }

    /// How much of the source has been read; an overlong line counts as far as it was kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills the buffer with one line, without its end. `None`: there is none; false: it was too long and is skipped.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let read = self.source.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        self.bytes += read as u64;
        if read == 0 {
            return Ok(None);
        }
        self.ended = self.buffer.pop_if(|byte| *byte == b'\n').is_some();
        if !self.ended && read > LINE_BYTES_MAX {
            self.source.skip_until(b'\n')?;
            return Ok(Some(false));
        }
        self.buffer.pop_if(|byte| *byte == b'\r');
        Ok(Some(true))
    }
}

fn parse(line: &[u8], format: ImportFormat) -> Row {
    match format {
        ImportFormat::Tsv => {
            let tab = line.iter().position(|byte| *byte == b'\t').ok_or("no tab between key and value")?;
            let (key, value) = (&line[..tab], &line[tab + 1..]);
            if value.contains(&b'\t') {
                return Err("more than one tab; write \\t for one inside a value".into());
            }
            Ok((unescape(key)?, unescape(value)?))
        }
        ImportFormat::Jsonl => {
            let row: JsonRow = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            match row.enc {
                JsonEncoding::Utf8 => Ok((row.key.into_bytes(), row.value.into_bytes())),
                JsonEncoding::Base64 => Ok((from_base64(row.key.as_bytes())?, from_base64(row.value.as_bytes())?)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], format: ImportFormat) -> Vec<(u64, Row)> {
        let mut rows = Rows::new(text, format);
        std::iter::from_fn(|| rows.next_row().unwrap()).collect()
    }

    #[test]
    fn tsv_rows_carry_any_bytes() {
        let found = rows(b"a\t1\n\nb\\x00\\t\t\\n\\\\\r\nlast\t", ImportFormat::Tsv);
        let row = |key: &[u8], value: &[u8]| Ok((key.to_vec(), value.to_vec()));
        assert_eq!(found, vec![(1, row(b"a", b"1")), (3, row(b"b\0\t", b"\n\\")), (4, row(b"last", b""))]);
    }

    #[test]
    fn only_the_last_line_of_a_tsv_may_be_cut() {
        let cut = |text: &[u8], format| {
            let mut rows = Rows::new(text, format);
            std::iter::from_fn(|| rows.next_row().unwrap().map(|_| rows.may_be_cut())).collect::<Vec<_>>()
        };
        assert_eq!(cut(b"a\t1\nb\t2", ImportFormat::Tsv), [false, true]);
        assert_eq!(cut(b"a\t1\nb\t2\n", ImportFormat::Tsv), [false, false]);
        assert_eq!(cut(br#"{"key":"a","value":"1"}"#, ImportFormat::Jsonl), [false], "its brace ends it");
    }

    #[test]
    fn a_bad_row_names_its_line_and_the_next_is_read() {
        let found = rows(b"a\t1\nnone\nb\t\\q\nc\t2\td\ne\t3\n", ImportFormat::Tsv);
        let bad: Vec<u64> = found.iter().filter(|(_, row)| row.is_err()).map(|(line, _)| *line).collect();
        assert_eq!((found.len(), bad), (5, vec![2, 3, 4]));
    }

    #[test]
    fn jsonl_rows_are_text_or_base64() {
        let text = br#"{"key":"a","value":"1"}
{"key":"aw==","value":"/w==","enc":"base64"}
{"key":"a","value":"1","enc":"rot13"}
{"key":"a"}"#;
        let found = rows(text, ImportFormat::Jsonl);
        assert_eq!(found[0], (1, Ok((b"a".to_vec(), b"1".to_vec()))));
        assert_eq!(found[1], (2, Ok((b"k".to_vec(), b"\xff".to_vec()))));
        assert!(found[2].1.is_err() && found[3].1.is_err());
    }

    #[test]
    fn an_endless_line_is_one_error() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 10];
        text.extend_from_slice(b"\nk\tv\n");
        let found = rows(&text, ImportFormat::Tsv);
        assert!(found[0].1.is_err());
        assert_eq!(found[1], (2, Ok((b"k".to_vec(), b"v".to_vec()))));
    }
}
