//! `get`, `put`, `del` and `cas`: one key each.

use net::client::{CasResult, ClientError};
use serde_json::json;

use crate::args::{Cas, Del, Get, Globals, Put};
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::{Answer, write_out};
use crate::text::{encode_all, escape};
use crate::value::{key, value};

/// Prints the value by itself if it is wanted raw.
pub fn get(globals: &Globals, get: &Get) -> Result<Option<Answer>, Failure> {
    let key = key(&get.key, globals.encoding)?;
    let mut client = connect(globals)?;
    let found = if get.stale { client.get_stale(&key)? } else { client.get(&key)? };
    let Some(value) = found else {
        return Err(Failure::new(Code::NotFound, format!("there is no key {}", escape(&key))));
    };
    if get.raw {
        write_out(&value)?;
        return Ok(None);
    }
    let (texts, enc) = encode_all(&[&key, &value]);
    let json = json!({ "key": texts[0], "value": texts[1], "enc": enc });
    Ok(Some(Answer::row(json, &["VALUE"], vec![escape(&value)])))
}

pub fn put(globals: &Globals, put: &Put) -> Result<Answer, Failure> {
    let key = key(&put.key, globals.encoding)?;
    let value = value(&put.value, globals.encoding)?;
    let mut client = connect(globals)?;
    if put.if_absent {
        match client.cas(&key, None, Some(&value))? {
            CasResult::Swapped => {}
            CasResult::Mismatch { .. } | CasResult::MismatchGone => {
                return Err(Failure::new(Code::Precondition, format!("key {} is there already", escape(&key))));
            }
        }
    } else {
        client.put_blind(&key, &value)?;
    }
    Ok(done(&key, "written", true))
}

pub fn del(globals: &Globals, del: &Del) -> Result<Answer, Failure> {
    let key = key(&del.key, globals.encoding)?;
    let existed = match connect(globals)?.delete(&key) {
        Ok(old) => old.is_some(),
        // Only a value that was there is too large to be kept for a retry.
        Err(ClientError::ResultGone) => true,
        Err(error) => return Err(error.into()),
    };
    Ok(done(&key, "deleted", existed))
}

pub fn cas(globals: &Globals, cas: &Cas) -> Result<Answer, Failure> {
    if cas.expect == "-" && cas.set == "-" {
        return Err(Failure::usage("only one of --expect and --set can come from standard input"));
    }
    let key = key(&cas.key, globals.encoding)?;
    let expect = value(&cas.expect, globals.encoding)?;
    let set = value(&cas.set, globals.encoding)?;
    let message = match connect(globals)?.cas(&key, Some(&expect), Some(&set))? {
        CasResult::Swapped => return Ok(done(&key, "swapped", true)),
        CasResult::Mismatch { current: Some(current) } => format!("key {} holds {}", escape(&key), shown(&current)),
        CasResult::Mismatch { current: None } => format!("there is no key {}", escape(&key)),
        CasResult::MismatchGone => format!("key {} holds something else", escape(&key)),
    };
    Err(Failure::new(Code::Precondition, message))
}

fn done(key: &[u8], what: &'static str, happened: bool) -> Answer {
    let (texts, enc) = encode_all(&[key]);
    let json = json!({ "key": texts[0], "enc": enc, what: happened });
    let word = if happened { what.to_owned() } else { format!("not {what}") };
    Answer::row(json, &["KEY", "RESULT"], vec![escape(key), word])
}

/// A value inside a sentence: enough of it to recognise.
fn shown(value: &[u8]) -> String {
    const BYTES_SHOWN: usize = 64;
    match value.get(..BYTES_SHOWN) {
        Some(start) => format!("{}... ({} bytes)", escape(start), value.len()),
        None => escape(value),
    }
}
