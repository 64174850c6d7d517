//! The worker's end of a client's stream: operations in the order they were sent, answers as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use dstk_core::node::KeyspaceStore;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::codec::{BatchItem, CodecError, RepliesWriter, read_batch};
use crate::executor::{DeferredReply, DeferredSender, Executor, Here, LAPSED, PendingOp};
use crate::identity::Admission;
use crate::server::{Stopping, find_store};
use crate::wire::{Batch, Code, Replies};

/// Bytes of values after which a message of replies leaves.
const REPLY_BYTES: usize = 1 << 20;

/// Replies after which a message leaves.
const REPLY_COUNT: usize = 4096;

/// Operations after which other streams have their turn.
const TURN: usize = 256;

/// Deferred answers taken into one message.
const LATE_AT_ONCE: usize = 1024;

/// Refusals of one message that carry a text; the text is the same for all of them.
const TEXTS: usize = 64;

struct Session {
    executor: Arc<Executor>,
    replies: mpsc::Sender<Result<Replies, Status>>,
    writer: RepliesWriter,
    late: DeferredSender,
    /// Operations held or passed on, whose answers are still to come.
    open: usize,
    store: Option<Arc<KeyspaceStore>>,
    /// What the answers in `writer` were made under.
    here: Vec<Here>,
}

/// Nobody listens to the answers any more.
struct Gone;

/// The answers of one stream. It ends in good order only when everything that was taken has been answered: to its
/// sender that means that whatever has no answer was not applied.
pub struct Answers {
    replies: mpsc::Receiver<Result<Replies, Status>>,
    answered: Option<oneshot::Receiver<AllAnswered>>,
}

/// Everything that was taken has been answered.
struct AllAnswered;

/// Where [`serve`] puts the answers of a stream.
pub(crate) struct AnswerSink {
    replies: mpsc::Sender<Result<Replies, Status>>,
    answered: oneshot::Sender<AllAnswered>,
}

/// The two ends of a stream's answers, with room for so many messages between them.
pub(crate) fn answers(messages: usize) -> (AnswerSink, Answers) {
    let (sender, replies) = mpsc::channel(messages);
    let (all, answered) = oneshot::channel();
    let sink = AnswerSink {
        replies: sender,
        answered: all,
    };
    let answers = Answers {
        replies,
        answered: Some(answered),
    };
    (sink, answers)
}

impl Stream for Answers {
    type Item = Result<Replies, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.replies.poll_recv(context)) {
            if message.is_err() {
                self.answered = None;
            }
            return Poll::Ready(Some(message));
        }
        // Both ends are dropped together, the word that all is answered is sent before: it is here or never comes.
        Poll::Ready(self.answered.take().and_then(|mut answered| {
            let text = "the stream was given up before all it took was answered";
            match answered.try_recv() {
                Ok(AllAnswered) => None,
                Err(_) => Some(Err(Status::aborted(text))),
            }
        }))
    }
}

/// Serves one stream until its sender ends it, or until the worker stops and all that was taken is answered.
pub(crate) async fn serve(
    executor: Arc<Executor>,
    admission: Admission,
    stopping: Stopping,
    mut batches: Streaming<Batch>,
    sink: AnswerSink,
) {
    let AnswerSink { replies, answered } = sink;
    let (late, mut ended) = mpsc::unbounded_channel();
    let writer = RepliesWriter::default();
    let mut session = Session {
        executor,
        replies,
        writer,
        late,
        open: 0,
        store: None,
        here: Vec::new(),
    };
    let mut stop = std::pin::pin!(stopping.stopped());
    let (mut no_more, mut stopped) = (false, false);
    while session.open > 0 || !(no_more || stopped) {
        let done = tokio::select! {
            batch = batches.message(), if !no_more => match batch {
                // It came before anybody could say whose rows are here: what is in it was not applied, and is sent anew.
                Ok(Some(_)) if admission.is_stale() => {
                    no_more = true;
                    Ok(())
                }
                Ok(Some(batch)) => session.take(&batch).await,
                Ok(None) => {
                    no_more = true;
                    Ok(())
                }
                Err(status) => {
                // Too large or damaged; nobody hears it when the connection broke.
                let _ = session.replies.send(Err(status)).await;
                Err(Gone)
            }
            },
            Some(first) = ended.recv() => {
                session.finish(first);
                while session.writer.len() < LATE_AT_ONCE && session.writer.bytes() < REPLY_BYTES {
                    match ended.try_recv() {
                        Ok(next) => session.finish(next),
                        Err(_) => break,
                    }
                }
                session.flush().await
            }
            () = &mut stop, if !stopped => {
                stopped = true;
                Ok(())
            }
        };
        if done.is_err() {
            return;
        }
    }
    // Who asked may have gone.
    let _ = answered.send(AllAnswered);
}

