//! ▢ Sessions of topics: made by a request with what is to be subscribed, used by one WebSocket.
//!
//! A session lives at the home of its user, so that the user's quota is exact, and its id says
//! which shard that is. Whatever a client wants of it is a [`Question`], which the shard that
//! has the client's socket [asks](Sessions::ask) of the home: of itself at once, of another
//! shard over the Reply lane. A WebSocket that has taken a session is its *guest* until its
//! socket is gone, which its home is told; a session that is deleted takes its WebSocket with it.
//!
//! Place in the data path: before the upgrade. Must not: know sockets, HTTP framing, or what a
//! subscription is; the shard carries out the [`Action`]s.
//!
//! Read in this order: [`id`], [`user`], [`api`] (requests), [`message`], `home` (the books),
//! here (what one shard knows of sessions that live elsewhere), [`refused`].

pub mod api;
mod home;
pub mod id;
pub mod message;
pub mod refused;
#[cfg(test)]
mod tests;
pub mod user;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use self::home::Home;
pub use self::{
    api::{Api, Endpoint, WsAddress},
    id::SessionId,
    message::{Asker, Question, Reply, SessionMessage, Wish},
    refused::{Refusal, Refused},
    user::{UserId, UserKey},
};
use super::{ChannelPattern, Topic, is_reserved};
use crate::{
    ids::{ShardId, SocketId},
    metrics::ShardMetrics,
    shard::admission::Places,
    tasks::RouteTag,
};

/// What a WebSocket begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Subscribed at once.
    pub topics: Vec<Topic>,
    /// Between two values of a topic; `None`: as the route has it.
    pub conflate_ms: Option<u32>,
}

/// A topics route that has sessions.
#[derive(Clone, Debug)]
pub struct SessionRoute {
    /// Its number.
    pub tag: RouteTag,
    /// Where its WebSockets are.
    pub path: Arc<str>,
    /// Where its topics are published.
    pub channel: ChannelPattern,
    /// Its bounds.
    pub settings: SessionSettings,
    /// Places for sessions that wait, the same for every shard.
    pub places: Arc<Places>,
}

/// The bounds of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// How long a session waits for its WebSocket.
    pub ttl_ms: u64,
    /// Sessions of one user that wait.
    pub per_user: usize,
    /// Topics of one session.
    pub topics_max: usize,
    /// Between two values of a topic where a session does not say.
    pub conflate_ms: u32,
}

/// What the shard is to do.
#[derive(Debug)]
pub enum Action {
    /// Tell another shard.
    Tell {
        /// Which.
        to: ShardId,
        /// What.
        message: SessionMessage,
    },
    /// Answer a client that waits.
    Reply {
        /// Which.
        to: SocketId,
        /// With what.
        reply: Reply,
    },
    /// Close a WebSocket: its session has been deleted.
    Close(SocketId),
}

/// One shard's part in the sessions of all topics routes.
#[derive(Debug)]
pub struct Sessions {
    me: ShardId,
    shards: usize,
    routes: Vec<SessionRoute>,
    home: Home,
    /// Sockets of this shard that wait for the answer of another.
    asking: HashSet<SocketId>,
    /// WebSockets of this shard that have taken a session.
    guests: HashMap<SocketId, SessionId>,
}

impl Sessions {
    /// None, on shard `me` of `shards`.
    pub fn new(
        me: ShardId,
        shards: usize,
        routes: Vec<SessionRoute>,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        let home = Home::new(me, &routes, metrics);
        Self { me, shards, routes, home, asking: HashSet::new(), guests: HashMap::new() }
    }

