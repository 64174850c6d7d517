//! The partition as a state machine: a command goes in, the state changes, and what is left to do comes out. Nothing is
//! read or written here, and nobody is called.

use std::sync::Arc;

use super::Partition;
use super::changes::{Changes, Entry, Owner, Readers, Requests};
use super::command::{Command, Source};
use super::hold::{Target, Verdict};
use super::journal::Journal;
use super::operation::Nanos;
use super::refused::Refused;
use super::state::{Fence, State};
use super::storage::Storage;
use super::stream::Stream;
use crate::epoch::sequence_before;
use crate::key::Bounds;
use crate::role::Role;

impl<S: Storage, J: Journal> Partition<S, J> {
    /// Takes one step. Each command may be repeated, and what is older than what is held is refused.
    ///
    /// # Errors
    /// Says what was wrong, and that nothing has changed but what is said with [`Command::Failed`] afterwards.
    pub(crate) fn apply(
        &mut self,
        command: Command<'_>,
        now: Nanos,
    ) -> Result<Changes<S>, Refused> {
        match command {
            Command::Serve {
                epoch,
                bounds,
                durable,
            } => self.serve(epoch, bounds, durable),
            Command::Follow {
                epoch,
                bounds,
                durable,
                source,
                size,
                generation,
            } => self.follow(epoch, bounds, durable, source, size, generation),
            Command::Fence { epoch, token } => self.raise_fence(epoch, token, now),
            Command::Unfence { epoch, token } => self.lift_fence(epoch, token, now),
            Command::AwaitApplied { epoch, sequence } => {
                self.refuse_older(epoch)?;
                Ok(Changes {
                    wait: self.is_to_apply(sequence),
                    ..Changes::default()
                })
            }
            Command::Promote {
                epoch,
                sequence,
                digest,
            } => self.promote(epoch, sequence, digest),
            Command::Proxy { epoch, to, address } => self.pass_on(epoch, to, address, now),
            Command::Release { epoch } => {
                self.refuse_older(epoch)?;
                match self.state {
                    State::Proxy { .. } => Ok(self.forget(epoch)),
                    _ => Err(self.wrong_role("only a proxy is released")),
                }
            }
            Command::Drop { epoch } => {
                self.refuse_older(epoch)?;
                match self.state {
                    State::Loading { .. } | State::Following { .. } => Ok(self.forget(epoch)),
                    _ => Err(self.wrong_role("only what loads or follows is dropped")),
                }
            }
            Command::Reshape { epoch } => {
                let fence = *self.refuse_all_but_primary(epoch)?;
                match fence {
                    None => Ok(Changes::default()),
                    Some(_) => Err(self.wrong_role("it is fenced for a move; unfence it first")),
                }
            }
            Command::Replaced { how } => Ok(self.disconnect(how)),
            Command::Lapse => Ok(self.lapse(now)),
            Command::Begin {
                bytes_to_send,
                size,
            } => self.begin_snapshot(bytes_to_send, size),
            Command::Loaded {
                sequence,
                rows,
                digest,
            } => self.end_snapshot(sequence, rows, digest),
            Command::Entries { first } => self.expect_entries(first),
            Command::Heard { sequence, fenced } => self.hear_source(sequence, fenced),
            Command::Failed { why } => Ok(self.fail(why)),
            Command::YieldRoom { why } => Ok(self.yield_room(why)),
        }
    }

    fn serve(&mut self, epoch: u64, bounds: &Bounds, durable: bool) -> Result<Changes<S>, Refused> {
        self.refuse_older(epoch)?;
        if !matches!(self.state, State::Primary { .. }) {
            return Err(self.wrong_role("promote it, or drop or release it first"));
        }
        self.refuse_other_bounds(bounds)?;
        self.refuse_other_durability(durable)?;
        if epoch == self.epoch {
            return Ok(Changes::default());
        }
        // Somebody else may have served the epochs between, so it goes on above all that they gave out; followers begin
        // anew.
        self.epoch = epoch;
        self.sequence = self.sequence.max(sequence_before(epoch));
        Ok(Changes {
            write: Some(Entry::Confirmed { epoch }),
            readers: Readers::Ended("confirmed in a later epoch: follow anew"),
            ..Changes::default()
        })
    }

