//! A bell one task waits on and any task of the core rings. Ringing is cheap and a rung bell stays rung.

use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One value that one task of the core waits for and any other gives.
#[derive(Debug)]
pub struct Slot<T> {
    value: RefCell<Option<T>>,
    bell: Bell,
}

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot { value: RefCell::new(None), bell: Bell::default() }
    }
}

impl<T> Slot<T> {
    /// Gives the value to the task that waits for it, or will.
    pub fn give(&self, value: T) {
        *self.value.borrow_mut() = Some(value);
        self.bell.ring();
    }

    /// Waits for the value.
    pub async fn wait(&self) -> T {
        loop {
            if let Some(value) = self.value.take() {
                return value;
            }
            self.bell.wait().await;
        }
    }
}

impl Bell {
    /// Wakes the waiting task, now or when it comes to wait.
    pub fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits until the bell has been rung since the last wait.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for the bell, but no longer than `timeout`; whether it was rung.
    pub async fn wait_for(&self, timeout: Duration) -> bool {
        future::or(
            async {
                self.wait().await;
                true
            },
            async {
                super::sleep(timeout).await;
                false
            },
        )
        .await
    }
}
