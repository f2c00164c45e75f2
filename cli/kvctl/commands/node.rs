//! `node stop` and `node start`: the nodes of this machine, as an operator's hand would treat them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use net::client::blocking::Client;
use net::client::{ClientError, Request, Target};
use net::hello::{HELLO_BYTES, Hello, HelloRefusal, HelloReply};
use net::status::NodeStatus;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde_json::json;

use crate::args::Globals;
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::Answer;

/// What kvd leaves in its data directory: its arguments, each followed by a NUL, and the id of its process.
const ARGUMENTS_FILE: &str = "args";
const PROCESS_FILE: &str = "pid";
/// What a running kvd holds a lock on.
const LOCK_FILE: &str = "LOCK";
/// Whose the directory is: where it is not there, kvd draws another identity.
const IDENTITY_FILE: &str = "IDENTITY";
/// The cluster that the identity belongs to: with it and under another identity kvd does not start.
const FORMED_FILE: &str = "FORMED";
/// What a node that is started as new had stored is kept under this and a number.
const ASIDE: &str = "old-";
/// Where a node started from here writes what it has to say.
const LOG_FILE: &str = "kvd.log";
/// How long a node may take for each step of one look at whether it is there.
const ATTEMPT: Duration = Duration::from_millis(500);
/// Between two looks at whether a node is there.
const PAUSE: Duration = Duration::from_millis(20);

pub fn stop(globals: &Globals, name: &str, clean: bool) -> Result<Answer, Failure> {
    let mut client = connect(globals)?;
    let map = client.map()?;
    let number = map.node_named(name).ok_or_else(|| Failure::error(format!("the cluster has no node {name}")))?;
    let address = map.nodes[usize::from(number)].address.clone();
    let deadline = Instant::now() + globals.timeout;
    wait_serving(&mut client, &address, deadline)?;
    let answer = client.stop(&address, clean);
    let stopped = stopped(answer, || wait_gone(&address, deadline))?;
    let json = json!({ "node": name, "clean": clean, "stopped": stopped });
    let state = if stopped { "stopped" } else { "stopping" };
    Ok(Answer::row(json, &["NODE", "STATE"], vec![name.to_owned(), state.to_owned()]))
}

