//! The cluster map as stores keep it and snapshots carry it.

/// The map that group 0 holds beside the founding record, once a change of it was applied.
///
/// ```text
/// epoch u64 | map        little endian
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRecord {
    /// The epoch of the map.
    pub epoch: u64,
    /// The map, as [`crate::placement::map::ClusterMap::decode`] reads it.
    pub map: Vec<u8>,
}

impl MapRecord {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&self.epoch.to_le_bytes()[..], &self.map].concat()
    }

    /// The record with these bytes; `None` if they are too short for one.
    pub fn decode(bytes: &[u8]) -> Option<MapRecord> {
        let (epoch, map) = bytes.split_first_chunk()?;
        Some(MapRecord { epoch: u64::from_le_bytes(*epoch), map: map.to_vec() })
    }
}
