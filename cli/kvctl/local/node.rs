//! One node: a `kvd` process, its directory and its log.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Janitor, until};

/// How long one look at the admin port may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of a log an error shows.
const LOG_LINES_SHOWN: usize = 20;

/// A node of this machine, running or not.
pub struct LocalNode {
    /// Its name in the cluster.
    pub name: String,
    /// Where clients and peers find it.
    pub address: String,
    /// Where its health is told.
    pub admin: String,
    /// Its data directory.
    pub data: PathBuf,
    /// What its processes have printed.
    pub log: PathBuf,
    program: PathBuf,
    /// What its next process is started with.
    pub arguments: Vec<String>,
    process: Option<Child>,
}

impl LocalNode {
    /// A node that is not running yet.
    pub fn new(
        name: String,
        address: String,
        admin: String,
        data: PathBuf,
        log: PathBuf,
        program: PathBuf,
        arguments: Vec<String>,
    ) -> LocalNode {
        LocalNode { name, address, admin, data, log, program, arguments, process: None }
    }

    /// Whether its process was started and not yet seen to end.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The id of its process.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts the process; its output goes to the end of the log.
    pub fn start(&mut self, janitor: &mut Janitor) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let process = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let id = process.id();
        self.process = Some(process);
        janitor.add(id)
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub fn kill(&mut self, janitor: &mut Janitor) -> Result<()> {
        let mut process = self.process.take().with_context(|| format!("{} is not running", self.name))?;
        process.kill().with_context(|| format!("kill {}", self.name))?;
        process.wait()?;
        janitor.gone(process.id())
    }

    /// Waits for the process to end by itself, which must be with exit status 0.
    pub fn wait_end(&mut self, janitor: &mut Janitor, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let status = until(deadline, format!("{} to end", self.name), || self.ended())?;
        if let Some(process) = self.process.take() {
            janitor.gone(process.id())?;
        }
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.log_tail());
        Ok(())
    }

    /// Waits until the admin port answers that the node is ready.
    pub fn wait_ready(&mut self, deadline: Instant) -> Result<()> {
        until(deadline, format!("{} to be ready\n{}", self.name, self.log.display()), || {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}\n{}", self.name, self.log_tail());
            }
            Ok(matches!(self.ask_admin("/readyz"), Ok((200, _))).then_some(()))
        })
    }

    /// One GET of the admin port: the status and the body.
    pub fn ask_admin(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin.parse()?, ADMIN_TIMEOUT)?;
        stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status.context("not an HTTP answer")?, body.to_owned()))
    }

    /// The end of the node's log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Lets the process run on without an owner.
    pub(super) fn forget(&mut self) {
        self.process = None;
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(process) => Ok(process.try_wait()?),
            None => bail!("{} is not running", self.name),
        }
    }
}