/// Whether the node has stopped, given what a stop was answered; else it is at it.
fn stopped(answer: Result<(), ClientError>, gone: impl FnOnce() -> bool) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(gone()),
        // A node that ends at once may not get its answer out.
        Err(
            error @ (ClientError::Unreachable { .. }
            | ClientError::Unavailable { .. }
            | ClientError::OutcomeUnknown { .. }),
        ) => {
            if gone() {
                Ok(true)
            } else {
                Err(Failure::from(error).hint("kvctl status"))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits while the node is starting and takes no requests. The connections that it has then end when it serves, and a stop on
/// one of them would count as done: what is gone before its answer has done as asked.
fn wait_serving(client: &mut Client, address: &str, deadline: Instant) -> Result<(), ClientError> {
    let mut trouble = None;
    loop {
        match client.call(Request::Status(Target::Address(address.to_owned()))) {
            Ok(net::client::Answer::Status(status)) if status.epoch > 0 => return Ok(()),
            Ok(net::client::Answer::Status(NodeStatus { waiting_for, .. })) => {
                trouble = Some(ClientError::NotFormed { waiting_for });
            }
            Ok(other) => return Err(ClientError::Protocol { why: format!("a status was answered {other:?}") }),
            Err(error) if trouble.is_none() => return Err(error),
            Err(error) => trouble = Some(error),
        }
        if Instant::now() >= deadline
            && let Some(trouble) = trouble
        {
            return Err(trouble);
        }
        thread::sleep(PAUSE);
    }
}

fn wait_gone(address: &str, deadline: Instant) -> bool {
    while !is_gone(address) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}

/// Whether nobody listens there any more. A node takes connections for as long as its process holds the data directory,
/// also while it flushes and answers nothing: only a refused connection says that it is gone.
fn is_gone(address: &str) -> bool {
    let refused = |socket: SocketAddr| {
        let connected = TcpStream::connect_timeout(&socket, ATTEMPT);
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    address.to_socket_addrs().is_ok_and(|mut sockets| sockets.all(refused))
}

pub fn start(globals: &Globals, name: &str, data: &Path, new: bool) -> Result<Answer, Failure> {
    let arguments = arguments(data)?;
    let owner = option(&arguments, "--name").or_else(|| option(&arguments, "--listen"));
    if owner.as_deref() != Some(name) {
        let owner = owner.unwrap_or("a node without a name".to_owned());
        return Err(Failure::new(Code::Precondition, format!("{} belongs to {owner}, not to {name}", data.display())));
    }
    belongs_to_us(name, data)?;
    let freed_until = Instant::now() + globals.timeout;
    while locked(data) {
        if goes_on(&arguments) || Instant::now() >= freed_until {
            return Err(is_running(name, data));
        }
        thread::sleep(PAUSE);
    }
    if new && io::stdin().is_terminal() && !confirmed(data)? {
        return Err(Failure::error("nothing was done"));
    }
    let aside = if new { Some(set_aside(name, data)?) } else { None };
    let log = data.join(LOG_FILE);
    let output = OpenOptions::new().create(true).append(true).open(&log);
    let output = output.map_err(|error| Failure::error(format!("{}: {error}", log.display())))?;
    let program = program()?;
    // Counted from here: the answer may have taken longer than the node may.
    let deadline = Instant::now() + globals.timeout;
    let mut child = Command::new(&program)
        .args(&arguments)
        .args((new && !arguments.iter().any(|argument| argument == "--new")).then_some("--new"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(|error| Failure::error(error.to_string()))?)
        .stderr(output)
        // A group of its own: Ctrl-C here must not reach it.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::error(format!("{}: {error}", program.display())))?;
    let id = child.id();
    // It has started once it has left its own id and, where its address is known, takes connections.
    while running(data) != Some(id) || !listens(&arguments) {
        if let Ok(Some(status)) = child.try_wait() {
            let hint = format!("see {}", log.display());
            return Err(Failure::error(format!("{name} ended at once, with {status}")).hint(hint));
        }
        if Instant::now() >= deadline {
            let message = format!("{name} was started as process {id} and is not there yet");
            return Err(Failure::new(Code::Unknown, message).hint(format!("see {}", log.display())));
        }
        thread::sleep(PAUSE);
    }
    let aside = aside.map(|path| path.display().to_string());
    let json = json!({
        "node": name, "pid": id, "started": true, "new": new, "old_data": aside, "log": log.display().to_string(),
    });
    Ok(Answer::row(json, &["NODE", "PROCESS", "LOG"], vec![name.to_owned(), id.to_string(), log.display().to_string()]))
}

/// A node that root starts in another user's directory leaves files there that its owner can neither read nor replace.
fn belongs_to_us(name: &str, data: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(data).map_err(|error| Failure::error(format!("{}: {error}", data.display())))?;
    let owner = metadata.uid();
    if owner == 0 || !geteuid().is_root() {
        return Ok(());
    }
    let owner = user_named(&fs::read_to_string("/etc/passwd").unwrap_or_default(), owner);
    let message = format!("{} belongs to user {owner}, and this is root", data.display());
    let start = format!("sudo -u '{owner}' kvctl node start {name} --data {}", data.display());
    Err(Failure::new(Code::Precondition, message).hint(format!("{start}, or systemctl start kvd if that runs it")))
}

/// The name of a user, or what stands for a user without one.
fn user_named(passwd: &str, id: u32) -> String {
    let mut users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
    });
    users.find(|(_, user)| *user == id).map_or(format!("#{id}"), |(name, _)| name.to_owned())
}

fn arguments(data: &Path) -> Result<Vec<OsString>, Failure> {
    let path = data.join(ARGUMENTS_FILE);
    let bytes = fs::read(&path).map_err(|error| {
        Failure::error(format!("{}: {error}", path.display()))
            .hint("start the node once with `kvd run`; it leaves this file")
    })?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Ok(bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect())
}

/// The value of an option, as `--name n1` or `--name=n1`.
fn option(arguments: &[OsString], name: &str) -> Option<String> {
    arguments.iter().enumerate().find_map(|(at, argument)| {
        let rest = argument.to_str()?.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => arguments.get(at + 1)?.to_str().map(str::to_owned),
            None => None,
        }
    })
}

/// Moves what a node has stored into a directory of its own, so that the next start draws a new incarnation: the old one
/// must never vote again. Nothing is deleted. The lock that a running node holds is held until all is moved.
fn set_aside(name: &str, data: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::error(format!("{}: {error}", data.display()));
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).open(data.join(LOCK_FILE)).map_err(failed)?;
    // Somebody may have started it since it was last looked at, as that was before the question.
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(is_running(name, data));
    }
    let aside = (1..).map(|number| data.join(format!("{ASIDE}{number}"))).find(|path| !path.exists());
    let aside = aside.ok_or_else(|| Failure::error("no name is left for the old data"))?;
    fs::create_dir(&aside).and_then(|()| move_stored(data, &aside)).map_err(failed)?;
    Ok(aside)
}

