//! The life of a call: what it can be, what comes after that, and with which error it ends.
//!
//! ```text
//!  asked for
//!     │
//!     ▼         taken from the queue                answered
//!  ┌────────┐ ──────────────────────────▶ ┌──────┐ ──────────▶ its result, if that is final
//!  │ queued │                             │ sent │
//!  └────────┘ ◀────────────────────────── └──────┘
//!     │         after a pause: not applied,   │
//!     │         or it may be repeated         │
//!     ├ deadline  DeadlineExceeded            ├ deadline  OutcomeUnknown; a read: DeadlineExceeded
//!     ├ closed    Unavailable: not sent       ├ closed    its answer, if that comes within `close_seconds`;
//!     │                                       │           else OutcomeUnknown; a read: Unavailable
//!     ├ broken    queued again                ├ broken    OutcomeUnknown; queued again what may be repeated
//!     └ given up  leaves; nobody is told      └ given up  frees its value, and leaves with its answer or at its
//!                                                         deadline; nobody is told
//! ```
//!
//! A call that waits between two tries is queued. Where a try may have been applied (a write that names the version it
//! replaces, and so may be repeated), every end but an answer that proves otherwise is OutcomeUnknown. Each call ends
//! exactly once. [`decide`] and [`stop`] are all of this; [`Attempt`](super::attempt::Attempt) does what they say.

use super::{OpResult, Row};
use crate::connection::{CallResult, Cause};
use crate::error::ClientError;
use crate::operation::{Operation, Reply, Verb};
use crate::wire::Code;

/// How an operation goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    End(OpResult),
    Retry {
        reason: String,
        /// This try may have been applied.
        doubtful: bool,
        /// A bound was reached.
        limit: bool,
    },
}

