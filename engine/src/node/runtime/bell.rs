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
