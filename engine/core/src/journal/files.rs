//! The files of a journal that is opened. One is in memory at a time, or two, however many there are.

use super::SegmentId;
use super::error::RecoverError;
use super::header::Header;
use super::log::Position;
use super::record::{Raw, Record};
use super::scan::Segment;
use raft::entry::Entry;
use raft::payload::Payload;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Where [`super::recover`] reads from. Nothing may change while it does.
pub trait Files {
    /// The numbers of all segment files found, in any order.
    fn ids(&self) -> Vec<SegmentId>;

    /// The whole contents of one of them; asked for several times.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, id: SegmentId) -> io::Result<Cow<'_, [u8]>>;
}

/// Files that are in memory already.
impl Files for Vec<(SegmentId, Vec<u8>)> {
    fn ids(&self) -> Vec<SegmentId> {
        self.iter().map(|(id, _)| *id).collect()
    }

    fn read(&self, id: SegmentId) -> io::Result<Cow<'_, [u8]>> {
        let found = self.iter().find(|(other, _)| *other == id);
        found.map(|(_, bytes)| Cow::from(bytes)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The files, and what was seen in each.
pub(super) struct Segments<'a> {
    files: &'a dyn Files,
    seen: BTreeMap<SegmentId, Seen>,
}

/// What one file holds besides records.
pub(super) struct Seen {
    /// Every header that belongs to the file's present use: where, and what; ascending.
    pub headers: Vec<(u64, Header)>,
    /// Its length.
    pub bytes: u64,
}

impl<'a> Segments<'a> {
    /// Looks for headers in every file, and checks what the rest takes for granted of numbers and sizes.
    pub fn look(files: &'a dyn Files) -> Result<Segments<'a>, RecoverError> {
        let mut segments = Segments { files, seen: BTreeMap::new() };
        for id in files.ids() {
            let impossible = RecoverError::SegmentNumber(id);
            if id.0 == 0 || id.0 >= u64::from(u32::MAX) {
                return Err(impossible);
            }
            let bytes = segments.read(id)?;
            let length = bytes.len() as u64;
            if length > u64::from(u32::MAX) {
                return Err(impossible);
            }
            let headers = Segment::new(id, bytes)?.headers;
            if segments.seen.insert(id, Seen { headers, bytes: length }).is_some() {
                return Err(impossible);
            }
        }
        Ok(segments)
    }

    fn read(&self, id: SegmentId) -> Result<Cow<'a, [u8]>, RecoverError> {
        self.files.read(id).map_err(|error| RecoverError::Read { segment: id, why: error.to_string() })
    }

    /// One of them, if it is there.
    pub fn load(&self, id: SegmentId) -> Result<Option<Segment<'a>>, RecoverError> {
        let Some(seen) = self.seen.get(&id) else { return Ok(None) };
        Ok(Some(Segment { id, bytes: self.read(id)?, headers: seen.headers.clone() }))
    }

    /// What was seen, by ascending number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (SegmentId, &Seen)> {
        self.seen.iter().map(|(id, seen)| (*id, seen))
    }

    pub fn contains(&self, id: SegmentId) -> bool {
        self.seen.contains_key(&id)
    }

    /// The entries that were replayed from these places.
    pub fn entries(&self, places: impl Iterator<Item = Position>) -> Result<Entries, RecoverError> {
        let places: BTreeSet<(u32, u32)> = places.map(|position| (position.segment, position.offset)).collect();
        let (mut entries, mut loaded) = (BTreeMap::new(), None::<(u32, Cow<'_, [u8]>)>);
        for (segment, offset) in places {
            let id = SegmentId(u64::from(segment));
            let bytes = match &loaded {
                Some((number, bytes)) if *number == segment => bytes,
                _ => &loaded.insert((segment, self.read(id)?)).1,
            };
            let raw = bytes.get(offset as usize..).and_then(Raw::read);
            let Some(Record::Entry { kind, id: entry, payload, .. }) = raw.and_then(|raw| raw.parse().ok()) else {
                let why = "what was an entry in it is none any more".to_owned();
                return Err(RecoverError::Read { segment: id, why });
            };
            let entry = Entry { term: entry.term, index: entry.index, kind, payload: Payload::from(payload) };
            entries.insert((segment, offset), entry);
        }
        Ok(Entries(entries))
    }
}

/// Entries by where they lie.
pub(super) struct Entries(BTreeMap<(u32, u32), Entry>);

impl Entries {
    /// One that was asked for.
    pub fn at(&self, position: &Position) -> Entry {
        self.0[&(position.segment, position.offset)].clone()
    }
}
