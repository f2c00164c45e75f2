//! `get`, `put`, `del` and `cas`: one key each.

use config::check::VALUE_BYTES_MAX;
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
    let found = if get.stale { client.get_stale(&key) } else { client.get(&key) };
    let Some(value) = found.map_err(|error| refused(error, &key, &[]))? else {
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
        match client.cas(&key, None, Some(&value)).map_err(|error| refused(error, &key, &[("value", &value)]))? {
            CasResult::Swapped => {}
            CasResult::Mismatch { .. } | CasResult::MismatchGone => {
                return Err(Failure::new(Code::Precondition, format!("key {} is there already", escape(&key))));
            }
        }
    } else {
        client.put_blind(&key, &value).map_err(|error| refused(error, &key, &[("value", &value)]))?;
    }
    Ok(done(&key, "written", true))
}

pub fn del(globals: &Globals, del: &Del) -> Result<Answer, Failure> {
    let key = key(&del.key, globals.encoding)?;
    let existed = match connect(globals)?.delete(&key) {
        Ok(old) => old.is_some(),
        // Only a value that was there is too large to be kept for a retry.
        Err(ClientError::ResultGone) => true,
        Err(error) => return Err(refused(error, &key, &[])),
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
    let answer = connect(globals)?.cas(&key, Some(&expect), Some(&set));
    let values = [("expected value", &expect[..]), ("new value", &set)];
    let message = match answer.map_err(|error| refused(error, &key, &values))? {
        CasResult::Swapped => return Ok(done(&key, "swapped", true)),
        CasResult::Mismatch { current: Some(current) } => format!("key {} holds {}", escape(&key), shown(&current)),
        CasResult::Mismatch { current: None } => format!("there is no key {}", escape(&key)),
        CasResult::MismatchGone => format!("key {} holds something else", escape(&key)),
    };
    Err(Failure::new(Code::Precondition, message))
}

/// What an error means for this key and these values: of a limit it says whose it is, as far as their lengths tell.
fn refused(error: ClientError, key: &[u8], values: &[(&str, &[u8])]) -> Failure {
    let ClientError::TooLarge { limit } = error else { return error.into() };
    let parts = || std::iter::once(("key", key)).chain(values.iter().copied());
    let over = parts().filter(|(_, bytes)| bytes.len() as u64 > limit);
    let over: Vec<String> = over.map(|(name, bytes)| format!("the {name} has {} bytes", bytes.len())).collect();
    Failure::error(match &over[..] {
        [one] if limit <= VALUE_BYTES_MAX => format!("too large: {one}, at most {limit} are taken"),
        [_, _, ..] if limit <= VALUE_BYTES_MAX => {
            format!("too large: {}; at least one of them is above its limit, {limit}", over.join(", "))
        }
        _ if values.is_empty() => return error.into(),
        // No single value may be as large as that: it is the limit of a whole request.
        _ => {
            let bytes: usize = parts().map(|(_, bytes)| bytes.len()).sum();
            format!(
                "too large: the request has {bytes} bytes of key and value, at most {limit} are taken; \
                 a value may have fewer (limits.value_bytes_max)"
            )
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_what_is_above_it_and_only_as_far_as_that_is_known() {
        let said = |key: usize, values: &[usize], limit: u64| {
            let (key, values): (_, Vec<Vec<u8>>) =
                (vec![0; key], values.iter().map(|length| vec![0; *length]).collect());
            let named: Vec<(&str, &[u8])> =
                ["value", "new value"].into_iter().zip(values.iter().map(Vec::as_slice)).collect();
            refused(ClientError::TooLarge { limit }, &key, &named).message
        };
        assert_eq!(said(4_097, &[1], 4_096), "too large: the key has 4097 bytes, at most 4096 are taken");
        assert_eq!(said(1, &[1_048_577], 1 << 20), "too large: the value has 1048577 bytes, at most 1048576 are taken");
        assert_eq!(said(1, &[9, 2_000], 1_000), "too large: the new value has 2000 bytes, at most 1000 are taken");
        let both = "too large: the key has 5000 bytes, the value has 6000 bytes; at least one of them is above its limit, 4096";
        assert_eq!(said(5_000, &[6_000], 4_096), both);
        for (values, bytes) in [(&[5_000_000][..], 5_000_001), (&[2_100_000, 2_100_000], 4_200_001)] {
            let together = said(1, values, 4 << 20);
            let start =
                format!("too large: the request has {bytes} bytes of key and value, at most 4194304 are taken; ");
            assert!(together.starts_with(&start) && together.ends_with("(limits.value_bytes_max)"), "{together}");
        }
    }
}