/// What to do now that a try has `ended`; `doubtful` when an earlier one may have been applied.
///
/// A write without a condition is never repeated unless it is certain that it was not applied.
pub(super) fn decide(operation: &Operation, doubtful: bool, ended: CallResult) -> Verdict {
    let retry = |reason: String| Verdict::Retry {
        reason,
        doubtful: false,
        limit: false,
    };
    let unknown = |reason: String| match operation.verb {
        Verb::Get => retry(reason),
        _ if operation.is_repeatable() => Verdict::Retry {
            reason,
            doubtful: true,
            limit: false,
        },
        _ => Verdict::End(Err(ClientError::OutcomeUnknown(reason))),
    };
    match ended {
        CallResult::Answered { reply, .. } => match reply.code {
            Code::Unavailable | Code::UnknownKeyspace => retry(reply.message.into()),
            Code::Limit => Verdict::Retry {
                reason: reply.message.into(),
                doubtful: false,
                limit: true,
            },
            Code::OutcomeUnknown => unknown(reply.message.into()),
            _ => Verdict::End(result(operation, doubtful, reply)),
        },
        CallResult::NotSent(Cause::Broken(reason) | Cause::Stranger(reason)) => {
            retry(reason.to_string())
        }
        CallResult::NotSent(cause @ (Cause::Full(_) | Cause::FullBytes(_))) => {
            let reason = match cause {
                Cause::FullBytes(most) => {
                    format!("{most} bytes are open on one connection already (open_bytes)")
                }
                _ => "as many operations are open on one connection as may be (open_operations)"
                    .to_owned(),
            };
            Verdict::Retry {
                reason,
                doubtful: false,
                limit: true,
            }
        }
        CallResult::Unanswered(Cause::Broken(reason)) => unknown(reason.to_string()),
        CallResult::NotSent(Cause::GivenUp) | CallResult::Unanswered(Cause::GivenUp) => {
            Verdict::End(Err(ClientError::Unavailable(
                "the call was given up".into(),
            )))
        }
        CallResult::NotSent(Cause::Closed) if doubtful => {
            let text = "the client was closed; an earlier try may have been applied";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        CallResult::NotSent(Cause::Closed) => Verdict::End(Err(ClientError::Unavailable(
            "the client was closed; this was not sent".into(),
        ))),
        CallResult::Unanswered(Cause::Closed) if operation.verb == Verb::Get => {
            let text = "the client was closed before there was an answer";
            Verdict::End(Err(ClientError::Unavailable(text.into())))
        }
        CallResult::Unanswered(Cause::Closed) => {
            let text = "the client was closed after the write was sent and before it was answered";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        CallResult::Unanswered(_) if operation.verb != Verb::Get => {
            let text = "the deadline passed after the write was sent and before it was answered";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        CallResult::NotSent(Cause::Deadline) if doubtful => {
            let text = "the deadline passed; an earlier try may have been applied";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        CallResult::NotSent(Cause::Deadline) | CallResult::Unanswered(_) => Verdict::End(Err(
            ClientError::DeadlineExceeded("the deadline passed before there was an answer".into()),
        )),
    }
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Deadline,
    Closed,
}

/// What a call that would be tried again ends with instead, after so many `tries`, the last of which ended for `reason`;
/// `doubtful` when one of them may have been applied, `limit` when the last one met a bound.
pub(super) fn stop(
    why: Stop,
    tries: u32,
    doubtful: bool,
    limit: bool,
    reason: &str,
) -> ClientError {
    let said = match why {
        Stop::Deadline => "the deadline passed",
        Stop::Closed => "the client was closed",
    };
    let plural = if tries == 1 { "try" } else { "tries" };
    let text = format!("{said} after {tries} {plural}; the last said: {reason}");
    match (doubtful, limit, why) {
        (true, ..) => {
            ClientError::OutcomeUnknown(format!("{text}; an earlier try may have been applied"))
        }
        (false, true, _) => ClientError::LimitReached(text),
        (false, false, Stop::Deadline) => ClientError::DeadlineExceeded(text),
        (false, false, Stop::Closed) => ClientError::Unavailable(text),
    }
}

fn result(operation: &Operation, doubtful: bool, reply: Reply) -> OpResult {
    let text = |fallback: &str| {
        if reply.message.is_empty() {
            fallback.into()
        } else {
            reply.message.to_string()
        }
    };
    match reply.code {
        Code::Ok => Ok(Some(Row {
            value: reply.value.unwrap_or_default(),
            version: reply.version,
        })),
        Code::VersionMismatch | Code::NoRow if doubtful && operation.verb != Verb::Get => {
            Err(ClientError::OutcomeUnknown(format!(
                "the condition does not hold (the row has version {}), which may be the work of an earlier try whose \
                 answer was lost",
                reply.version,
            )))
        }
        Code::NoRow => Ok(None),
        Code::VersionMismatch => Err(ClientError::VersionMismatch {
            message: text(&match reply.version {
                0 => "there is no row under the key".to_owned(),
                version => format!("the row has version {version}"),
            }),
            current_version: reply.version,
        }),
        Code::TooLarge => Err(ClientError::TooLarge(text("the value is too large"))),
        _ => Err(ClientError::Invalid(text(
            "the worker says that the operation is wrong",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::operation::Condition;

    fn get() -> Operation {
        Operation::get(&b"k"[..])
    }

    fn put() -> Operation {
        Operation::put(&b"k"[..], &b"v"[..], Condition::NONE)
    }

    fn put_if() -> Operation {
        Operation::put(&b"k"[..], &b"v"[..], Condition::version(7))
    }

    fn answered(code: Code, version: u64) -> CallResult {
        let value = (code == Code::Ok).then(Bytes::new);
        CallResult::Answered {
            reply: Reply {
                code,
                version,
                value,
                message: "".into(),
            },
            hints: None,
        }
    }

    fn broken() -> Cause {
        Cause::Broken("cut".into())
    }

    /// `retry`, `retry?` when it may have been applied, `retry!` at a limit, or the name of the error.
    fn verdict(operation: &Operation, doubtful: bool, ended: CallResult) -> &'static str {
        match decide(operation, doubtful, ended) {
            Verdict::Retry { doubtful: true, .. } => "retry?",
            Verdict::Retry { limit: true, .. } => "retry!",
            Verdict::Retry { .. } => "retry",
            Verdict::End(Ok(Some(_))) => "row",
            Verdict::End(Ok(None)) => "none",
            Verdict::End(Err(ClientError::OutcomeUnknown(_))) => "unknown",
            Verdict::End(Err(ClientError::VersionMismatch { .. })) => "mismatch",
            Verdict::End(Err(ClientError::DeadlineExceeded(_))) => "late",
            Verdict::End(Err(ClientError::Unavailable(_))) => "not done",
            Verdict::End(Err(_)) => "wrong",
        }
    }

    #[test]
    fn what_follows_from_how_a_try_ended() {
        type Case = (fn() -> CallResult, [&'static str; 3]);
        let table: &[Case] = &[
            //                                               get      put        put with condition
            (|| answered(Code::Ok, 1), ["row", "row", "row"]),
            (|| answered(Code::NoRow, 0), ["none", "none", "none"]),
            (
                || answered(Code::VersionMismatch, 9),
                ["mismatch", "mismatch", "mismatch"],
            ),
            (
                || answered(Code::Unavailable, 0),
                ["retry", "retry", "retry"],
            ),
            (
                || answered(Code::UnknownKeyspace, 0),
                ["retry", "retry", "retry"],
            ),
            (|| answered(Code::Limit, 0), ["retry!", "retry!", "retry!"]),
            (
                || answered(Code::OutcomeUnknown, 0),
                ["retry", "unknown", "retry?"],
            ),
            (|| answered(Code::Invalid, 0), ["wrong", "wrong", "wrong"]),
            (|| answered(Code::TooLarge, 0), ["wrong", "wrong", "wrong"]),
            (
                || CallResult::NotSent(broken()),
                ["retry", "retry", "retry"],
            ),
            (
                || CallResult::NotSent(Cause::FullBytes(1)),
                ["retry!", "retry!", "retry!"],
            ),
            (
                || CallResult::NotSent(Cause::Full(1)),
                ["retry!", "retry!", "retry!"],
            ),
            (
                || CallResult::NotSent(Cause::Deadline),
                ["late", "late", "late"],
            ),
            (
                || CallResult::Unanswered(broken()),
                ["retry", "unknown", "retry?"],
            ),
            (
                || CallResult::Unanswered(Cause::Deadline),
                ["late", "unknown", "unknown"],
            ),
            (
                || CallResult::NotSent(Cause::Closed),
                ["not done", "not done", "not done"],
            ),
            (
                || CallResult::Unanswered(Cause::Closed),
                ["not done", "unknown", "unknown"],
            ),
            (
                || CallResult::NotSent(Cause::GivenUp),
                ["not done", "not done", "not done"],
            ),
        ];
        for (ended, expected) in table {
            let found =
                [get(), put(), put_if()].map(|operation| verdict(&operation, false, ended()));
            assert_eq!(found, *expected, "{:?}", ended());
        }
    }

    #[test]
    fn after_a_doubtful_try_a_condition_that_fails_proves_nothing() {
        assert_eq!(
            verdict(&put_if(), true, answered(Code::VersionMismatch, 9)),
            "unknown"
        );
        let delete_if = Operation::delete(&b"k"[..], Condition::version(7));
        assert_eq!(
            verdict(&delete_if, true, answered(Code::NoRow, 0)),
            "unknown"
        );
        assert_eq!(
            verdict(&put_if(), true, CallResult::NotSent(Cause::Deadline)),
            "unknown"
        );
        assert_eq!(
            verdict(&put_if(), true, CallResult::NotSent(Cause::Closed)),
            "unknown"
        );
        assert_eq!(verdict(&put_if(), true, answered(Code::Ok, 9)), "row");
    }

    #[test]
    fn what_is_not_tried_again_ends_with_what_is_certain() {
        let said = |why, doubtful, limit| stop(why, 1, doubtful, limit, "busy");
        for why in [Stop::Deadline, Stop::Closed] {
            for limit in [true, false] {
                let error = said(why, true, limit);
                assert!(matches!(error, ClientError::OutcomeUnknown(_)), "{error}");
            }
            let error = said(why, false, true);
            assert!(matches!(error, ClientError::LimitReached(_)), "{error}");
        }
        let text = "after 1 try; the last said: busy";
        assert_eq!(
            said(Stop::Deadline, false, false),
            ClientError::DeadlineExceeded(format!("the deadline passed {text}"))
        );
        assert_eq!(
            said(Stop::Closed, false, false),
            ClientError::Unavailable(format!("the client was closed {text}"))
        );
    }
}
