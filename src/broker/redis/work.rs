//! ▢ Commands that Redis has not answered: held until they are sent, then on their way.
//!
//! A command keeps its payload until its answer is there, so that a lost connection only
//! means to send again what is here, in the same order.

use std::{collections::VecDeque, sync::Arc};

use redis::cmd;

use super::{
    resp::Writer,
    scripts,
    subscriptions::{Asked, Subscriptions},
};
use crate::{
    broker::{Error, Event, Queue, Task, Ticket},
    limits::{COMMAND_OVERHEAD_BYTES, SUBSCRIBE_BATCH, SUBSCRIBE_WINDOW},
};

/// A command of the shard that has not been sent on this connection.
#[derive(Debug)]
pub enum Held {
    /// One with a ticket.
    Request(Request),
    /// SUBSCRIBE, together with its neighbours.
    Subscribe(Asked),
    /// UNSUBSCRIBE; forgotten with the connection.
    Unsubscribe(Arc<str>),
    /// SUBSCRIBE and PUBLISH of the canary; forgotten with the connection.
    Canary {
        /// Where it is published, and heard.
        channel: Arc<str>,
        /// What.
        payload: String,
    },
}

/// A command with a payload and a ticket.
#[derive(Debug)]
pub enum Request {
    /// RPUSH or XADD.
    Push {
        /// Whom to answer.
        ticket: Ticket,
        /// The list or stream.
        queue: Queue,
        /// What to append.
        task: Task,
    },
    /// LRANGE 0 -1.
    Fetch {
        /// Whom to answer.
        ticket: Ticket,
        /// The list.
        key: String,
    },
    /// LLEN, or a script that looks at a group.
    Observe {
        /// Whom to answer.
        ticket: Ticket,
        /// The list or stream.
        queue: Queue,
        /// Pattern of the workers' heartbeats.
        heartbeats: Option<Arc<str>>,
    },
}

impl Request {
    /// What it counts for in `pending_bytes`.
    pub fn cost_bytes(&self) -> usize {
        COMMAND_OVERHEAD_BYTES
            + match self {
                Self::Push { queue, task, .. } => queue.key().len() + task.len_bytes(),
                Self::Fetch { key, .. } => key.len(),
                Self::Observe { queue, .. } => queue.key().len(),
            }
    }

    /// The event that says that it failed.
    pub fn failed(self, error: Error) -> Event {
        match self {
            Self::Push { ticket, .. } => Event::PushFailed(ticket, error),
            Self::Fetch { ticket, .. } => Event::FetchFailed(ticket, error),
            Self::Observe { ticket, .. } => Event::ObserveFailed(ticket, error),
        }
    }

    fn write(&self, output: &mut Vec<u8>) {
        match self {
            Self::Push { queue: Queue::List { key }, task, .. } => {
                let mut push = Writer::begin(output, 3);
                push.argument(b"RPUSH").argument(key.as_bytes()).argument(&task.payload);
            }
            Self::Push { queue: Queue::Stream { key, .. }, task, .. } => {
                let mut add = Writer::begin(output, 5 + 2 * task.fields.len());
                add.argument(b"XADD").argument(key.as_bytes()).argument(b"*");
                for (name, text) in &task.fields {
                    add.argument(name.as_bytes()).argument(text.as_bytes());
                }
                add.argument(b"payload").argument(&task.payload);
            }
            Self::Fetch { key, .. } => {
                cmd("LRANGE").arg(key).arg(0).arg(-1).write_packed_command(output);
            }
            Self::Observe { queue: Queue::List { key }, .. } => {
                cmd("LLEN").arg(&**key).write_packed_command(output);
            }
            Self::Observe { queue: Queue::Stream { key, group }, heartbeats, .. } => {
                scripts::write_observe(key, group, heartbeats.as_deref(), output);
            }
        }
    }
}

/// A command that was sent on this connection and not answered.
#[derive(Debug)]
pub enum Sent {
    /// HELLO.
    Hello,
    /// SELECT.
    Select,
    /// TYPE of a queue's key.
    Type(Queue),
    /// XGROUP CREATE of a stream's group.
    Group(Queue),
    /// One stream's part of a round of upkeep; its key.
    Tidy(Arc<str>),
    /// PING at the end of the handshake, or because nothing was heard for long.
    Ping,
    /// One with a ticket.
    Request(Request),
    /// SUBSCRIBE: a push for each channel in this order, or one error for all of them.
    Subscribe {
        /// The channels not confirmed yet.
        asked: VecDeque<Asked>,
        /// Restores what an earlier connection had; else the shard asked for it.
        restoring: bool,
    },
    /// UNSUBSCRIBE of one channel: a push, or an error.
    Unsubscribe(Arc<str>),
    /// SUBSCRIBE of the canary's channel: a push, or an error.
    CanarySubscribe(Arc<str>),
    /// PUBLISH of the canary.
    CanaryPublish,
}

