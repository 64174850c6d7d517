//! Calls whose time is over.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::pending::Pending;
use super::{Call, CallResult, Cause, SessionEnd, Shared, let_go};

/// How often deadlines are looked at: an operation may overrun its own by this much.
const DEADLINE_CHECK: Duration = Duration::from_millis(25);

/// Why a call need not be sent any more, if so.
pub(super) fn useless<C: Call>(call: &C, now: Instant) -> Option<Cause> {
    if call.is_given_up() {
        Some(Cause::GivenUp)
    } else {
        (call.deadline() <= now).then_some(Cause::Deadline)
    }
}

/// Ends calls whose deadline has passed, sent or not, and takes out what nobody wants any more.
pub(super) async fn watch_deadlines<C: Call>(
    shared: &Shared<C>,
    pending: &Mutex<Pending<C>>,
) -> SessionEnd {
    let mut tick = tokio::time::interval(DEADLINE_CHECK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = tick.tick().await;
        let (over, closed) = {
            let mut queue = shared.queue.lock();
            let mut over = VecDeque::new();
            if queue.calls.iter().any(|call| useless(call, now).is_some()) {
                let calls = std::mem::take(&mut queue.calls);
                (over, queue.calls) = calls
                    .into_iter()
                    .partition(|call| useless(call, now).is_some());
            }
            (over, queue.closed.is_some())
        };
        shared.ended(over.iter(), false);
        for call in over {
            let cause = useless(&call, now).unwrap_or(Cause::Deadline);
            call.complete(CallResult::NotSent(cause));
        }
        let unanswered = {
            let mut pending = pending.lock();
            let shed = pending.shed();
            shared.queue.lock().open.bytes -= shed;
            pending.take_where(|call| call.deadline() <= now)
        };
        shared.ended(unanswered.iter(), true);
        for call in unanswered {
            call.complete(CallResult::Unanswered(Cause::Deadline));
        }
        if closed {
            let_go(shared, pending);
        }
    }
}
