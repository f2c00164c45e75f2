//! Sends the demo's writes and reads, many at once, and keeps the books.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use engine_core::command::Operation;
use net::client::blocking::Client;
use net::client::{Answer, Request, RequestId};

use super::ledger::Ledger;
use crate::local::until;
use crate::output::remark;
use crate::text::escape;

/// How long one wait for answers is; the client ends every request by its own timeout.
const POLL: Duration = Duration::from_secs(1);

/// How many writes were acknowledged, for the thread that watches.
#[derive(Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Waits until so many are.
    pub fn wait_for(&self, count: u64, patience: Duration) -> Result<()> {
        until(Instant::now() + patience, format!("{count} acknowledged writes"), || {
            Ok((self.0.load(Ordering::Relaxed) >= count).then_some(()))
        })
    }
}

/// Writes one version of every key.
pub fn write(client: &mut Client, ledger: &mut Ledger, version: u64, depth: usize) -> Result<()> {
    let writes = (0..ledger.len()).map(|position| (position, version));
    send(client, ledger, writes, depth, &Progress::default())
}

/// Writes `count` further versions, the keys in turn.
pub fn versions(client: &mut Client, ledger: &mut Ledger, count: u64, depth: usize, progress: &Progress) -> Result<()> {
    let keys = ledger.len();
    let writes = (1..=count).map(|version| ((version % keys as u64) as usize, version));
    // Fewer under way than keys, as a key has one write under way at most.
    send(client, ledger, writes, depth.min(keys), progress)
}

fn send(
    client: &mut Client,
    ledger: &mut Ledger,
    writes: impl Iterator<Item = (usize, u64)>,
    depth: usize,
    progress: &Progress,
) -> Result<()> {
    let mut under_way = HashMap::new();
    for (position, version) in writes {
        // The keys come in turn, so the one that is waited for is among the oldest.
        while under_way.len() >= depth || !ledger.begin(position) {
            complete(client, ledger, &mut under_way, progress)?;
        }
        let (key, value) = (ledger.key(position).to_vec(), ledger.value(position, version));
        // The old value proves the write before this one, so every acknowledged write is looked at, not only the last.
        let id = client.submit(Request::Write(Operation::Put { key, value, return_old: true }));
        under_way.insert(id, (position, version));
    }
    while !under_way.is_empty() {
        complete(client, ledger, &mut under_way, progress)?;
    }
    Ok(())
}

fn complete(
    client: &mut Client,
    ledger: &mut Ledger,
    under_way: &mut HashMap<RequestId, (usize, u64)>,
    progress: &Progress,
) -> Result<()> {
    for completion in client.poll(POLL) {
        let Some((position, version)) = under_way.remove(&completion.id) else { continue };
        match completion.result {
            Ok(answer) => {
                if let Answer::Old(old) = answer {
                    expect(ledger, position, old.as_deref())?;
                }
                ledger.acknowledge(position, version, Instant::now());
                progress.0.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                remark(format_args!("a write failed: {error}"));
                ledger.give_up(position, version, error.may_have_happened());
            }
        }
    }
    Ok(())
}

/// Reads every key and compares it with the books.
pub fn verify(client: &mut Client, ledger: &Ledger, depth: usize) -> Result<()> {
    let mut under_way = HashMap::new();
    for position in 0..ledger.len() {
        while under_way.len() >= depth {
            check(client, ledger, &mut under_way)?;
        }
        let id = client.submit(Request::Get { key: ledger.key(position).to_vec(), stale: false });
        under_way.insert(id, position);
    }
    while !under_way.is_empty() {
        check(client, ledger, &mut under_way)?;
    }
    Ok(())
}

fn check(client: &mut Client, ledger: &Ledger, under_way: &mut HashMap<RequestId, usize>) -> Result<()> {
    for completion in client.poll(POLL) {
        let Some(position) = under_way.remove(&completion.id) else { continue };
        match completion.result {
            Ok(Answer::Value(found)) => expect(ledger, position, found.as_deref())?,
            Ok(other) => bail!("reading {}: {other:?}", escape(ledger.key(position))),
            Err(error) => bail!("reading {}: {error}", escape(ledger.key(position))),
        }
    }
    Ok(())
}

fn expect(ledger: &Ledger, position: usize, found: Option<&[u8]>) -> Result<()> {
    let what = found.map_or("nothing".to_owned(), |found| format!("{} other bytes", found.len()));
    let key = escape(ledger.key(position));
    ensure!(ledger.allows(position, found), "an acknowledged write is lost: {key} holds {what}");
    Ok(())
}