impl Session {
    /// Carries out the operations of a message.
    async fn take(&mut self, batch: &Batch) -> Result<(), Gone> {
        let named = |store: &Arc<KeyspaceStore>| {
            batch.keyspace.is_empty() || **store.name() == *batch.keyspace
        };
        let store = match self.store.clone().filter(named) {
            Some(store) => store,
            None => match find_store(&self.executor, &batch.keyspace) {
                Ok(store) => Arc::clone(self.store.insert(store)),
                Err((code, text)) => {
                    self.store = None;
                    return self.refuse(batch, code, &text).await;
                }
            },
        };
        let limit = self.executor.node().settings().batch_limit_bytes;
        let bytes = batch.keys.len() + batch.values.len();
        if bytes > limit {
            let text = format!(
                "batch is {bytes} bytes of keys and values; at most {limit} are taken: send it in parts"
            );
            return self.refuse(batch, Code::TooLarge, &text).await;
        }
        let items = match read_batch(batch, store.name(), store.key_length()) {
            Ok(items) => items,
            Err(error @ CodecError::KeyLength { .. }) => {
                return self.refuse(batch, Code::Invalid, &error.to_string()).await;
            }
            Err(error) => {
                let _ = self
                    .replies
                    .send(Err(Status::invalid_argument(error.to_string())))
                    .await;
                return Err(Gone);
            }
        };
        let now = self.executor.now();
        let mut here = Here::new(&store, now);
        for (index, item) in items.enumerate() {
            self.start(&here, item, batch.hops, now);
            if self.writer.bytes() >= REPLY_BYTES || self.writer.len() >= REPLY_COUNT {
                self.here.push(here);
                self.flush().await?;
                here = Here::new(&store, now);
            }
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.here.push(here);
        self.flush().await
    }

    fn start(&mut self, here: &Here, item: BatchItem<'_>, hops: u32, now: u64) {
        let most = self.executor.settings().connection.open_operations;
        if self.open >= most {
            let text = format!(
                "{most} operations of this connection are held or passed on: try again later"
            );
            self.writer.ended(item.id, Code::Limit, 0, &text);
            return;
        }
        if self
            .executor
            .execute(here, item, hops, now, &self.late, &mut self.writer)
        {
            self.open += 1;
        }
    }

    fn finish(&mut self, late: DeferredReply) {
        self.open -= 1;
        match late {
            DeferredReply::Reply {
                id,
                reply,
                hint,
                here,
            } => {
                self.here.extend(here);
                self.writer.reply(id, &reply);
                if let Some(hint) = hint {
                    self.writer.hint(*hint);
                }
            }
            DeferredReply::Retry(asked) => {
                let PendingOp {
                    id,
                    keyspace,
                    hops,
                    operation,
                } = *asked;
                match find_store(&self.executor, &keyspace) {
                    Ok(store) => {
                        let item = BatchItem {
                            id,
                            verb: operation.verb,
                            key: &operation.key,
                            value: &operation.value,
                            condition: operation.condition,
                        };
                        let now = self.executor.now();
                        let here = Here::new(&store, now);
                        self.start(&here, item, hops, now);
                        self.here.push(here);
                    }
                    Err((code, text)) => self.writer.ended(id, code, 0, &text),
                }
            }
        }
    }

    async fn refuse(&mut self, batch: &Batch, code: Code, text: &str) -> Result<(), Gone> {
        for (index, id) in batch.ids.iter().enumerate() {
            self.writer
                .ended(*id, code, 0, if index < TEXTS { text } else { "" });
            if self.writer.len() >= REPLY_COUNT {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.writer.is_empty() {
            self.here.clear();
            return Ok(());
        }
        let mut replies = self.writer.take();
        let now = self.executor.now();
        if self.here.drain(..).any(|here| here.has_lapsed(now)) {
            // The process, or its disk, stood still since: others may serve the keys by now.
            for (index, id) in replies.ids.iter().enumerate() {
                let text = if index < TEXTS { LAPSED } else { "" };
                self.writer.ended(*id, Code::OutcomeUnknown, 0, text);
            }
            replies = self.writer.take();
        }
        self.replies.send(Ok(replies)).await.map_err(|_| Gone)
    }
}
