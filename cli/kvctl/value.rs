//! Keys and values from the command line: as they stand, from standard input, or from a file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::exit::Failure;
use crate::text::Encoding;

/// The most that is read for one value. A server's own limit is lower by default and is told by the server;
/// this one only keeps an endless input from filling the memory.
const VALUE_READ_BYTES_MAX: u64 = 256 << 20;

/// The key that an argument stands for.
pub fn key(argument: &OsStr, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    encoding.decode(argument).map_err(|why| Failure::usage(format!("key: {why}")))
}

/// The value that an argument stands for: itself, `-` (standard input) or `@FILE`. The bytes of an input or a
/// file are taken as they are.
pub fn value(argument: &OsStr, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    match argument.as_bytes() {
        b"-" => read(io::stdin().lock(), "standard input"),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let file = File::open(path).map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
            read(file, &path.display().to_string())
        }
        _ => encoding.decode(argument).map_err(|why| Failure::usage(format!("value: {why}"))),
    }
}

fn read(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .take(VALUE_READ_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::error(format!("{name}: {error}")))?;
    if bytes.len() as u64 > VALUE_READ_BYTES_MAX {
        return Err(Failure::error(format!("{name}: more than {VALUE_READ_BYTES_MAX} bytes for one value")));
    }
    Ok(bytes)
}
