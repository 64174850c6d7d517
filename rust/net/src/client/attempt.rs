//! One operation of a client, tried until it ends or its deadline passes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Inner, OpResult, Row};
use crate::connection::{Call, Cause, Ended};
use crate::error::ClientError;
use crate::operation::{Operation, Reply, Verb};
use crate::wire::Code;

/// Who is told how it ended.
pub(super) type Completion = Box<dyn FnOnce(OpResult) + Send>;

/// An operation under way.
pub(super) struct Attempt {
    client: Arc<Inner>,
    operation: Operation,
    deadline: Instant,
    /// The worker that is asked; none: any.
    meant: Option<Arc<str>>,
    tries: u32,
    /// Why the last try did not do it.
    last: String,
    /// An earlier try may have been applied.
    doubtful: bool,
    completion: Completion,
}

impl Attempt {
    pub(super) fn start(
        client: &Arc<Inner>,
        operation: Operation,
        deadline: Instant,
        completion: Completion,
    ) {
        client.counters.operations.fetch_add(1, Ordering::Relaxed);
        let client = Arc::clone(client);
        Box::new(Self {
            client,
            operation,
            deadline,
            meant: None,
            tries: 0,
            last: String::new(),
            doubtful: false,
            completion,
        })
        .send();
    }

    fn send(mut self: Box<Self>) {
        let (address, meant) = self.client.address_for(&self.operation.key, self.tries);
        self.meant = meant;
        let connection = self.client.peers.connection(&address);
        connection.submit(self);
    }

    fn end(self, result: OpResult) {
        if matches!(result, Err(ClientError::OutcomeUnknown(_))) {
            self.client
                .counters
                .outcome_unknown
                .fetch_add(1, Ordering::Relaxed);
        }
        (self.completion)(result);
    }

    fn retry(mut self: Box<Self>, reason: String, limit: bool) {
        self.tries += 1;
        let pause = self.client.pause(self.tries);
        let over = Instant::now() + pause >= self.deadline;
        if over || self.client.is_closed() {
            let tries = self.tries;
            let why = if over {
                "the deadline passed"
            } else {
                "the client was closed"
            };
            let text = format!(
                "{why} after {tries} {}; the last said: {reason}",
                plural(tries)
            );
            let error = match (self.doubtful, limit, over) {
                (true, ..) => ClientError::OutcomeUnknown(format!(
                    "{text}; an earlier try may have been applied"
                )),
                (false, true, _) => ClientError::LimitReached(text),
                (false, false, true) => ClientError::DeadlineExceeded(text),
                (false, false, false) => ClientError::Unavailable(text),
            };
            return self.end(Err(error));
        }
        self.client.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.last = reason;
        let runtime = self.client.runtime.clone();
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            self.send();
        });
    }
}

fn plural(tries: u32) -> &'static str {
    if tries == 1 { "try" } else { "tries" }
}

impl Call for Box<Attempt> {
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn keyspace(&self) -> &Arc<str> {
        &self.client.keyspace
    }

    fn meant(&self) -> Option<&Arc<str>> {
        self.meant.as_ref()
    }

    fn hops(&self) -> u32 {
        0
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn complete(mut self, ended: Ended) {
        if let Ended::Answered {
            hints: Some(hints), ..
        } = &ended
            && self.client.table.learn(hints, &self.operation.key)
        {
            self.client.counters.hints.fetch_add(1, Ordering::Relaxed);
        }
        match decide(&self.operation, self.doubtful, ended) {
            Verdict::End(Err(ClientError::DeadlineExceeded(text))) if !self.last.is_empty() => {
                let text = format!("{text}; the last said: {}", self.last);
                self.end(Err(ClientError::DeadlineExceeded(text)));
            }
            Verdict::End(result) => self.end(result),
            Verdict::Retry {
                reason,
                doubtful,
                limit,
            } => {
                self.doubtful |= doubtful;
                self.retry(reason, limit);
            }
        }
    }
}

/// How an operation goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
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
fn decide(operation: &Operation, doubtful: bool, ended: Ended) -> Verdict {
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
        Ended::Answered { reply, .. } => match reply.code {
            Code::Unavailable | Code::UnknownKeyspace => retry(reply.message.into()),
            Code::Limit => Verdict::Retry {
                reason: reply.message.into(),
                doubtful: false,
                limit: true,
            },
            Code::OutcomeUnknown => unknown(reply.message.into()),
            _ => Verdict::End(result(operation, doubtful, reply)),
        },
        Ended::NotSent(Cause::Broken(reason) | Cause::Stranger(reason)) => {
            retry(reason.to_string())
        }
        Ended::NotSent(cause @ (Cause::Full(_) | Cause::FullBytes(_))) => {
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
        Ended::Unanswered(Cause::Broken(reason)) => unknown(reason.to_string()),
        Ended::Unanswered(_) if operation.verb != Verb::Get => {
            let text = "the deadline passed after the write was sent and before it was answered";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        Ended::NotSent(Cause::Deadline) if doubtful => {
            let text = "the deadline passed; an earlier try may have been applied";
            Verdict::End(Err(ClientError::OutcomeUnknown(text.into())))
        }
        Ended::NotSent(Cause::Deadline) | Ended::Unanswered(_) => Verdict::End(Err(
            ClientError::DeadlineExceeded("the deadline passed before there was an answer".into()),
        )),
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

    fn answered(code: Code, version: u64) -> Ended {
        let value = (code == Code::Ok).then(Bytes::new);
        Ended::Answered {
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
    fn verdict(operation: &Operation, doubtful: bool, ended: Ended) -> &'static str {
        match decide(operation, doubtful, ended) {
            Verdict::Retry { doubtful: true, .. } => "retry?",
            Verdict::Retry { limit: true, .. } => "retry!",
            Verdict::Retry { .. } => "retry",
            Verdict::End(Ok(Some(_))) => "row",
            Verdict::End(Ok(None)) => "none",
            Verdict::End(Err(ClientError::OutcomeUnknown(_))) => "unknown",
            Verdict::End(Err(ClientError::VersionMismatch { .. })) => "mismatch",
            Verdict::End(Err(ClientError::DeadlineExceeded(_))) => "late",
            Verdict::End(Err(_)) => "wrong",
        }
    }

    #[test]
    fn what_follows_from_how_a_try_ended() {
        type Case = (fn() -> Ended, [&'static str; 3]);
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
            (|| Ended::NotSent(broken()), ["retry", "retry", "retry"]),
            (
                || Ended::NotSent(Cause::FullBytes(1)),
                ["retry!", "retry!", "retry!"],
            ),
            (
                || Ended::NotSent(Cause::Full(1)),
                ["retry!", "retry!", "retry!"],
            ),
            (|| Ended::NotSent(Cause::Deadline), ["late", "late", "late"]),
            (
                || Ended::Unanswered(broken()),
                ["retry", "unknown", "retry?"],
            ),
            (
                || Ended::Unanswered(Cause::Deadline),
                ["late", "unknown", "unknown"],
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
            verdict(&put_if(), true, Ended::NotSent(Cause::Deadline)),
            "unknown"
        );
        assert_eq!(verdict(&put_if(), true, answered(Code::Ok, 9)), "row");
    }
}
