//! The async client: the core over any async streams, for any executor.
//!
//! The executor's parts are given: a function that opens a stream to a `host:port`, and one that sleeps. Nothing is
//! spawned: everything happens while [`Shell::call`] or [`Shell::next`] is awaited, and a dropped future loses nothing
//! but the time (the request stays submitted, its completion comes from [`Shell::next`]). Streams are opened one after the
//! other. A stream that has been opened already can be given to [`Shell::adopt`] instead of having it opened.

use super::connection::{ConnectionId, Effect};
use super::core::Core;
use super::error::ClientError;
use super::request::{Answer, Completion, Request, RequestId};
use futures_lite::{AsyncRead, AsyncWrite, FutureExt, future};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Who has not looked at the network for so long looks before it believes that time has run out.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// A client over streams of type `S`, opened by `Open`, with pauses made by `Sleep`. One task at a time.
#[derive(Debug)]
pub struct Shell<S, Open, Sleep> {
    core: Core,
    open: Open,
    sleep: Sleep,
    streams: BTreeMap<ConnectionId, S>,
    /// Streams that are open already, by address.
    adopted: Vec<(String, S)>,
    opening: VecDeque<(ConnectionId, String)>,
    completions: VecDeque<Completion>,
    started: Instant,
    /// When the network was looked at last.
    looked_at: Duration,
}

impl<S, Open, Sleep> Shell<S, Open, Sleep>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Open: AsyncFnMut(&str) -> io::Result<S>,
    Sleep: AsyncFn(Duration),
{
    /// A shell around `core`. `open` connects to a `host:port`; `sleep` waits so long.
    pub fn new(core: Core, open: Open, sleep: Sleep) -> Shell<S, Open, Sleep> {
        Shell {
            core,
            open,
            sleep,
            streams: BTreeMap::new(),
            adopted: Vec::new(),
            opening: VecDeque::new(),
            completions: VecDeque::new(),
            started: Instant::now(),
            looked_at: Duration::ZERO,
        }
    }

    /// Uses `stream`, connected to `address`, for the next connection that is wanted to there.
    pub fn adopt(&mut self, address: &str, stream: S) {
        self.adopted.push((address.to_owned(), stream));
    }

    /// Starts a request. It moves while [`Shell::next`] or [`Shell::call`] is awaited.
    pub fn submit(&mut self, request: Request, timeout: Duration) -> RequestId {
        self.core.submit(request, timeout, self.started.elapsed())
    }

    /// One request from beginning to end; completions of others are kept for [`Shell::next`].
    pub async fn call(&mut self, request: Request, timeout: Duration) -> Result<Answer, ClientError> {
        let id = self.submit(request, timeout);
        loop {
            if let Some(position) = self.completions.iter().position(|completion| completion.id == id)
                && let Some(completion) = self.completions.remove(position)
            {
                return completion.result;
            }
            self.turn().await;
        }
    }

    /// The next completion; `None` if nothing is in flight.
    pub async fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.completions.pop_front() {
                return Some(completion);
            }
            if self.core.in_flight() == 0 {
                return None;
            }
            self.turn().await;
        }
    }

    /// Moves everything on once, waiting for the network or the clock if there is nothing to do.
    async fn turn(&mut self) {
        if self.started.elapsed().saturating_sub(self.looked_at) >= LOOK_AFTER {
            // Nobody awaited this for a while: answers may lie there.
            let (core, streams, started) = (&mut self.core, &mut self.streams, self.started);
            future::poll_once(future::poll_fn(|context| move_bytes(core, streams, started, context))).await;
            self.looked_at = self.started.elapsed();
        }
        self.core.tick(self.started.elapsed());
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Connect { connection, address, .. } => self.opening.push_back((connection, address)),
                Effect::Close { connection } => {
                    self.streams.remove(&connection);
                    self.opening.retain(|(id, _)| *id != connection);
                }
            }
        }
        self.open_next().await;
        self.collect();
        if !self.completions.is_empty() || !self.opening.is_empty() {
            return;
        }
        let wait = self.core.next_wakeup().map(|wakeup| wakeup.saturating_sub(self.started.elapsed()));
        let (core, streams, started) = (&mut self.core, &mut self.streams, self.started);
        let network = future::poll_fn(|context| move_bytes(core, streams, started, context));
        let sleep = &self.sleep;
        let clock = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => future::pending().await,
            }
        };
        network.or(clock).await;
        self.looked_at = self.started.elapsed();
        self.core.tick(self.looked_at);
        self.collect();
    }

    /// Opens the next stream that is wanted, as long as the core allows a connection to take.
    async fn open_next(&mut self) {
        let Some((connection, address)) = self.opening.pop_front() else { return };
        let opened = match self.adopted.iter().position(|(of, _)| *of == address) {
            Some(position) => Ok(self.adopted.swap_remove(position).1),
            None => {
                let limit = self.core.connect_timeout();
                let (open, sleep) = (&mut self.open, &self.sleep);
                let late = async {
                    sleep(limit).await;
                    Err(io::Error::from(io::ErrorKind::TimedOut))
                };
                open(&address).or(late).await
            }
        };
        let now = self.started.elapsed();
        match opened {
            Ok(stream) => {
                self.streams.insert(connection, stream);
                self.core.connected(connection, now);
            }
            Err(error) => self.core.lost(connection, &format!("{address}: {error}"), now),
        }
    }

    fn collect(&mut self) {
        while let Some(completion) = self.core.next_completion() {
            self.completions.push_back(completion);
        }
    }
}

/// Sends and receives on every stream as far as it goes without waiting. Ready as soon as anything has moved in.
fn move_bytes<S: AsyncRead + AsyncWrite + Unpin>(
    core: &mut Core,
    streams: &mut BTreeMap<ConnectionId, S>,
    started: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    let mut moved = false;
    streams.retain(|connection, stream| {
        let kept = send(core, *connection, stream, context)
            .and_then(|()| receive(core, *connection, stream, started, context, &mut moved));
        match kept {
            Ok(()) => true,
            Err(error) => {
                core.lost(*connection, &error.to_string(), started.elapsed());
                moved = true;
                false
            }
        }
    });
    if moved { Poll::Ready(()) } else { Poll::Pending }
}

fn send<S: AsyncWrite + Unpin>(
    core: &mut Core,
    connection: ConnectionId,
    stream: &mut S,
    context: &mut Context<'_>,
) -> io::Result<()> {
    while !core.output(connection).is_empty() {
        match Pin::new(&mut *stream).poll_write(context, core.output(connection)) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => core.sent(connection, count),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
    }
    match Pin::new(stream).poll_flush(context) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    }
}

fn receive<S: AsyncRead + Unpin>(
    core: &mut Core,
    connection: ConnectionId,
    stream: &mut S,
    started: Instant,
    context: &mut Context<'_>,
    moved: &mut bool,
) -> io::Result<()> {
    // A connection the core gave up in this very turn: its Close is on the way.
    while let Some(spare) = core.spare(connection) {
        match Pin::new(&mut *stream).poll_read(context, spare) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(count)) => {
                core.received(connection, count, started.elapsed());
                *moved = true;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
    }
    Ok(())
}