/// Both queues, in order: everything in `sent` was submitted before everything in `held`,
/// but for what restores.
#[derive(Default, Debug)]
pub struct Work {
    held: VecDeque<Held>,
    sent: VecDeque<(Sent, u64)>,
    /// Bytes of all requests in both queues.
    pending_bytes: usize,
    /// `Subscribe`s of the shard in both queues.
    asked: usize,
    /// Those of them that are on their way.
    asked_sent: usize,
    /// A restoring SUBSCRIBE is on its way.
    restoring: bool,
}

impl Work {
    /// Bytes of the requests that have no answer.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// `Subscribe`s of the shard that have no answer.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Puts a command behind all others. The caller has checked the limits.
    pub fn hold(&mut self, held: Held) {
        match &held {
            Held::Request(request) => self.pending_bytes += request.cost_bytes(),
            Held::Subscribe(_) => self.asked += 1,
            Held::Unsubscribe(_) | Held::Canary { .. } => {}
        }
        self.held.push_back(held);
    }

    /// Notes a command of the link itself, which the caller has written.
    pub fn sent(&mut self, sent: Sent, now_ms: u64) {
        self.sent.push_back((sent, now_ms));
    }

    /// The command whose answer comes next, and when it was sent.
    pub fn oldest(&self) -> Option<&(Sent, u64)> {
        self.sent.front()
    }

    /// Whether [`Work::send`] would write something.
    pub fn is_sendable(&self, subscriptions: &Subscriptions) -> bool {
        let restores = !self.restoring && !subscriptions.all_restored();
        restores
            || match self.held.front() {
                Some(Held::Subscribe(_)) => self.asked_sent < SUBSCRIBE_WINDOW,
                Some(_) => true,
                None => false,
            }
    }

    /// Whether everything that an earlier connection had has been asked for on this one, and
    /// all but what is held was answered.
    pub fn is_restored(&self, subscriptions: &Subscriptions) -> bool {
        !self.restoring && subscriptions.all_restored()
    }

    /// Writes held commands, in their order, until `output` is `limit_bytes` long.
    pub fn send(
        &mut self,
        subscriptions: &mut Subscriptions,
        now_ms: u64,
        output: &mut Vec<u8>,
        limit_bytes: usize,
    ) {
        self.restore(subscriptions, now_ms, output);
        while output.len() < limit_bytes {
            match self.held.pop_front() {
                Some(Held::Request(request)) => {
                    request.write(output);
                    self.sent(Sent::Request(request), now_ms);
                }
                Some(Held::Unsubscribe(channel)) => {
                    cmd("UNSUBSCRIBE").arg(&*channel).write_packed_command(output);
                    self.sent(Sent::Unsubscribe(channel), now_ms);
                }
                Some(Held::Canary { channel, payload }) => {
                    cmd("SUBSCRIBE").arg(&*channel).write_packed_command(output);
                    cmd("PUBLISH").arg(&*channel).arg(payload).write_packed_command(output);
                    self.sent(Sent::CanarySubscribe(channel), now_ms);
                    self.sent(Sent::CanaryPublish, now_ms);
                }
                Some(Held::Subscribe(first)) => {
                    if self.asked_sent >= SUBSCRIBE_WINDOW {
                        self.held.push_front(Held::Subscribe(first));
                        return;
                    }
                    self.subscribe(first, subscriptions, now_ms, output);
                }
                None => return,
            }
        }
    }

    /// Sends the next batch of what is to be restored, unless one is on its way.
    fn restore(&mut self, subscriptions: &mut Subscriptions, now_ms: u64, output: &mut Vec<u8>) {
        if self.restoring || subscriptions.all_restored() {
            return;
        }
        let asked: VecDeque<Asked> = subscriptions.next_to_restore(SUBSCRIBE_BATCH).into();
        if !asked.is_empty() {
            self.restoring = true;
            write_subscribe(&asked, output);
            self.sent(Sent::Subscribe { asked, restoring: true }, now_ms);
        }
    }

