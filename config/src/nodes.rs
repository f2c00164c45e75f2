//! The list of nodes: `n1=127.0.0.1:7401,n2=127.0.0.1:7402`, or the same as an array of strings.

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serializer};
use std::fmt;

/// One node of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

/// The nodes in a comma-separated list; the error says which part is not `name=host:port`.
pub fn parse(list: &str) -> Result<Vec<NodeAddress>, String> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_one).collect()
}

fn parse_one(part: &str) -> Result<NodeAddress, String> {
    match part.split_once('=') {
        Some((name, address)) if !name.trim().is_empty() && !address.trim().is_empty() => {
            Ok(NodeAddress { name: name.trim().into(), address: address.trim().into() })
        }
        _ => Err(format!("{part:?} is not name=host:port")),
    }
}

/// Reads a list, written as one string or as an array of strings.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeAddress>, D::Error> {
    deserializer.deserialize_any(List)
}

/// Writes a list as an array of strings.
pub fn serialize<S: Serializer>(nodes: &[NodeAddress], serializer: S) -> Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_seq(Some(nodes.len()))?;
    for node in nodes {
        array.serialize_element(&node.to_string())?;
    }
    array.end()
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<NodeAddress>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of name=host:port")
    }

    fn visit_str<E: de::Error>(self, list: &str) -> Result<Self::Value, E> {
        parse(list).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(part) = array.next_element::<String>()? {
            nodes.push(parse_one(&part).map_err(de::Error::custom)?);
        }
        Ok(nodes)
    }
}