    /// Reads requests for these routes; `None` where no route has sessions.
    pub fn api(&self) -> Option<Api<'_>> {
        Api::new(&self.routes, self.shards)
    }

    /// Asks for a client, which has at most one question under way. `None`: the answer comes
    /// as an [`Action::Reply`], unless the client [leaves](Self::on_left) before it.
    pub fn ask(
        &mut self,
        socket: SocketId,
        question: Question,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Option<Reply> {
        let from = Asker { shard: self.me, socket };
        let home = question.home(self.shards);
        if home == self.me {
            let reply = self.answer(question, from, now_ms, actions);
            self.note(socket, &reply);
            return Some(reply);
        }
        self.asking.insert(socket);
        let message = SessionMessage::Ask { from, question: Box::new(question) };
        actions.push(Action::Tell { to: home, message });
        None
    }

    /// A client is gone, has been answered otherwise, or its WebSocket takes no messages any
    /// more. Whoever has nothing to do with sessions may come here too.
    pub fn on_left(&mut self, socket: SocketId, actions: &mut Vec<Action>) {
        if !self.asking.is_empty() {
            self.asking.remove(&socket);
        }
        if !self.guests.is_empty()
            && let Some(id) = self.guests.remove(&socket)
        {
            self.end(id, actions);
        }
    }

    /// A message of another shard.
    pub fn on_peer(&mut self, message: SessionMessage, now_ms: u64, actions: &mut Vec<Action>) {
        match message {
            SessionMessage::Ask { from, question } => {
                let reply = Box::new(self.answer(*question, from, now_ms, actions));
                let message = SessionMessage::Reply { to: from.socket, reply };
                actions.push(Action::Tell { to: from.shard, message });
            }
            SessionMessage::Reply { to, reply } => self.on_reply(to, *reply, actions),
            SessionMessage::Close { id, socket } => self.close(id, socket, actions),
            SessionMessage::Ended { id } => self.home.on_ended(id),
        }
    }

    /// A message that could not be sent: its receiver has ended, or too much waits for it.
    pub fn on_unsent(&mut self, message: SessionMessage, actions: &mut Vec<Action>) {
        match message {
            SessionMessage::Ask { from, .. } => {
                self.on_reply(from.socket, Reply::Refused(Refusal::busy()), actions);
            }
            SessionMessage::Reply { reply, .. } => self.take_back(&reply, actions),
            // The WebSocket, or the session, has ended with its shard.
            SessionMessage::Close { .. } | SessionMessage::Ended { .. } => {}
        }
    }

    /// Every tick: sessions that nobody has used in time.
    pub fn on_tick(&mut self, now_ms: u64) {
        self.home.on_tick(now_ms);
    }

    /// The shard ends, and with it the sessions that live here.
    pub fn end_all(&mut self) {
        self.home.end_all();
        self.asking.clear();
        self.guests.clear();
    }

    fn answer(
        &mut self,
        question: Question,
        from: Asker,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Reply {
        let (reply, connected) = self.home.answer(question, from, now_ms);
        match connected {
            Some((id, at)) if at.shard == self.me => self.close(id, at.socket, actions),
            Some((id, at)) => {
                let message = SessionMessage::Close { id, socket: at.socket };
                actions.push(Action::Tell { to: at.shard, message });
            }
            None => {}
        }
        reply
    }

    fn on_reply(&mut self, to: SocketId, reply: Reply, actions: &mut Vec<Action>) {
        if self.asking.remove(&to) {
            self.note(to, &reply);
            actions.push(Action::Reply { to, reply });
        } else {
            self.take_back(&reply, actions);
        }
    }

    fn note(&mut self, socket: SocketId, reply: &Reply) {
        if let Reply::Taken { id, .. } = reply {
            self.guests.insert(socket, *id);
        }
    }

    /// Whoever asked does not hear it: nobody is to have what it would have got.
    fn take_back(&mut self, reply: &Reply, actions: &mut Vec<Action>) {
        if let Reply::Created { id, .. } | Reply::Taken { id, .. } = reply {
            self.end(*id, actions);
        }
    }

    fn end(&mut self, id: SessionId, actions: &mut Vec<Action>) {
        if id.home() == self.me {
            self.home.on_ended(id);
        } else {
            actions.push(Action::Tell { to: id.home(), message: SessionMessage::Ended { id } });
        }
    }

    /// The session has been deleted. One that is another session's by now stays open.
    fn close(&mut self, id: SessionId, socket: SocketId, actions: &mut Vec<Action>) {
        if self.guests.get(&socket) == Some(&id) {
            self.guests.remove(&socket);
            actions.push(Action::Close(socket));
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.home.is_empty() && self.asking.is_empty() && self.guests.is_empty()
    }
}
