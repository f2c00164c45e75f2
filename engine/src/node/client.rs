//! The connection of one client: what it has in flight, and what waits for it.

use super::held::Held;
use super::in_flight::InFlight;
use super::owed::Share;
use super::runtime::socket::Socket;
use std::cell::Cell;
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Client {
    /// Where its answers go.
    pub socket: Socket,
    /// Its requests that are not answered.
    pub in_flight: InFlight,
    /// It is among those whose answers leave at the end of the turn.
    pub touched: Cell<bool>,
    /// Its answers since the last send.
    pub held: Held,
    /// What it is counted for among those that are owed something.
    pub owed: Share,
    /// Its reader waits for room.
    pub starved: Cell<bool>,
    /// Since when a frame has been half there.
    pub half_since: Cell<Option<Instant>>,
    /// Bytes of a large frame that there is room for; 0: none is half there.
    pub large: Cell<usize>,
    /// Its requests for other cores are handed on.
    pub forward: bool,
    /// It is on this machine.
    pub local: bool,
    /// Bytes of requests in flight, and of answers that wait for it, before its requests are read no further.
    pub bytes_max: usize,
}

impl Client {
    /// One that has asked for nothing yet.
    pub fn new(socket: Socket, forward: bool, local: bool, bytes_max: usize) -> Client {
        Client {
            socket,
            in_flight: InFlight::default(),
            touched: Cell::new(false),
            held: Held::default(),
            owed: Share::default(),
            starved: Cell::new(false),
            half_since: Cell::new(None),
            large: Cell::new(0),
            forward,
            local,
            bytes_max,
        }
    }

    /// Whether another request may be read: little enough is in flight, and the client reads its answers.
    pub fn has_room(&self) -> bool {
        self.in_flight.has_room(self.bytes_max) && self.socket.queued() < self.bytes_max
    }

    /// Bytes of answers that wait for it; none will be sent when the connection is over.
    pub fn is_owed(&self) -> usize {
        if self.socket.is_closed() { 0 } else { self.socket.queued() }
    }

    /// Sends its answers.
    pub fn send(&self) {
        self.touched.set(false);
        self.held.sent();
        self.socket.flush();
        if self.starved.get() {
            self.socket.room().ring();
        }
    }
}