    fn follow(
        &mut self,
        epoch: u64,
        bounds: &Bounds,
        durable: bool,
        source: Source<'_>,
        size: u64,
        generation: u64,
    ) -> Result<Changes<S>, Refused> {
        self.refuse_older(epoch)?;
        if matches!(self.state, State::Primary { .. } | State::Gone) {
            return Err(self.wrong_role("it has nothing to follow"));
        }
        self.refuse_other_bounds(bounds)?;
        self.refuse_other_durability(durable)?;
        let stream = self.state.stream();
        if epoch == self.epoch && stream.is_some_and(|stream| stream.is_from(source)) {
            return Ok(Changes::default());
        }
        self.share.promise(size).map_err(Refused::Limit)?;
        // Rows of the range that the old stream was loading are kept, whatever comes of them: digests tell.
        let _ = self.finish_range();
        self.count();
        let anew = durable && matches!(self.state, State::Proxy { .. });
        self.state = State::loading(Stream::new(generation, source));
        self.epoch = epoch;
        let write = if anew {
            // It has nothing left of what it was: on disk it begins anew.
            self.sequence = 0;
            Entry::Anew
        } else {
            self.turn()
        };
        Ok(Changes {
            write: Some(write),
            notify: true,
            start: true,
            ..Changes::default()
        })
    }

    fn raise_fence(&mut self, epoch: u64, token: u64, now: Nanos) -> Result<Changes<S>, Refused> {
        let highest = self.fence_token;
        let fence = self.refuse_all_but_primary(epoch)?;
        if token <= highest {
            let text = format!(
                "fence token {token} of partition {} is not above {highest}, which was granted already: look again",
                self.name
            );
            return Err(Refused::Stale(text));
        }
        let readers = match fence {
            Some(_) => Readers::Kept,
            None => {
                *fence = Some(Fence { since: now });
                Readers::Woken
            }
        };
        self.fence_token = token;
        Ok(Changes {
            readers,
            ..Changes::default()
        })
    }

    fn lift_fence(&mut self, epoch: u64, token: u64, now: Nanos) -> Result<Changes<S>, Refused> {
        let highest = self.fence_token;
        let fence = self.refuse_all_but_primary(epoch)?;
        if token == 0 {
            return Ok(Changes::default());
        }
        if fence.is_some() && token < highest {
            let text = format!(
                "fence {highest} of partition {} stands, which is later than {token}",
                self.name
            );
            return Err(Refused::Stale(text));
        }
        let lifted = fence.take();
        self.fence_token = highest.max(token);
        let Some(Fence { since }) = lifted else {
            return Ok(Changes::default());
        };
        self.last_pause = now.saturating_sub(since);
        Ok(Changes {
            requests: Requests::Run,
            readers: Readers::Woken,
            ..Changes::default()
        })
    }

    /// Whether it is on its way to apply `sequence`.
    pub(crate) fn is_to_apply(&self, sequence: u64) -> bool {
        match &self.state {
            State::Loading { stream, .. } => stream.runs(),
            State::Following { stream } => stream.runs() && self.sequence < sequence,
            _ => false,
        }
    }

    fn promote(&mut self, epoch: u64, sequence: u64, digest: u64) -> Result<Changes<S>, Refused> {
        self.refuse_older(epoch)?;
        match self.state {
            State::Primary { .. } if epoch == self.epoch => {
                return Ok(Changes {
                    publish: Some(Owner::Here),
                    ..Changes::default()
                });
            }
            State::Loading { .. } | State::Following { .. } => {}
            _ => return Err(self.wrong_role("only a follower can be promoted")),
        }
        if epoch == self.epoch {
            let text = format!(
                "epoch {epoch} is the one that partition {} follows its source in: promote it at a higher one",
                self.name
            );
            return Err(Refused::Stale(text));
        }
        let held_digest = self.tree.total().digest;
        let complete = matches!(self.state, State::Following { .. });
        if !complete || self.sequence != sequence || held_digest != digest {
            let text = format!(
                "partition {} is {} with {} applied and digest {held_digest:016x}, not yet {sequence} with {digest:016x}",
                self.name,
                self.role(),
                self.sequence
            );
            return Err(Refused::NotReady(text));
        }
        self.state = State::Primary { fence: None };
        self.epoch = epoch;
        self.share.end_promise();
        Ok(Changes {
            write: Some(self.turn()),
            requests: Requests::Run,
            notify: true,
            publish: Some(Owner::Here),
            ..Changes::default()
        })
    }