    /// Sends `first`, and those right behind it, as one SUBSCRIBE.
    fn subscribe(
        &mut self,
        first: Asked,
        subscriptions: &Subscriptions,
        now_ms: u64,
        output: &mut Vec<u8>,
    ) {
        let mut alone = first.alone;
        let mut asked = VecDeque::new();
        self.take_current(first, subscriptions, &mut asked);
        while !alone && asked.len() < SUBSCRIBE_BATCH {
            match self.held.pop_front() {
                Some(Held::Subscribe(next)) if !next.alone || asked.is_empty() => {
                    alone = next.alone;
                    self.take_current(next, subscriptions, &mut asked);
                }
                Some(other) => {
                    self.held.push_front(other);
                    break;
                }
                None => break,
            }
        }
        if !asked.is_empty() {
            self.asked_sent += asked.len();
            write_subscribe(&asked, output);
            self.sent(Sent::Subscribe { asked, restoring: false }, now_ms);
        }
    }

    /// Forgets held `Subscribe`s that nobody wants any more, where they are the most: a link
    /// that is down for long takes them as they come, and they are taken back one by one.
    pub fn drop_stale(&mut self, subscriptions: &Subscriptions) {
        if self.asked <= 2 * subscriptions.len() + SUBSCRIBE_WINDOW {
            return;
        }
        let asked = &mut self.asked;
        self.held.retain(|held| {
            let stale = matches!(held, Held::Subscribe(asked) if !subscriptions.is_current(asked));
            *asked -= usize::from(stale);
            !stale
        });
    }

    fn take_current(
        &mut self,
        next: Asked,
        subscriptions: &Subscriptions,
        asked: &mut VecDeque<Asked>,
    ) {
        if subscriptions.is_current(&next) {
            asked.push_back(next);
        } else {
            self.asked -= 1;
        }
    }

    /// The next ordinary reply has come: the command that it answers.
    pub fn answered(&mut self) -> Option<Sent> {
        let (sent, _) = self.sent.pop_front()?;
        match &sent {
            Sent::Request(request) => self.pending_bytes -= request.cost_bytes(),
            Sent::Subscribe { restoring: true, .. } => self.restoring = false,
            Sent::Subscribe { asked, restoring: false } => {
                self.asked -= asked.len();
                self.asked_sent -= asked.len();
            }
            _ => {}
        }
        Some(sent)
    }

    /// A confirmation of `channel` has come. `None`: it is not what comes next.
    pub fn confirmed(&mut self, channel: &[u8]) -> Option<Asked> {
        let (Sent::Subscribe { asked, restoring }, _) = self.sent.front_mut()? else { return None };
        if asked.front()?.channel.as_bytes() != channel {
            return None;
        }
        let first = asked.pop_front()?;
        if !*restoring {
            self.asked -= 1;
            self.asked_sent -= 1;
        }
        if asked.is_empty() {
            self.restoring &= !*restoring;
            self.sent.pop_front();
        }
        Some(first)
    }

    /// Holds channels of a refused SUBSCRIBE again, before all others, each by itself: one
    /// that may not be read must not take the others with it.
    pub fn ask_each_alone(&mut self, refused: VecDeque<Asked>) {
        self.asked += refused.len();
        for mut asked in refused.into_iter().rev() {
            asked.alone = true;
            self.held.push_front(Held::Subscribe(asked));
        }
    }

    /// The connection is gone: what it did not answer is held again, before all others.
    pub fn connection_lost(&mut self) {
        self.held.retain(|held| !matches!(held, Held::Unsubscribe(_) | Held::Canary { .. }));
        for (sent, _) in std::mem::take(&mut self.sent).into_iter().rev() {
            match sent {
                Sent::Request(request) => self.held.push_front(Held::Request(request)),
                Sent::Subscribe { asked, restoring: false } => {
                    let again = asked.into_iter().rev().map(Held::Subscribe);
                    again.for_each(|held| self.held.push_front(held));
                }
                // The handshake is said anew, and the table knows what to restore.
                _ => {}
            }
        }
        self.asked_sent = 0;
        self.restoring = false;
    }
}

fn write_subscribe(asked: &VecDeque<Asked>, output: &mut Vec<u8>) {
    let mut subscribe = cmd("SUBSCRIBE");
    for asked in asked {
        subscribe.arg(&*asked.channel);
    }
    subscribe.write_packed_command(output);
}
