//! One operation of a client, tried until it ends; what follows from each try is [decided elsewhere](super::life).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::asker::Asker;
use super::life::{Stop, Verdict, decide, stop};
use super::{Inner, OpResult};
use crate::connection::{Call, CallResult, Cause};
use crate::error::ClientError;
use crate::operation::Operation;

/// Who is told how it ended.
pub(super) type Completion = Box<dyn FnOnce(OpResult) + Send>;

/// An operation under way.
pub(super) struct Attempt {
    client: Arc<Inner>,
    asker: Arc<Asker>,
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
        asker: Arc<Asker>,
        completion: Completion,
    ) {
        client.counters.operations.fetch_add(1, Ordering::Relaxed);
        client.under_way.begin();
        Box::new(Self {
            client: Arc::clone(client),
            asker,
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
        if self.is_given_up() {
            return self.complete(CallResult::NotSent(Cause::GivenUp));
        }
        if let Err(error) = self.client.served(&self.operation.key) {
            let error = match self.doubtful {
                true => ClientError::OutcomeUnknown(format!(
                    "{error}; an earlier try may have been applied"
                )),
                false => error,
            };
            return self.end(Err(error));
        }
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
        self.client.under_way.end();
    }

    fn retry(mut self: Box<Self>, reason: String, limit: bool) {
        self.tries += 1;
        let pause = self.client.pause(self.tries);
        let over = Instant::now() + pause >= self.deadline;
        if over || self.client.is_closed() {
            let why = if over { Stop::Deadline } else { Stop::Closed };
            let error = stop(why, self.tries, self.doubtful, limit, &reason);
            return self.end(Err(error));
        }
        self.client.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.last = reason;
        let runtime = self.client.runtime.clone();
        runtime.spawn(async move {
            let ended = tokio::select! {
                () = tokio::time::sleep(pause) => None,
                () = self.client.until_closed() => Some(Cause::Closed),
                () = self.asker.given_up() => Some(Cause::GivenUp),
            };
            match ended {
                Some(cause) => self.complete(CallResult::NotSent(cause)),
                None => self.send(),
            }
        });
    }
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

    fn is_given_up(&self) -> bool {
        self.asker.has_given_up()
    }

    fn shed(&mut self) {
        self.operation.value = Bytes::new();
    }

    fn complete(mut self, ended: CallResult) {
        if let CallResult::Answered {
            hints: Some(hints), ..
        } = &ended
            && self.client.table.learn(hints, &self.operation.key)
        {
            self.client.counters.hints.fetch_add(1, Ordering::Relaxed);
        }
        let ended = if self.is_given_up() {
            CallResult::NotSent(Cause::GivenUp)
        } else {
            ended
        };
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
