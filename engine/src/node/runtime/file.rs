//! A segment file of the journal: written past the page cache where the file system allows it.

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
    /// Opens an existing file for reading and writing.
    pub async fn open(path: &Path, direct: bool) -> io::Result<SegmentFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(match direct {
            true => SegmentFile::Direct(options.dma_open(path).await?),
            false => SegmentFile::Buffered(options.buffered_open(path).await?),
        })
    }

    /// Writes `bytes` at `offset`, both multiples of the device's block, and makes them durable if `sync`.
    /// Returns the buffer for its next use. Any error is final: the caller stops the process (rule 12).
    pub async fn write(&self, bytes: Vec<u8>, offset: u64, sync: bool) -> io::Result<Vec<u8>> {
        match self {
            SegmentFile::Direct(file) => {
                let mut buffer = file.alloc_dma_buffer(bytes.len());
                buffer.as_bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
                let written = file.write_at(buffer, offset).await?;
                whole(written, bytes.len())?;
                if sync {
                    file.fdatasync().await?;
                }
                Ok(bytes)
            }
            SegmentFile::Buffered(file) => {
                let length = bytes.len();
                let written = file.write_at(bytes, offset).await?;
                whole(written, length)?;
                if sync {
                    file.fdatasync().await?;
                }
                Ok(Vec::new())
            }
        }
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

    /// Closes the file.
    pub async fn close(self) -> io::Result<()> {
        match self {
            SegmentFile::Direct(file) => file.close().await?,
            SegmentFile::Buffered(file) => file.close().await?,
        }
        Ok(())
    }
}

fn whole(done: usize, wanted: usize) -> io::Result<()> {
    match done == wanted {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{done} of {wanted} bytes"))),
    }
}
