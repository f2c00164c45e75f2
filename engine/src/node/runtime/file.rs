//! A segment file of the journal, to read old entries back: past the page cache where the file system allows it.

use glommio::io::{BufferedFile, DmaFile, OpenOptions};
use std::io;
use std::path::Path;

/// An open segment.
#[derive(Debug)]
pub enum SegmentFile {
    /// Opened with O_DIRECT.
    Direct(DmaFile),
    /// Through the page cache.
    Buffered(BufferedFile),
}

impl SegmentFile {
    /// Opens an existing file for reading.
    pub async fn open(path: &Path, direct: bool) -> io::Result<SegmentFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        Ok(match direct {
            true => SegmentFile::Direct(options.dma_open(path).await?),
            false => SegmentFile::Buffered(options.buffered_open(path).await?),
        })
    }

    /// Reads exactly `length` bytes at `offset`.
    pub async fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = match self {
            SegmentFile::Direct(file) => file.read_at(offset, length).await?,
            SegmentFile::Buffered(file) => file.read_at(offset, length).await?,
        };
        whole(bytes.len(), length)?;
        Ok(bytes.to_vec())
    }
}

fn whole(done: usize, wanted: usize) -> io::Result<()> {
    match done == wanted {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{done} of {wanted} bytes"))),
    }
}
