//! A shard's way to the other shards: what is told them, and what they tell.
//!
//! What finds its lane full waits here, in its order, and is tried again in every turn.

use std::collections::VecDeque;

use super::{Handler, Shard};
use crate::{
    ids::ShardId,
    limits::ROUTER_WAITING,
    router::{Lane, Message, Router, Unsent},
    tasks::{PeerMessage, RouteTag, Tasks, raw::RawTasks},
    topics::{TopicMessage, sessions::SessionMessage},
};

/// The router, and what waits for it.
pub struct Peers {
    router: Router<Message>,
    /// By peer.
    waiting: Vec<VecDeque<Message>>,
    waits: usize,
    /// What was collected and not heard yet.
    inbox: VecDeque<Message>,
    /// Kept for its allocation.
    collected: Vec<Message>,
}

impl Peers {
    /// Nothing waits.
    pub fn new(router: Router<Message>) -> Self {
        let waiting = (0..router.shards()).map(|_| VecDeque::new()).collect();
        Self { router, waiting, waits: 0, inbox: VecDeque::new(), collected: Vec::new() }
    }

    /// Whether peers have told something.
    pub fn has_news(&self) -> bool {
        !self.inbox.is_empty() || self.router.has_news()
    }

    /// Tells a peer.
    ///
    /// # Errors
    /// Gives the message back: the peer has ended, or too much waits for it and this need
    /// not.
    fn tell(&mut self, to: ShardId, message: Message) -> Result<(), Message> {
        let Some(waiting) = self.waiting.get_mut(to.index()) else { return Err(message) };
        if message.lane() == Lane::FanOut {
            return self.router.send(to, Lane::FanOut, message).map_err(Unsent::into_message);
        }
        let unsent = if waiting.is_empty() {
            let lane = message.lane();
            self.router.send(to, lane, message)
        } else {
            Err(Unsent::Full(message))
        };
        match unsent {
            Ok(()) => Ok(()),
            Err(Unsent::Gone(message)) => Err(message),
            Err(Unsent::Full(message)) if waiting.len() >= ROUTER_WAITING && can_fail(&message) => {
                Err(message)
            }
            Err(Unsent::Full(message)) => {
                waiting.push_back(message);
                self.waits += 1;
                Ok(())
            }
        }
    }

    /// The end of a turn: what waits is tried again, and peers are told of what was sent.
    /// `gone`: what came back from peers that have ended.
    fn flush(&mut self, gone: &mut Vec<(ShardId, Message)>) {
        let waits = self.waits > 0;
        for (to, waiting) in self.waiting.iter_mut().enumerate().filter(|_| waits) {
            while let Some(message) = waiting.pop_front() {
                let lane = message.lane();
                let to = ShardId(to as u16);
                match self.router.send(to, lane, message) {
                    Ok(()) => self.waits -= 1,
                    Err(Unsent::Full(message)) => {
                        waiting.push_front(message);
                        break;
                    }
                    Err(Unsent::Gone(message)) => {
                        self.waits -= 1;
                        gone.push((to, message));
                    }
                }
            }
        }
        self.router.flush();
    }
}

/// A claim can be refused, a result is in the workers' cache as well, or its client is told
/// that it is missing. All else is an answer that somebody waits for, or the end of a session
/// that its home has to hear of.
fn can_fail(message: &Message) -> bool {
    match message {
        Message::Tasks(_, message) => matches!(
            message,
            PeerMessage::Claim { .. } | PeerMessage::Result { .. } | PeerMessage::Overheard { .. }
        ),
        Message::Topics(_, message) => message.can_fail(),
        Message::Sessions(message) => message.can_fail(),
    }
}

impl Shard {
    /// Takes what other shards have sent, as much as clients that read can take in one turn;
    /// the rest stays for the next. `true`: there was something.
    pub(super) fn hear_peers(&mut self) -> bool {
        let peers = &mut self.peers;
        if peers.inbox.is_empty() {
            peers.router.collect(&mut peers.collected);
            peers.inbox.extend(peers.collected.drain(..));
        }
        let any = !self.peers.inbox.is_empty();
        let mut room_bytes = (self.options.outbox_limit_bytes / 4).max(1);
        while room_bytes > 0
            && let Some(message) = self.peers.inbox.pop_front()
        {
            room_bytes = room_bytes.saturating_sub(message.frame_bytes());
            match message {
                Message::Tasks(tag, message) => self.hear_peer(tag, message),
                Message::Topics(tag, message) => self.hear_topics(tag, message),
                Message::Sessions(message) => {
                    self.sessions.on_peer(message, self.now.ms, &mut self.session_actions);
                }
            }
        }
        any
    }

    fn hear_peer(&mut self, tag: RouteTag, message: PeerMessage) {
        let (now, actions) = (self.now, &mut self.actions);
        match self.routes.iter_mut().find_map(|route| with_tag(&mut route.handler, tag)) {
            Some(Peer::Asr(tasks)) => tasks.on_peer(message, now, actions),
            Some(Peer::Raw(tasks)) => tasks.on_peer(message, now, actions),
            None => {}
        }
    }

