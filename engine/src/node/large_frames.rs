//! Large frames that are half there: how many bytes a core may be waiting for at once.
//!
//! A small frame fits the buffer that every connection has. A larger one has its buffer grow, and whoever sends half of it and stops
//! holds that for as long as a frame may take. So room for the whole of it is taken before the buffer grows; who finds none waits in line,
//! reading no further, with no more than the first buffer. Who has room is sure of it until its frame is there or its time
//! is over, so the line moves on. Whose buffer has grown already, for the frame before, does not wait: its connection ends.

use std::collections::VecDeque;

/// The large frames of one core's clients, by the number of the connection.
#[derive(Debug, Default)]
pub struct LargeFrames {
    bytes: usize,
    bytes_max: usize,
    line: VecDeque<(u64, usize)>,
}

impl LargeFrames {
    /// None yet; at most `bytes_max` bytes of them, or one that is larger. A buffer may be twice as large as its frame.
    pub fn new(bytes_max: usize) -> LargeFrames {
        LargeFrames { bytes: 0, bytes_max, line: VecDeque::new() }
    }

    /// Whether there is room for a frame of `bytes` bytes. If not, its connection is in the line now.
    pub fn take(&mut self, connection: u64, bytes: usize) -> bool {
        let room = self.line.is_empty() && self.fits(bytes);
        match room {
            true => self.bytes += bytes,
            false => self.line.push_back((connection, bytes)),
        }
        room
    }

    /// Whether one that has room may have so many bytes more. It does not wait in line.
    pub fn take_more(&mut self, bytes: usize) -> bool {
        let room = self.line.is_empty() && self.fits(bytes);
        if room {
            self.bytes += bytes;
        }
        room
    }

    /// A frame of `bytes` bytes that had room is there, or will not come.
    pub fn give_back(&mut self, bytes: usize) {
        assert!(self.bytes >= bytes, "{bytes} bytes of {}", self.bytes);
        self.bytes -= bytes;
    }

    /// The next of the line that has room from now on, and for how many bytes.
    pub fn next(&mut self) -> Option<(u64, usize)> {
        let (connection, bytes) = *self.line.front().filter(|(_, bytes)| self.fits(*bytes))?;
        self.line.pop_front();
        self.bytes += bytes;
        Some((connection, bytes))
    }

    /// A connection is over: it waits no longer.
    pub fn leave(&mut self, connection: u64) {
        self.line.retain(|(waiting, _)| *waiting != connection);
    }

    fn fits(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_in_the_order_of_the_line() {
        let mut frames = LargeFrames::new(100);
        assert!(frames.take(1, 60));
        assert!(!frames.take(2, 50));
        assert!(!frames.take(3, 10), "nobody overtakes, or a large one would wait for ever");
        assert_eq!(frames.next(), None);
        frames.give_back(60);
        assert_eq!([frames.next(), frames.next(), frames.next()], [Some((2, 50)), Some((3, 10)), None]);
        assert!(frames.take(4, 40) && !frames.take(5, 1));
    }

    #[test]
    fn one_that_is_larger_than_all_may_be_has_room_alone() {
        let mut frames = LargeFrames::new(100);
        assert!(frames.take(1, 400));
        assert!(!frames.take(2, 300));
        frames.give_back(400);
        assert_eq!(frames.next(), Some((2, 300)));
    }

    #[test]
    fn who_has_room_gets_more_or_not_and_never_waits() {
        let mut frames = LargeFrames::new(100);
        assert!(frames.take(1, 50) && frames.take_more(30) && !frames.take_more(30));
        frames.give_back(80);
        assert_eq!(frames.next(), None);
        assert!(frames.take(2, 100), "nothing is left behind");
    }

    #[test]
    fn who_is_gone_keeps_nobody_waiting() {
        let mut frames = LargeFrames::new(100);
        assert!(frames.take(1, 100) && !frames.take(2, 200) && !frames.take(3, 1));
        frames.leave(2);
        frames.give_back(100);
        assert_eq!(frames.next(), Some((3, 1)));
    }
}
