//! ▢ The sessions that live on one shard: who has how many, which of them wait and until when,
//! and which have their WebSocket, wherever it is.
//!
//! All questions about a session come here, one after the other: so it is used once, and the
//! quota of its user is exact.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use slab::Slab;

use super::{
    Asker, Question, Refusal, Reply, SessionId, SessionRoute, SessionSettings, Start, UserId,
    UserKey, Wish,
};
use crate::{
    ids::ShardId,
    limits::{
        SESSION_BYTES, SESSION_TOPIC_BYTES, SESSION_WHEEL_SLOTS, SESSIONS_BYTES_PER_SHARD, TICK_MS,
    },
    metrics::ShardMetrics,
    wheel::Wheel,
};

/// The sessions of one home.
#[derive(Debug)]
pub(super) struct Home {
    me: ShardId,
    routes: Vec<Books>,
    sessions: Slab<Session>,
    slots: HashMap<SessionId, usize>,
    /// Deadlines of those that wait, by slot.
    wheel: Wheel,
    due: Vec<u32>,
    bytes: usize,
    metrics: Arc<ShardMetrics>,
}

/// One route, with how many of its sessions wait for each user.
#[derive(Debug)]
struct Books {
    route: SessionRoute,
    waiting: HashMap<UserKey, usize>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Index of its books.
    route: usize,
    user: UserKey,
    start: Arc<Start>,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting { until_ms: u64 },
    Connected(Asker),
}

/// Why a session goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Expired,
    Deleted,
    Left,
}

impl Home {
    pub fn new(me: ShardId, routes: &[SessionRoute], metrics: Arc<ShardMetrics>) -> Self {
        let books = |route: &SessionRoute| Books { route: route.clone(), waiting: HashMap::new() };
        Self {
            me,
            routes: routes.iter().map(books).collect(),
            sessions: Slab::new(),
            slots: HashMap::new(),
            wheel: Wheel::new(TICK_MS, SESSION_WHEEL_SLOTS),
            due: Vec::new(),
            bytes: 0,
            metrics,
        }
    }

    /// Answers a question; and the WebSocket that is to be closed on that account.
    pub fn answer(
        &mut self,
        question: Question,
        from: Asker,
        now_ms: u64,
    ) -> (Reply, Option<(SessionId, Asker)>) {
        let reply = match question {
            Question::Create(wish) => self.create(wish, now_ms),
            Question::Look { id, user } => self.look(id, user.as_ref(), now_ms),
            Question::Take { id, user, route } => {
                let of_route = |books: &Books| books.route.tag == route;
                self.take(id, user.as_ref(), of_route, from, now_ms)
            }
            Question::Delete { id, user } => {
                let Some(slot) = self.find(id, user.as_ref(), now_ms) else {
                    return (Reply::Refused(Refusal::not_found()), None);
                };
                let state = self.remove(slot, End::Deleted);
                let connected = match state {
                    Some(State::Connected(at)) => Some((id, at)),
                    Some(State::Waiting { .. }) | None => None,
                };
                return (Reply::Deleted, connected);
            }
        };
        (reply, None)
    }

    /// Its WebSocket is gone, or nobody knows of it.
    pub fn on_ended(&mut self, id: SessionId) {
        if let Some(slot) = self.slots.get(&id).copied() {
            self.remove(slot, End::Left);
        }
    }