    fn pass_on(
        &mut self,
        epoch: u64,
        to: &str,
        address: &str,
        now: Nanos,
    ) -> Result<Changes<S>, Refused> {
        self.refuse_older(epoch)?;
        let last = match &self.state {
            State::Primary { .. } if epoch == self.epoch => {
                return Err(self.wrong_role("it becomes proxy at a higher epoch only"));
            }
            State::Primary { fence } => {
                if let Some(Fence { since }) = fence {
                    self.last_pause = now.saturating_sub(*since);
                }
                now
            }
            State::Proxy { last, .. } => *last,
            _ => return Err(self.wrong_role("only a primary becomes proxy")),
        };
        let (to, address) = (Arc::<str>::from(to), Arc::<str>::from(address));
        let target = Target {
            partition: Arc::clone(&self.name),
            bounds: Arc::clone(&self.bounds),
            epoch,
            worker: Arc::clone(&to),
            address: Arc::clone(&address),
        };
        let owner = Owner::Other(Arc::clone(&to));
        self.epoch = epoch;
        self.state = State::Proxy { to, address, last };
        let rows = self.take_rows();
        self.count();
        Ok(Changes {
            write: Some(self.turn()),
            readers: Readers::Ended("the partition has moved"),
            requests: Requests::Told(Verdict::Forward(target)),
            publish: Some(owner),
            rows: Some(rows),
            ..Changes::default()
        })
    }

    fn forget(&mut self, epoch: u64) -> Changes<S> {
        Changes {
            write: Some(Entry::Gone),
            forget: Some(epoch),
            ..self.disconnect("the partition is no longer held")
        }
    }

    /// Ends what it was to others: nobody finds it any more.
    fn disconnect(&mut self, how: &'static str) -> Changes<S> {
        self.state = State::Gone;
        self.share.set(0);
        self.share.end_promise();
        Changes {
            readers: Readers::Ended(how),
            requests: Requests::Told(Verdict::Retry),
            notify: true,
            rows: Some(self.take_rows()),
            ..Changes::default()
        }
    }

    fn lapse(&mut self, now: Nanos) -> Changes<S> {
        match &mut self.state {
            State::Primary {
                fence: fence @ None,
            } => {
                *fence = Some(Fence { since: now });
                self.fence_token += 1;
                Changes {
                    readers: Readers::Woken,
                    ..Changes::default()
                }
            }
            _ => Changes::default(),
        }
    }

    pub(super) fn take_rows(&mut self) -> S {
        let empty = S::empty(self.tree.key_length());
        std::mem::replace(&mut self.tree, empty)
    }

    /// How its role and epoch are written down.
    fn turn(&self) -> Entry {
        let (peer, address) = self.state.peer();
        Entry::Turn {
            role: self.role(),
            epoch: self.epoch,
            peer: peer.into(),
            address: address.into(),
        }
    }

    fn wrong_role(&self, what_to_do: &str) -> Refused {
        wrong_role(&self.name, self.role(), what_to_do)
    }

    /// Refuses an epoch older than the one held.
    fn refuse_older(&self, epoch: u64) -> Result<(), Refused> {
        if epoch >= self.epoch {
            return Ok(());
        }
        let text = format!(
            "partition {} is at epoch {} here; the action is of epoch {epoch}: look again",
            self.name, self.epoch
        );
        Err(Refused::Stale(text))
    }

    /// What a primary alone may be asked for, in the epoch it has: its fence.
    pub(crate) fn refuse_all_but_primary(
        &mut self,
        epoch: u64,
    ) -> Result<&mut Option<Fence>, Refused> {
        self.refuse_older(epoch)?;
        let role = self.role();
        match self.state {
            State::Primary { ref mut fence } if epoch == self.epoch => Ok(fence),
            State::Primary { .. } => {
                let text = format!(
                    "partition {} is at epoch {} here, not yet at {epoch}: have it serve at that epoch first",
                    self.name, self.epoch
                );
                Err(Refused::NotReady(text))
            }
            _ => Err(wrong_role(&self.name, role, "this takes a primary")),
        }
    }

    fn refuse_other_durability(&self, durable: bool) -> Result<(), Refused> {
        if self.journal.is_some() == durable {
            return Ok(());
        }
        let text = format!(
            "partition {} is {} here: the durability of a keyspace never changes",
            self.name,
            if durable {
                "in memory alone"
            } else {
                "written down"
            }
        );
        Err(Refused::Invalid(text))
    }

    fn refuse_other_bounds(&self, bounds: &Bounds) -> Result<(), Refused> {
        if *self.bounds == *bounds {
            return Ok(());
        }
        let text = format!(
            "partition {} covers {} here, not {bounds}: ranges never change",
            self.name, self.bounds
        );
        Err(Refused::Invalid(text))
    }
}

fn wrong_role(name: &str, role: Role, what_to_do: &str) -> Refused {
    Refused::WrongRole(format!("partition {name} is {role} here: {what_to_do}"))
}
