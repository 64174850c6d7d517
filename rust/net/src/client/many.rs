//! Many operations with one completion, so many at a time.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::asker::Asker;
use super::attempt::Attempt;
use super::{Inner, OpResult};
use crate::operation::Operation;

type Completion = Box<dyn FnOnce(Vec<OpResult>) + Send>;

struct Many {
    client: Arc<Inner>,
    deadline: Instant,
    asker: Arc<Asker>,
    state: Mutex<State>,
}

struct State {
    /// Not yet started.
    waiting: std::vec::IntoIter<(usize, Operation)>,
    results: Vec<OpResult>,
    open: usize,
    starting: bool,
    completion: Option<Completion>,
}

pub(super) fn start(
    client: &Arc<Inner>,
    operations: Vec<Operation>,
    deadline: Instant,
    asker: Arc<Asker>,
    completion: Completion,
) {
    let checks: Vec<_> = operations
        .iter()
        .map(|operation| client.check(operation))
        .collect();
    let right = operations
        .into_iter()
        .enumerate()
        .filter(|(index, _)| checks[*index].is_ok());
    let waiting: Vec<_> = right.collect();
    let many = Arc::new(Many {
        client: Arc::clone(client),
        deadline,
        asker,
        state: Mutex::new(State {
            waiting: waiting.into_iter(),
            results: checks
                .into_iter()
                .map(|check| check.map(|()| None))
                .collect(),
            open: 0,
            starting: false,
            completion: Some(completion),
        }),
    });
    many.start_more();
}

impl Many {
    /// Starts as many as may be open. One caller at a time does so: an operation that ends at once comes back here, and
    /// must not nest.
    fn start_more(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state.lock().starting, true) {
            return;
        }
        loop {
            let (index, operation) = {
                let mut state = self.state.lock();
                let may_start = state.open < self.client.settings.many_operations;
                let Some(next) = may_start.then(|| state.waiting.next()).flatten() else {
                    state.starting = false;
                    break;
                };
                state.open += 1;
                next
            };
            let many = Arc::clone(self);
            let completion = Box::new(move |result| many.ended(index, result));
            let asker = Arc::clone(&self.asker);
            Attempt::start(&self.client, operation, self.deadline, asker, completion);
        }
        self.finish_if_done();
    }

    fn ended(self: Arc<Self>, index: usize, result: OpResult) {
        {
            let mut state = self.state.lock();
            state.results[index] = result;
            state.open -= 1;
        }
        self.start_more();
    }

    fn finish_if_done(&self) {
        let (completion, results) = {
            let mut state = self.state.lock();
            if state.open > 0 || state.starting || state.waiting.len() > 0 {
                return;
            }
            let Some(completion) = state.completion.take() else {
                return;
            };
            (completion, std::mem::take(&mut state.results))
        };
        completion(results);
    }
}
