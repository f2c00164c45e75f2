//! `kvctl`: everything a person or a script does with a cluster.
//!
//! [`args`] is the grammar, `commands` one file for each command, [`output`] and [`exit`] are what comes back.
//! What a command means is decided by the servers and the client library; here it is only asked and printed.

mod args;
mod commands;
mod connect;
mod demo;
mod exit;
mod local;
mod output;
mod text;
mod value;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::Cli;
use crate::exit::Failure;
use crate::output::Format;

fn main() -> ExitCode {
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let format = Format::chosen(cli.globals.output);
    match commands::run(&cli, format) {
        Ok(Some(answer)) => output::print(format, &answer),
        Ok(None) => ExitCode::SUCCESS,
        Err(failure) => output::fail(format, &failure),
    }
}

/// The command line over the environment. An empty variable counts as none: a script has no other way to take one back.
fn parsed() -> Result<Cli, clap::Error> {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = Cli::command().mut_args(|argument| match argument.get_env().is_some_and(is_empty) {
        true => argument.env(None::<&'static str>),
        false => argument,
    });
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Help and version go where clap sends them; a usage error is one JSON document where JSON was asked for.
fn not_understood(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && asked_for_json(std::env::args_os()) {
        return output::fail(Format::Json, &Failure::usage(sentence(&error.to_string())).hint("kvctl --help"));
    }
    let _ = error.print(); // there is nowhere else to say it
    ExitCode::from(error.exit_code() as u8)
}

/// What is wrong, in one line: everything before the first empty one.
fn sentence(error: &str) -> String {
    let lines: Vec<&str> = error.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

// The arguments could not be parsed, so this is a guess, as good as the arguments allow.
fn asked_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .take_while(|argument| argument != "--")
        .collect();
    let pair = |words: &[String]| matches!(words[0].as_str(), "-o" | "--output") && words[1] == "json";
    arguments.windows(2).any(pair)
        || arguments.iter().any(|argument| matches!(argument.as_str(), "-ojson" | "-o=json" | "--output=json"))
        || std::env::var("KVCTL_OUTPUT").is_ok_and(|format| format == "json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_usage_error_is_one_line_and_whole() {
        let error =
            "error: the following required arguments were not provided:\n  <KEY>\n  <VALUE>\n\nUsage: kvctl put\n";
        assert_eq!(sentence(error), "the following required arguments were not provided: <KEY> <VALUE>");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn arguments_that_are_no_text_ask_for_json_like_others() {
        let asked = |words: &[&[u8]]| asked_for_json(words.iter().map(|word| OsString::from_vec(word.to_vec())));
        assert!(asked(&[b"kvctl", b"get", b"\xff", b"-o", b"json"]));
        assert!(!asked(&[b"kvctl", b"get", b"\xff", b"--", b"-ojson"]));
    }
}