    pub(super) fn tell_peer(&mut self, to: ShardId, tag: RouteTag, message: PeerMessage) {
        if let Err(unsent) = self.peers.tell(to, Message::Tasks(tag, message)) {
            self.take_back(to, unsent);
        }
    }

    /// What finds the lane of fan-out full is back with its route at once.
    pub(super) fn tell_topics(&mut self, to: ShardId, tag: RouteTag, message: TopicMessage) {
        if let Err(unsent) = self.peers.tell(to, Message::Topics(tag, message)) {
            self.take_back(to, unsent);
        }
    }

    pub(super) fn tell_sessions(&mut self, to: ShardId, message: SessionMessage) {
        if let Err(unsent) = self.peers.tell(to, Message::Sessions(message)) {
            self.take_back(to, unsent);
        }
    }

    fn take_back(&mut self, to: ShardId, unsent: Message) {
        self.metrics.router.undelivered.inc();
        let (tag, message) = match unsent {
            Message::Tasks(tag, message) => (tag, message),
            Message::Topics(tag, message) => return self.take_back_topics(to, tag, message),
            Message::Sessions(message) => {
                return self.sessions.on_unsent(message, &mut self.session_actions);
            }
        };
        let (now, actions) = (self.now, &mut self.actions);
        match self.routes.iter_mut().find_map(|route| with_tag(&mut route.handler, tag)) {
            Some(Peer::Asr(tasks)) => tasks.on_unsent(message, now, actions),
            Some(Peer::Raw(tasks)) => tasks.on_unsent(message, now, actions),
            None => {}
        }
    }

    /// The end of a turn. `true`: messages came back, and their routes want something.
    pub(super) fn flush_peers(&mut self) -> bool {
        let mut gone = Vec::new();
        self.peers.flush(&mut gone);
        self.metrics.router.waiting.set(self.peers.waits as u64);
        let any = !gone.is_empty();
        for (to, unsent) in gone {
            self.take_back(to, unsent);
        }
        any
    }

    /// Whether sessions are on their way to other shards or need this one there, or clients of
    /// other shards hear topics from here.
    pub(super) fn is_handing_over(&self) -> bool {
        self.peers.waits > 0
            || self.routes.iter().any(|route| match &route.handler {
                Handler::Tasks(tasks) => tasks.is_handing_over(),
                Handler::Raw(tasks) => tasks.is_handing_over(),
                Handler::Topics(topics) => topics.serves_others(),
                Handler::Echo => false,
            })
    }
}

/// A route that has peers.
enum Peer<'a> {
    Asr(&'a mut Tasks),
    Raw(&'a mut RawTasks),
}

fn with_tag(handler: &mut Handler, tag: RouteTag) -> Option<Peer<'_>> {
    match handler {
        Handler::Tasks(tasks) if tasks.tag() == tag => Some(Peer::Asr(tasks)),
        Handler::Raw(tasks) if tasks.tag() == tag => Some(Peer::Raw(tasks)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        limits::ROUTER_PLACES,
        metrics::ShardMetrics,
        tasks::{SessionId, Tenure},
    };

    fn vacant(number: u64) -> Message {
        let tenure = Tenure { shard: ShardId(1), number };
        Message::Tasks(RouteTag::new(0).unwrap(), PeerMessage::Vacant { tenure })
    }

    #[test]
    fn what_finds_its_lane_full_waits_in_order_and_claims_are_refused_in_time() {
        let metrics: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
        let mut routers = Router::mesh(&metrics).into_iter();
        let mut here = Peers::new(routers.next().unwrap());
        let mut there = routers.next().unwrap();
        let count = (ROUTER_PLACES + ROUTER_WAITING) as u64;
        for number in 0..count {
            assert!(here.tell(ShardId(1), vacant(number)).is_ok());
        }
        let (id, tenure) = (SessionId::random(), Tenure { shard: ShardId(0), number: 1 });
        let claim = Message::Tasks(RouteTag::new(0).unwrap(), PeerMessage::Claim { id, tenure });
        assert!(here.tell(ShardId(1), claim).is_err(), "its client is told");
        assert!(here.tell(ShardId(1), vacant(count)).is_ok(), "somebody waits for it");
        let (mut next, mut messages) = (0, Vec::new());
        while next <= count {
            let mut gone = Vec::new();
            here.flush(&mut gone);
            assert!(gone.is_empty());
            there.collect(&mut messages);
            for message in messages.drain(..) {
                let Message::Tasks(_, PeerMessage::Vacant { tenure }) = message else {
                    panic!("{message:?}")
                };
                assert_eq!(tenure.number, next);
                next += 1;
            }
        }
        assert_eq!(here.waits, 0);
        drop(there);
        assert!(here.tell(ShardId(1), vacant(0)).is_err(), "nobody is there");
    }
}