    /// Ends what has waited for too long.
    pub fn on_tick(&mut self, now_ms: u64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now_ms, &mut due);
        for slot in due.drain(..) {
            self.remove(slot as usize, End::Expired);
        }
        self.due = due;
    }

    pub fn end_all(&mut self) {
        let slots: Vec<usize> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.remove(slot, End::Left);
        }
    }

    fn create(&mut self, wish: Wish, now_ms: u64) -> Reply {
        match self.try_create(wish, now_ms) {
            Ok((id, expires_in_ms)) => Reply::Created { id, expires_in_ms },
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn try_create(&mut self, wish: Wish, now_ms: u64) -> Result<(SessionId, u64), Refusal> {
        let Wish { route, user, start } = wish;
        let known = self.routes.iter().position(|books| books.route.tag == route);
        let index = known.ok_or_else(Refusal::not_found)?;
        let books = &mut self.routes[index];
        let SessionSettings { ttl_ms, per_user, .. } = books.route.settings;
        if books.waiting.get(&user).is_some_and(|count| *count >= per_user) {
            return Err(Refusal::quota(per_user));
        }
        let bytes = start.bytes() + user.name().map_or(0, |name| name.as_str().len());
        // A wheel has no more keys.
        let is_full = u32::try_from(self.sessions.vacant_key()).is_err();
        if is_full || self.bytes.saturating_add(bytes) > SESSIONS_BYTES_PER_SHARD {
            return Err(Refusal::memory());
        }
        if !books.route.places.take() {
            return Err(Refusal::limit());
        }
        *books.waiting.entry(user.clone()).or_default() += 1;
        self.bytes += bytes;
        let (id, until_ms) = (SessionId::random(self.me), now_ms.saturating_add(ttl_ms));
        let state = State::Waiting { until_ms };
        let start = Arc::new(start);
        let slot = self.sessions.insert(Session { id, route: index, user, start, bytes, state });
        self.slots.insert(id, slot);
        self.wheel.arm(slot as u32, until_ms);
        let metrics = &self.metrics.topic_sessions;
        metrics.created.inc();
        metrics.waiting.inc();
        metrics.bytes.set(self.bytes as u64);
        Ok((id, ttl_ms))
    }

    fn look(&mut self, id: SessionId, user: Option<&UserId>, now_ms: u64) -> Reply {
        let session = self.find(id, user, now_ms).and_then(|slot| self.sessions.get(slot));
        let Some(session) = session else { return Reply::Refused(Refusal::not_found()) };
        let expires_in_ms = match session.state {
            State::Waiting { until_ms } => Some(until_ms.saturating_sub(now_ms)),
            State::Connected(_) => None,
        };
        let default_ms = self.routes[session.route].route.settings.conflate_ms;
        let conflate_ms = session.start.conflate_ms.unwrap_or(default_ms);
        Reply::Found { id, start: session.start.clone(), conflate_ms, expires_in_ms }
    }

    fn take(
        &mut self,
        id: SessionId,
        user: Option<&UserId>,
        of_route: impl Fn(&Books) -> bool,
        from: Asker,
        now_ms: u64,
    ) -> Reply {
        let found = self.find(id, user, now_ms);
        let session = found.and_then(|slot| self.sessions.get_mut(slot));
        let Some(session) = session.filter(|session| of_route(&self.routes[session.route])) else {
            return Reply::Refused(Refusal::not_found());
        };
        if matches!(session.state, State::Connected(_)) {
            return Reply::Refused(Refusal::used());
        }
        session.state = State::Connected(from);
        let (start, route, user) = (session.start.clone(), session.route, session.user.clone());
        if let Some(slot) = found {
            self.wheel.disarm(slot as u32);
        }
        self.stop_waiting(route, user);
        self.metrics.topic_sessions.connected.inc();
        self.metrics.topic_sessions.used.inc();
        Reply::Taken { id, start }
    }

    /// A session that is there for that user. One past its time is not, though no tick has
    /// come since.
    fn find(&mut self, id: SessionId, user: Option<&UserId>, now_ms: u64) -> Option<usize> {
        let slot = *self.slots.get(&id)?;
        let session = self.sessions.get(slot)?;
        if let State::Waiting { until_ms } = session.state
            && until_ms <= now_ms
        {
            self.remove(slot, End::Expired);
            return None;
        }
        session.user.admits(user).then_some(slot)
    }

    fn remove(&mut self, slot: usize, why: End) -> Option<State> {
        let session = self.sessions.try_remove(slot)?;
        self.slots.remove(&session.id);
        self.wheel.disarm(slot as u32);
        self.bytes -= session.bytes;
        let metrics = &self.metrics.topic_sessions;
        metrics.bytes.set(self.bytes as u64);
        let is_waiting = matches!(session.state, State::Waiting { .. });
        match why {
            End::Expired => metrics.expired.inc(),
            End::Deleted => metrics.deleted.inc(),
            End::Left if is_waiting => metrics.abandoned.inc(),
            End::Left => {}
        }
        if is_waiting {
            self.stop_waiting(session.route, session.user);
        } else {
            metrics.connected.dec();
        }
        Some(session.state)
    }

    /// One session of this user waits no longer: it is used, or gone.
    fn stop_waiting(&mut self, route: usize, user: UserKey) {
        self.metrics.topic_sessions.waiting.dec();
        let books = &mut self.routes[route];
        books.route.places.give_back();
        if let Entry::Occupied(mut count) = books.waiting.entry(user) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.slots.is_empty()
            && self.bytes == 0
            && self.routes.iter().all(|books| books.waiting.is_empty())
            && (0..self.sessions.capacity()).all(|slot| !self.wheel.is_armed(slot as u32))
    }
}

impl Start {
    /// What it costs to keep.
    fn bytes(&self) -> usize {
        let names = self.topics.iter().map(|topic| topic.as_str().len() + SESSION_TOPIC_BYTES);
        SESSION_BYTES + names.sum::<usize>()
    }
}
