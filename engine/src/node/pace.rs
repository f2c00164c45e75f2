//! What a core does by the clock: ticks, looks at what grows slowly, and the time it takes to leave.

use super::core::Core;
use super::{journal_task, runtime};
use engine_core::shard::Event;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Between two looks at the number of segments and at connections, in ticks of the Raft clock.
pub const LOOK_TICKS: u32 = 10;

/// A tick that comes later than this is counted as a stall of the core.
const STALL: Duration = Duration::from_millis(100);

impl Core {
    /// Tells the shard its ticks, until the core stops.
    pub(super) async fn tick_loop(self: Rc<Self>) {
        let tick = self.facts.tick;
        let mut ticks: u32 = 0;
        while !self.is_stopping() {
            let due = Instant::now() + tick;
            runtime::sleep(tick).await;
            if due.elapsed() > STALL {
                self.state.borrow_mut().clients.counters.stalls += 1;
            }
            self.facts.health.beat(self.index);
            journal_task::watch_disk(&self);
            self.tick_snapshot();
            self.handle(Event::Tick);
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(LOOK_TICKS) {
                journal_task::keep_short(&self);
                self.state.borrow().clients.look();
            }
        }
    }

    /// Hands leadership over, within the time that settings give, and stops the core.
    pub(super) async fn drain(self: Rc<Self>) {
        let ticks_max = self.settings.node.drain_timeout.as_millis() / self.facts.tick.as_millis().max(1);
        self.handle(Event::Drain);
        for _ in 0..ticks_max {
            if self.state.borrow().shard.to_hand_over() == 0 {
                break;
            }
            runtime::sleep(self.facts.tick).await;
        }
        self.stopping.set(true);
        self.turn_bell.ring();
    }
}
