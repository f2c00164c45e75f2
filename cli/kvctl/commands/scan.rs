//! `scan`: entries in key order, over all groups.

use net::client::ScanOptions;
use serde_json::{Value, json};

use crate::args::{Globals, Scan};
use crate::connect::connect;
use crate::exit::Failure;
use crate::output::{Answer, Section, remark};
use crate::text::{encode_all, escape};
use crate::value::key;

pub fn scan(globals: &Globals, scan: &Scan) -> Result<Answer, Failure> {
    let bound = |argument: &Option<_>| argument.as_deref().map(|text| key(text, globals.encoding)).transpose();
    let mut options = match bound(&scan.prefix)? {
        Some(prefix) => ScanOptions::prefix(&prefix, scan.limit),
        None => ScanOptions {
            start: bound(&scan.start)?.unwrap_or_default(),
            end: bound(&scan.end)?,
            limit: scan.limit,
            stale: false,
        },
    };
    options.stale = scan.stale;
    let mut client = connect(globals)?;
    let (mut entries, mut more) = (Vec::new(), true);
    // The servers bound a page in bytes too, so a page can be shorter than asked for.
    while more && entries.len() < scan.limit as usize {
        let page = client.scan(options.clone())?;
        more = page.more;
        options.limit -= page.entries.len() as u32;
        match page.next_start() {
            Some(start) => options.start = start,
            None => more = false,
        }
        entries.extend(page.entries);
    }
    if more {
        remark("there are more; raise --limit or go on with --start");
    }
    let rows = entries.iter().map(|(key, value)| vec![escape(key), escape(value)]).collect();
    let json = json!({ "entries": entries.iter().map(entry).collect::<Vec<_>>(), "more": more });
    Ok(Answer::new(json, Section::new(&["KEY", "VALUE"], rows)))
}

fn entry((key, value): &(Vec<u8>, Vec<u8>)) -> Value {
    let (texts, enc) = encode_all(&[key, value]);
    json!({ "key": texts[0], "value": texts[1], "enc": enc })
}