/// Each move is on the disk before the next begins. The identity goes first: without it what is left is nobody's, while the
/// identity beside some of its files could vote and have forgotten. The founding record goes last: until then kvd refuses
/// to start on what is left.
fn move_stored(data: &Path, aside: &Path) -> io::Result<()> {
    let mut stored = Vec::new();
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name();
        if is_stored(&name) {
            stored.push(name);
        }
    }
    stored.sort_by_key(|name| (name != IDENTITY_FILE, name == FORMED_FILE));
    for name in stored {
        fs::rename(data.join(&name), aside.join(&name))?;
        File::open(aside)?.sync_all()?;
        File::open(data)?.sync_all()?;
    }
    Ok(())
}

/// Whether a file is a node's own, and of what it stores. What else is in the directory is not its business, and may not be movable.
fn is_stored(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let whole = name.strip_suffix(b".new").unwrap_or(name);
    let small = [IDENTITY_FILE, FORMED_FILE, "PROPOSED", "MAP", "CREATED"];
    name.starts_with(b"core-") || small.iter().any(|file| whole == file.as_bytes())
}

fn is_running(name: &str, data: &Path) -> Failure {
    let process = running(data).map_or(String::new(), |id| format!(", as process {id}"));
    Failure::new(Code::Precondition, format!("{name} is running{process}"))
}

/// Where the node listens, if its arguments say so: its file may, too.
fn listen_address(arguments: &[OsString]) -> Option<SocketAddr> {
    let setting = |argument: &OsString| argument.to_str()?.strip_prefix("node.listen=").map(str::to_owned);
    // Of several the last one counts.
    let address = arguments.iter().rev().find_map(setting).or_else(|| option(arguments, "--listen"));
    address.and_then(|address| address.to_socket_addrs().ok()?.next())
}

/// Whether the node takes connections; an address that only its file knows is taken on trust.
fn listens(arguments: &[OsString]) -> bool {
    listen_address(arguments).is_none_or(|socket| TcpStream::connect_timeout(&socket, ATTEMPT).is_ok())
}

/// Whether the node that holds its directory is there to stay. One that says that it is stopping, or says nothing any
/// more, is about to end.
fn goes_on(arguments: &[OsString]) -> bool {
    let Some(socket) = listen_address(arguments) else { return true };
    greet(socket).is_ok_and(|reply| reply.status != Err(HelloRefusal::Stopping))
}

fn greet(socket: SocketAddr) -> io::Result<HelloReply> {
    let mut stream = TcpStream::connect_timeout(&socket, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.set_write_timeout(Some(ATTEMPT))?;
    stream.write_all(&Hello::client(0, 0).encode())?;
    let mut reply = [0; HELLO_BYTES];
    stream.read_exact(&mut reply)?;
    HelloReply::decode(&reply).map_err(io::Error::other)
}

/// Whether a process holds the directory. Never asked while a node starts there: for a moment the lock would be ours.
fn locked(data: &Path) -> bool {
    File::open(data.join(LOCK_FILE)).is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// The id of the running process that owns the directory; an id left by a node that is gone does not count.
fn running(data: &Path) -> Option<u32> {
    let id: u32 = fs::read_to_string(data.join(PROCESS_FILE)).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    // A dead process that nobody has asked for yet has no command line any more.
    command.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"kvd")).then_some(id)
}

/// The server's program: beside this one.
pub fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::error(format!("where kvctl is: {error}")))?;
    let program = own.with_file_name("kvd");
    if program.exists() { Ok(program) } else { Err(Failure::error(format!("{} is not there", program.display()))) }
}

