//! The async client over streams in memory.

mod fake_node;

use engine_core::command::{ClientId, Operation};
use fake_node::{Line, State};
use futures_lite::{AsyncRead, AsyncWrite, future};
use net::client::shell::Shell;
use net::client::{Answer, ClientError, ClientOptions, Core, Request, Target};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

const ADDRESS: &str = "node:1";

/// A stream whose other end answers while it is written to; `gone` after so many writes.
struct Stream {
    state: Rc<RefCell<State>>,
    line: Line,
    answers: Vec<u8>,
    writes_left: usize,
    /// What was answered does not come yet.
    held: Rc<Cell<bool>>,
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.answers.is_empty() || self.held.get() {
            return if self.writes_left == 0 { Poll::Ready(Ok(0)) } else { Poll::Pending };
        }
        let count = buffer.len().min(self.answers.len());
        buffer[..count].copy_from_slice(&self.answers[..count]);
        self.answers.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.writes_left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.writes_left -= 1;
        let answers = this.line.feed(&mut this.state.borrow_mut(), bytes);
        // The last write is executed and its answer lost.
        if this.writes_left > 0 {
            this.answers.extend(answers);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn stream(state: &Rc<RefCell<State>>, held: &Rc<Cell<bool>>) -> Stream {
    let (state, held) = (state.clone(), held.clone());
    Stream { state, line: Line::new(), answers: vec![], writes_left: 1000, held }
}

fn core() -> Core {
    Core::new(&[ADDRESS.to_owned()], ClientOptions::default(), ClientId(3), 1)
}

fn put(number: u32) -> Request {
    Request::Write(Operation::Put { key: number.to_be_bytes().to_vec(), value: vec![1], return_old: false })
}

/// Sleeps by giving way until the time has come: the tests' only executor is `block_on`.
async fn sleep(duration: Duration) {
    let until = std::time::Instant::now() + duration;
    while std::time::Instant::now() < until {
        future::yield_now().await;
    }
}

#[test]
fn requests_are_answered_over_streams_that_break() {
    let state = Rc::new(RefCell::new(State::new(ADDRESS)));
    let opened = Rc::new(RefCell::new(0));
    let open = async |address: &str| {
        assert_eq!(address, ADDRESS);
        *opened.borrow_mut() += 1;
        Ok(Stream { state: state.clone(), line: Line::new(), answers: vec![], writes_left: 5, held: Rc::default() })
    };
    let mut shell = Shell::new(core(), open, sleep);
    future::block_on(async {
        for number in 0..20 {
            assert_eq!(shell.call(put(number), Duration::from_secs(5)).await, Ok(Answer::Done));
        }
        let get = Request::Get { key: 7u32.to_be_bytes().to_vec(), stale: false };
        assert_eq!(shell.call(get, Duration::from_secs(5)).await, Ok(Answer::Value(Some(vec![1]))));
        for number in 0..3 {
            shell.submit(put(number), Duration::from_secs(5));
        }
        for _ in 0..3 {
            assert_eq!(shell.next().await.unwrap().result, Ok(Answer::Done));
        }
        assert_eq!(shell.next().await, None);
    });
    drop(shell);
    assert!(*opened.borrow() > 3, "no stream broke");
    assert_eq!(state.borrow().writes, 23, "every write is executed exactly once");
}

#[test]
fn stream_that_is_given_is_used_before_any_is_opened() {
    let state = Rc::new(RefCell::new(State::new(ADDRESS)));
    let open = async |_: &str| Err::<Stream, _>(io::ErrorKind::ConnectionRefused.into());
    let mut shell = Shell::new(core(), open, sleep);
    shell.adopt(ADDRESS, stream(&state, &Rc::default()));
    let result = future::block_on(shell.call(put(1), Duration::from_secs(5)));
    assert_eq!(result, Ok(Answer::Done));
}

#[test]
fn answer_that_has_come_counts_however_late_it_is_looked_at() {
    let (state, held) = (Rc::new(RefCell::new(State::new(ADDRESS))), Rc::default());
    let open = async |_: &str| Ok(stream(&state, &held));
    let mut shell = Shell::new(core(), open, sleep);
    let status = || Request::Status(Target::Address(ADDRESS.to_owned()));
    let timeout = Duration::from_millis(500);
    future::block_on(async {
        assert!(shell.call(status(), timeout * 10).await.is_ok());
        held.set(true);
        shell.submit(status(), timeout);
        assert_eq!(future::poll_once(shell.next()).await, None, "it is sent");
        held.set(false);
        // The caller has something else to do until the deadline is over.
        sleep(timeout).await;
        assert!(shell.next().await.unwrap().result.is_ok());
    });
}

#[test]
fn stream_that_cannot_be_opened_is_an_error_within_the_timeout() {
    let open = async |_: &str| Err::<Stream, _>(io::ErrorKind::ConnectionRefused.into());
    let mut shell = Shell::new(core(), open, sleep);
    let result = future::block_on(shell.call(put(1), Duration::from_millis(50)));
    assert!(matches!(&result, Err(ClientError::NotApplied { why }) if why.contains("refused")), "{result:?}");
}
