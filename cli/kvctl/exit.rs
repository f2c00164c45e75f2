//! What goes wrong, as a number for scripts and a sentence for people.

use serde_json::{Value, json};

/// The exit codes of every command; a contract, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Anything without a code of its own.
    Error = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// There is no such key.
    NotFound = 3,
    /// A condition of the request does not hold: another value, a node in another state.
    Precondition = 4,
    /// Nobody could do it in time, and nothing was applied.
    Unavailable = 5,
    /// No answer came in time: it may have been applied, or be applied yet.
    Unknown = 6,
    /// The other side speaks another protocol or version.
    Protocol = 8,
    /// The answer came, and says that the cluster is not well or not complete.
    Unhealthy = 10,
}

impl Code {
    /// The code's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Code::Error => "error",
            Code::Usage => "usage",
            Code::NotFound => "not_found",
            Code::Precondition => "precondition_failed",
            Code::Unavailable => "unavailable",
            Code::Unknown => "outcome_unknown",
            Code::Protocol => "protocol",
            Code::Unhealthy => "unhealthy",
        }
    }

    /// Of many codes the one that leaves most in doubt, the first of equal ones: that of the whole.
    pub fn worst(codes: impl IntoIterator<Item = Code>) -> Option<Code> {
        let doubt = |code: Code| match code {
            Code::Unknown => 3,
            Code::Unavailable => 2,
            _ => 1,
        };
        codes.into_iter().reduce(|worst, code| if doubt(code) > doubt(worst) { code } else { worst })
    }
}

/// A command that has no answer to print.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    pub fn error(message: impl Into<String>) -> Failure {
        Failure::new(Code::Error, message)
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The one JSON document of a failed command.
    pub fn json(&self) -> Value {
        let mut error = json!({ "code": self.code.name(), "exit": self.code as u8, "message": self.message });
        if let Some(hint) = &self.hint {
            error["hint"] = json!(hint);
        }
        json!({ "error": error })
    }
}