fn confirmed(data: &Path) -> Result<bool, Failure> {
    let mut answer = String::new();
    write!(io::stderr(), "The node comes back empty; what {} holds is set aside. Go on? [y/N] ", data.display())
        .and_then(|()| io::stderr().flush())
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| Failure::error(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    use super::*;

    const STORED: [&str; 6] = ["CREATED", "FORMED", "IDENTITY", "MAP", "core-000", "core-001"];
    const STAYS: [&str; 5] = ["LOCK", "args", "kvd.log", "lost+found", "pid"];

    /// A data directory with what a node leaves there.
    fn directory() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for name in STORED.iter().chain(&STAYS) {
            match name.starts_with("core-") {
                true => fs::create_dir(data.path().join(name)).unwrap(),
                false => fs::write(data.path().join(name), name).unwrap(),
            }
        }
        data
    }

    fn names(path: &Path) -> BTreeSet<String> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn set<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> BTreeSet<String> {
        names.into_iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_a_node_has_stored_is_set_aside_and_its_lock_stays() {
        let data = directory();
        let aside = set_aside("n1", data.path()).unwrap();
        assert_eq!(names(&aside), set(&STORED));
        assert_eq!(names(data.path()), set(STAYS.iter().chain(&["old-1"])));
        fs::write(data.path().join("IDENTITY"), "another").unwrap();
        assert_eq!(set_aside("n1", data.path()).unwrap(), data.path().join("old-2"));
        assert_eq!(names(&aside), set(&STORED));
    }

    #[test]
    fn a_node_that_was_started_before_the_answer_keeps_everything() {
        let data = directory();
        assert!(!locked(data.path()));
        let lock = File::open(data.path().join("LOCK")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let refused = set_aside("n1", data.path()).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::Precondition, "n1 is running"));
        assert_eq!(names(data.path()), set(STORED.iter().chain(&STAYS)));
    }

    #[test]
    fn a_move_that_stops_anywhere_leaves_everything_or_no_identity_and_the_founding_record() {
        for stuck in STORED {
            let data = directory();
            let aside = data.path().join("old-1");
            // Nothing can be renamed over a directory that is not empty.
            fs::create_dir_all(aside.join(stuck).join("full")).unwrap();
            move_stored(data.path(), &aside).unwrap_err();
            let left = names(data.path());
            assert!(left.is_superset(&set(&STORED)) || !left.contains("IDENTITY"), "{stuck}: {left:?}");
            assert!(left.contains("FORMED"), "{stuck}: {left:?}");
        }
    }

    #[test]
    fn a_node_is_gone_when_its_connections_are_refused_and_not_when_it_only_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Nobody answers, but the kernel takes the connection.
        assert!(!is_gone(&address));
        assert!(!wait_gone(&address, Instant::now()));
        drop(listener);
        assert!(wait_gone(&address, Instant::now()));
        assert!(!is_gone("no address"));
    }

    #[test]
    fn a_stop_that_was_not_answered_has_stopped_only_who_is_gone() {
        let why = || "no answer".to_owned();
        let unanswered = [
            (ClientError::OutcomeUnknown { why: why() }, Code::Unknown),
            (ClientError::Unavailable { why: why() }, Code::Unavailable),
            (ClientError::Unreachable { address: "h:1".to_owned(), why: why() }, Code::Unavailable),
        ];
        for (error, code) in unanswered {
            assert!(stopped(Err(error.clone()), || true).unwrap());
            assert_eq!(stopped(Err(error), || false).unwrap_err().code, code);
        }
        assert!(!stopped(Ok(()), || false).unwrap(), "it is at it");
        assert!(stopped(Err(ClientError::Forbidden), || unreachable!()).is_err());
    }

    #[test]
    fn a_node_that_is_stopping_does_not_go_on() {
        let refusals = [None, Some(HelloRefusal::TooManyConnections), Some(HelloRefusal::Stopping)];
        for (refusal, stays) in refusals.into_iter().zip([true, true, false]) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let arguments = ["run".into(), format!("--listen={}", listener.local_addr().unwrap()).into()];
            let status = refusal.map_or(Ok(()), Err);
            let reply = HelloReply { status, core: 0, shards: 1, node: 0, cluster: 0, incarnation: 1, start: 0 };
            let node = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; HELLO_BYTES]).unwrap();
                stream.write_all(&reply.encode()).unwrap();
            });
            assert_eq!(goes_on(&arguments), stays, "{refusal:?}");
            node.join().unwrap();
            assert!(!goes_on(&arguments), "its listener is gone");
        }
        assert!(goes_on(&["run".into()]), "an address that is not known");
    }

    #[test]
    fn options_are_found_in_both_forms() {
        let arguments: Vec<OsString> = ["run", "--name", "n1", "--listen=h:1"].map(OsString::from).to_vec();
        assert_eq!(option(&arguments, "--name").as_deref(), Some("n1"));
        assert_eq!(option(&arguments, "--listen").as_deref(), Some("h:1"));
        assert_eq!(option(&arguments, "--data"), None);
        let arguments = ["run", "--set", "node.listen=127.0.0.1:1", "--set", "node.listen=127.0.0.1:2"];
        assert_eq!(listen_address(&arguments.map(OsString::from)).map(|socket| socket.port()), Some(2), "as kvd does");
    }

    #[test]
    fn a_user_is_known_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nkvd:x:998:997::/var/lib/kvd:/usr/sbin/nologin\n";
        assert_eq!([user_named(passwd, 998), user_named(passwd, 997)], ["kvd", "#997"]);
    }
}
