//! Bytes as people and programs read and write them: escapes in tables, `enc` in JSON.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

/// How keys and values are written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// The bytes as they are
    Text,
    /// \t \n \r \\ and \xNN stand for bytes, as tables print them
    Escaped,
    /// Standard base64 with padding
    Base64,
}

impl Encoding {
    /// The bytes that an argument stands for; the error says what is wrong with it.
    pub fn decode(self, argument: &OsStr) -> Result<Vec<u8>, String> {
        match self {
            Encoding::Text => Ok(argument.as_bytes().to_vec()),
            Encoding::Escaped => unescape(argument.as_bytes()),
            Encoding::Base64 => from_base64(argument.as_bytes()),
        }
    }
}

/// One line of printable text: what cannot be printed is `\xNN`, a backslash is `\\`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                c if unprintable(c) => {
                    let mut utf8 = [0; 4];
                    c.encode_utf8(&mut utf8).bytes().for_each(|byte| push_hex(&mut text, byte));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(&mut text, *byte));
    }
    text
}

/// A printable text whose blanks at either end can be seen, as `\xNN`: in a table they would pass for the space between columns.
pub fn escape_ends(text: &str) -> String {
    let (before, rest) = text.split_at(text.len() - text.trim_start().len());
    let (middle, after) = rest.split_at(rest.trim_end().len());
    let mut escaped = String::with_capacity(text.len());
    before.bytes().for_each(|byte| push_hex(&mut escaped, byte));
    escaped.push_str(middle);
    after.bytes().for_each(|byte| push_hex(&mut escaped, byte));
    escaped
}

/// The inverse of [`escape`], which also knows `\t`, `\n` and `\r`.
pub fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        let (byte, used) = match &rest[at + 1..] {
            [b'\\', ..] => (b'\\', 1),
            [b't', ..] => (b'\t', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b'x', high, low, ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return Err("\\x must be followed by two hexadecimal digits".into()),
            },
            _ => return Err("after a backslash one of t, n, r, \\ or xNN must follow".into()),
        };
        bytes.push(byte);
        rest = &rest[at + 1 + used..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// Bytes of standard base64 with padding.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))
}

/// Several byte strings that share one `enc`: text if all of them are UTF-8, base64 for all otherwise.
pub fn encode_all(parts: &[&[u8]]) -> (Vec<String>, &'static str) {
    let texts: Result<Vec<String>, _> = parts.iter().map(|part| std::str::from_utf8(part).map(str::to_owned)).collect();
    match texts {
        Ok(texts) => (texts, "utf8"),
        Err(_) => (parts.iter().map(|part| STANDARD.encode(part)).collect(), "base64"),
    }
}

// Control characters, and the invisible ones that reorder or hide a line of text on a terminal.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn push_hex(text: &mut String, byte: u8) {
    use std::fmt::Write;
    let _ = write!(text, "\\x{byte:02x}"); // writing to a String cannot fail
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_survives_escaping() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.extend_from_slice("grüße \\x41 \u{202e} \u{61c}".as_bytes());
        let text = escape(&bytes);
        assert!(!text.contains(['\n', '\t', '\0', '\u{202e}', '\u{61c}']), "{text}");
        assert_eq!(unescape(text.as_bytes()), Ok(bytes));
    }

    #[test]
    fn printable_text_stays_as_it_is() {
        assert_eq!(escape("Grüße, 世界".as_bytes()), "Grüße, 世界");
        assert_eq!(escape(b"a\tb\xff\\"), "a\\x09b\\xff\\\\");
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in ["\\", "\\q", "\\x", "\\x4", "\\xzz"] {
            assert!(unescape(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_binary_part_makes_all_parts_base64() {
        assert_eq!(encode_all(&[b"k", b"v"]), (vec!["k".into(), "v".into()], "utf8"));
        assert_eq!(encode_all(&[b"k", b"\xff"]), (vec!["aw==".into(), "/w==".into()], "base64"));
    }
}
