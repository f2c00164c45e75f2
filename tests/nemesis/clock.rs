//! Wall clocks of nodes that can be moved, by libfaketime. No real clock is touched.
//!
//! The library and the nodes' allocator both stand in for functions of the system before anything else has begun, and each
//! needs the other to begin: `early_clock.c`, built here and preloaded in front of the library, lets them.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use net::hello::{Hello, Role};

use super::stage::{run, text};
use super::wire::Wire;
use crate::harness::eventually;

/// Where a distribution puts the library.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// What lets it begin.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nemesis/early_clock.c");
/// How long the library may show a time that it has looked up before, in seconds.
const CACHED: u64 = 1;
/// What a node says of a peer that it does not know.
const REFUSAL: &str = "refused a peer that is not in the map";

/// What to preload so that a node's clock can be moved; why that cannot be.
pub fn preload() -> Result<&'static str, &'static str> {
    static PRELOAD: OnceLock<Result<String, String>> = OnceLock::new();
    PRELOAD.get_or_init(find).as_deref().map_err(String::as_str)
}

fn find() -> Result<String, String> {
    let mut places: Vec<PathBuf> = vec!["/usr/lib".into()];
    places.extend(std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path()));
    let library = places.into_iter().map(|place| place.join(LIBRARY)).find(|path| path.exists());
    let library = library.ok_or("libfaketime is not installed")?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (early, aside) =
        (directory.join("early_clock.so"), directory.join(format!("early_clock-{}", std::process::id())));
    run("cc", &["-O1", "-shared", "-fPIC", "-o", text(&aside), SOURCE, "-ldl"])?;
    std::fs::rename(&aside, &early).map_err(|error| error.to_string())?;
    let preload = format!("{}:{}", early.display(), library.display());
    let version = Command::new(env!("CARGO_BIN_EXE_kvd"))
        .arg("--version")
        .envs([("LD_PRELOAD", &*preload), ("FAKETIME", "+0")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match version {
        Ok(status) if status.success() => Ok(preload),
        Ok(status) => Err(format!("kvd does not run with libfaketime: {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The words before a command that give it a clock that `file` moves.
pub fn environment(preload: &str, file: &Path) -> [String; 5] {
    [
        format!("LD_PRELOAD={preload}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        format!("FAKETIME_CACHE_DURATION={CACHED}"),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        "NO_FAKE_STAT=1".into(),
    ]
}

/// Waits until a node believes that it is so many seconds later than it is, to the minute: it is asked by a peer that it
/// must refuse, and logs when that was.
pub fn wait_until_it_shows(address: &str, log: &dyn Fn() -> String, seconds: i64) {
    let (_, reply) = Wire::connect(address).expect("a connection");
    let stranger = Hello { role: Role::Peer, cluster: reply.cluster, incarnation: !0, ..Hello::client(0, 0) };
    eventually(Duration::from_secs(10 + CACHED), "the clock to show another time", || {
        let known = log().len();
        let mut stream = TcpStream::connect(address).ok()?;
        std::io::Write::write_all(&mut stream, &stranger.encode()).ok()?;
        let shown = eventually(Duration::from_secs(10), "a line in the log", || shown_by(&log()[known..]));
        let ahead = match shown.duration_since(SystemTime::now()) {
            Ok(ahead) => ahead.as_secs() as i64,
            Err(behind) => -(behind.duration().as_secs() as i64),
        };
        ((ahead - seconds).abs() <= 60).then_some(())
    });
}

/// The time before the last refusal in a log.
fn shown_by(log: &str) -> Option<SystemTime> {
    let line = log.lines().rfind(|line| line.contains(REFUSAL))?;
    line.split(['"', ' ']).find_map(|word| humantime::parse_rfc3339(word).ok())
}
