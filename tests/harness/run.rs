//! One run of `kvctl`: what it printed and how it ended.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// Standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
}

/// Runs `kvctl` against these endpoints.
pub fn kvctl<S: AsRef<str>>(endpoints: &[S], arguments: &[&str]) -> Run {
    kvctl_with_input(endpoints, arguments, b"")
}

/// The same with something on standard input.
pub fn kvctl_with_input<S: AsRef<str>>(endpoints: &[S], arguments: &[&str], input: &[u8]) -> Run {
    let endpoints: Vec<&str> = endpoints.iter().map(AsRef::as_ref).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvctl"))
        .env_remove("KVCTL_OUTPUT")
        .env("KVCTL_ENDPOINTS", if endpoints.is_empty() { "127.0.0.1:1".to_owned() } else { endpoints.join(",") })
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kvctl starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A run that does not read its input may end before all of it is written.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("kvctl ends");
    writer.join().expect("the writer ends");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Run {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("printable output")
    }

    /// Standard output as the one JSON document that it must be.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This run, which must have ended with the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{}\n{}", String::from_utf8_lossy(&self.stdout), self.stderr);
        self
    }
}
