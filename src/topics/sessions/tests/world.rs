//! Several shards with their lanes, and a model of what is in their books: one map, in which
//! everything happens at once. A question is put to the model when it reaches its home.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::super::*;
use crate::limits::TICK_MS;

pub const PER_USER: usize = 2;
pub const PLACES: usize = 4;
pub const TTL_MS: u64 = 1_000;
const NAMES: [&str; 3] = ["anna", "bert", "carl"];

pub struct World {
    pub shards: Vec<Sessions>,
    ended: Vec<bool>,
    metrics: Vec<Arc<ShardMetrics>>,
    places: Vec<Arc<Places>>,
    lanes: BTreeMap<(usize, usize), VecDeque<SessionMessage>>,
    pub full: HashSet<(usize, usize)>,
    pub now_ms: u64,
    books: HashMap<SessionId, Entry>,
    /// Every id that there ever was, in order.
    pub ids: Vec<SessionId>,
    /// Clients that wait, and those that have a session.
    pub waiting: Vec<Asker>,
    pub guests: Vec<(Asker, SessionId)>,
    taken: HashSet<SessionId>,
    next_slot: u32,
}

struct Entry {
    user: UserKey,
    route: RouteTag,
    start: Start,
    until_ms: Option<u64>,
    at: Option<Asker>,
}

pub fn tag(route: usize) -> RouteTag {
    RouteTag::new(route).unwrap()
}

pub fn user(which: usize) -> UserKey {
    match NAMES.get(which) {
        Some(name) => UserKey::Named(UserId::parse(name).unwrap()),
        None => UserKey::from_address("10.0.0.1".parse().unwrap()),
    }
}

impl World {
    pub fn new(shards: usize) -> Self {
        let metrics: Vec<Arc<ShardMetrics>> = (0..shards).map(|_| Arc::default()).collect();
        let places: Vec<_> = (0..2).map(|_| Places::new(PLACES)).collect();
        let settings =
            SessionSettings { ttl_ms: TTL_MS, per_user: PER_USER, topics_max: 3, conflate_ms: 7 };
        let route = |(index, places): (usize, &Arc<Places>)| SessionRoute {
            tag: tag(index),
            path: format!("/ws/{index}").into(),
            channel: ChannelPattern::default(),
            settings,
            places: places.clone(),
        };
        let routes: Vec<_> = places.iter().enumerate().map(route).collect();
        let sessions = |(index, metrics): (usize, &Arc<ShardMetrics>)| {
            Sessions::new(ShardId(index as u16), shards, routes.clone(), metrics.clone())
        };
        Self {
            shards: metrics.iter().enumerate().map(sessions).collect(),
            ended: vec![false; shards],
            metrics,
            places,
            lanes: BTreeMap::new(),
            full: HashSet::new(),
            now_ms: 0,
            books: HashMap::new(),
            ids: Vec::new(),
            waiting: Vec::new(),
            guests: Vec::new(),
            taken: HashSet::new(),
            next_slot: 0,
        }
    }

    /// A new client of that shard asks.
    pub fn ask(&mut self, shard: usize, question: Question) -> Asker {
        self.next_slot += 1;
        let socket = SocketId { slot: self.next_slot, generation: 0 };
        let from = Asker { shard: ShardId(shard as u16), socket };
        if self.ended[shard] {
            return from;
        }
        self.waiting.push(from);
        let mut actions = Vec::new();
        let reply = self.shards[shard].ask(socket, question.clone(), self.now_ms, &mut actions);
        if let Some(reply) = reply {
            assert_eq!(question.home(self.shards.len()).index(), shard);
            self.check(question, from, &reply);
            self.hear(from, reply);
        }
        self.carry_out(shard, actions);
        from
    }

    /// A client goes, whatever it is.
    pub fn leave(&mut self, client: Asker) {
        self.waiting.retain(|other| *other != client);
        self.guests.retain(|(other, _)| *other != client);
        let shard = client.shard.index();
        let mut actions = Vec::new();
        self.shards[shard].on_left(client.socket, &mut actions);
        // Another home is told; one's own knows at once.
        self.books.retain(|id, entry| id.home().index() != shard || entry.at != Some(client));
        self.carry_out(shard, actions);
    }

    pub fn deliver(&mut self, from: usize, to: usize) {
        let Some(message) = self.lanes.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return;
        };
        if self.ended[to] {
            return;
        }
        let asked = match &message {
            SessionMessage::Ask { from, question } => Some((*from, (**question).clone())),
            SessionMessage::Ended { id } => {
                self.books.remove(id);
                None
            }
            SessionMessage::Reply { .. } | SessionMessage::Close { .. } => None,
        };
        let mut actions = Vec::new();
        self.shards[to].on_peer(message, self.now_ms, &mut actions);
        if let Some((from, question)) = asked {
            let reply = actions.iter().find_map(|action| match action {
                Action::Tell { message: SessionMessage::Reply { to, reply }, .. } => {
                    (*to == from.socket).then(|| (**reply).clone())
                }
                _ => None,
            });
            self.check(question, from, &reply.expect("every question is answered at once"));
        }
        self.carry_out(to, actions);
    }

    pub fn tick(&mut self, shard: usize) {
        self.shards[shard].on_tick(self.now_ms);
        let now = self.now_ms / TICK_MS;
        self.books.retain(|id, entry| {
            let is_due = entry.until_ms.is_some_and(|until_ms| until_ms.div_ceil(TICK_MS) <= now);
            id.home().index() != shard || !is_due
        });
    }

    /// A shard ends: its clients go, and so do the sessions that live there.
    pub fn end(&mut self, shard: usize) {
        let gone = self.clients().into_iter().filter(|client| client.shard.index() == shard);
        gone.collect::<Vec<_>>().into_iter().for_each(|client| self.leave(client));
        self.shards[shard].end_all();
        self.books.retain(|id, _| id.home().index() != shard);
        self.ended[shard] = true;
        assert!(self.shards[shard].is_empty());
    }

    pub fn clients(&self) -> Vec<Asker> {
        let guests = self.guests.iter().map(|(client, _)| *client);
        self.waiting.iter().copied().chain(guests).collect()
    }

    fn carry_out(&mut self, shard: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Tell { to, message } => self.tell(shard, to.index(), message),
                Action::Reply { to, reply } => {
                    self.hear(Asker { shard: ShardId(shard as u16), socket: to }, reply);
                }
                Action::Close(socket) => {
                    let of_socket = |(client, _): &(Asker, SessionId)| client.socket == socket;
                    let place = self.guests.iter().position(of_socket).expect("a guest is closed");
                    let (_, id) = self.guests.swap_remove(place);
                    assert!(!self.books.contains_key(&id), "and its session was deleted");
                }
            }
        }
    }

    fn tell(&mut self, from: usize, to: usize, message: SessionMessage) {
        assert_ne!(from, to, "nobody tells himself");
        let is_full = self.full.contains(&(from, to)) && message.can_fail();
        if !is_full && !self.ended[to] {
            return self.lanes.entry((from, to)).or_default().push_back(message);
        }
        // Whoever got that reply has left with its shard.
        if let SessionMessage::Reply { reply, .. } = &message
            && let Reply::Created { id, .. } | Reply::Taken { id, .. } = &**reply
        {
            self.books.remove(id);
        }
        let mut actions = Vec::new();
        self.shards[from].on_unsent(message, &mut actions);
        self.carry_out(from, actions);
    }

    /// A client is answered: it waited, and waits no more.
    fn hear(&mut self, client: Asker, reply: Reply) {
        let place = self.waiting.iter().position(|other| *other == client);
        self.waiting.swap_remove(place.expect("only who waits is answered, and once"));
        match reply {
            Reply::Taken { id, .. } => {
                assert!(self.taken.insert(id), "used twice");
                self.guests.push((client, id));
            }
            Reply::Created { .. } | Reply::Found { .. } | Reply::Deleted | Reply::Refused(_) => {}
        }
    }

    /// The reply of a home against the model's.
    fn check(&mut self, question: Question, from: Asker, reply: &Reply) {
        let now_ms = self.now_ms;
        let expected = match question {
            Question::Create(wish) => return self.check_created(wish, reply),
            Question::Look { id, user } => self.find(id, user.as_ref()).map(|entry| Reply::Found {
                id,
                start: Arc::new(entry.start.clone()),
                conflate_ms: entry.start.conflate_ms.unwrap_or(7),
                expires_in_ms: entry.until_ms.map(|until_ms| until_ms - now_ms),
            }),
            Question::Delete { id, user } => self.find(id, user.as_ref()).is_some().then(|| {
                self.books.remove(&id);
                Reply::Deleted
            }),
            Question::Take { id, user, route } => {
                let entry = self.find(id, user.as_ref()).filter(|entry| entry.route == route);
                entry.map(|entry| match entry.at {
                    Some(_) => Reply::Refused(Refusal::used()),
                    None => {
                        (entry.at, entry.until_ms) = (Some(from), None);
                        Reply::Taken { id, start: Arc::new(entry.start.clone()) }
                    }
                })
            }
        };
        assert_eq!(*reply, expected.unwrap_or_else(|| Reply::Refused(Refusal::not_found())));
    }

    fn check_created(&mut self, wish: Wish, reply: &Reply) {
        let waiting = |entry: &&Entry| entry.until_ms.is_some() && entry.route == wish.route;
        let all = self.books.values().filter(waiting).count();
        let own = self.books.values().filter(waiting).filter(|e| e.user == wish.user).count();
        let Reply::Created { id, expires_in_ms } = reply else {
            let refusal = if own >= PER_USER { Refusal::quota(PER_USER) } else { Refusal::limit() };
            assert!(own >= PER_USER || all >= PLACES);
            return assert_eq!(*reply, Reply::Refused(refusal));
        };
        assert!(own < PER_USER && all < PLACES, "{own} and {all} wait already");
        assert_eq!((*expires_in_ms, id.home()), (TTL_MS, self.home_of(&wish.user)));
        let Wish { route, user, start } = wish;
        let until_ms = Some(self.now_ms + TTL_MS);
        let old = self.books.insert(*id, Entry { user, route, start, until_ms, at: None });
        assert!(old.is_none(), "an id of its own");
        self.ids.push(*id);
    }

    pub fn home_of(&self, user: &UserKey) -> ShardId {
        crate::router::home_of(&user.to_string(), self.shards.len())
    }

    fn find(&mut self, id: SessionId, user: Option<&UserId>) -> Option<&mut Entry> {
        let now_ms = self.now_ms;
        let is_over = |entry: &Entry| entry.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        if self.books.get(&id).is_some_and(is_over) {
            self.books.remove(&id);
        }
        self.books.get_mut(&id).filter(|entry| entry.user.admits(user))
    }

    /// What the shards count is what the model has; and no bound is exceeded.
    pub fn compare(&self) {
        let sum = |value: fn(&ShardMetrics) -> u64| -> u64 {
            self.metrics.iter().map(|metrics| value(metrics)).sum()
        };
        let waits = |entry: &&Entry| entry.until_ms.is_some();
        let waiting = self.books.values().filter(waits).count();
        assert_eq!(sum(|m| m.topic_sessions.waiting.get()), waiting as u64);
        let connected = (self.books.len() - waiting) as u64;
        assert_eq!(sum(|m| m.topic_sessions.connected.get()), connected);
        assert_eq!(self.places.iter().map(|places| places.taken()).sum::<usize>(), waiting);
        let created = sum(|m| m.topic_sessions.created.get());
        assert_eq!(created, self.ids.len() as u64);
        for route in 0..2 {
            for which in 0..=NAMES.len() {
                let of_user = |e: &&Entry| e.user == user(which) && e.route == tag(route);
                assert!(self.books.values().filter(waits).filter(of_user).count() <= PER_USER);
            }
        }
    }

    /// Everyone goes, everything is heard, and time passes: nothing is left.
    pub fn finish(mut self) {
        for client in self.clients() {
            self.leave(client);
        }
        while self.lanes.values().any(|lane| !lane.is_empty()) {
            let lanes: Vec<_> = self.lanes.keys().copied().collect();
            lanes.into_iter().for_each(|(from, to)| self.deliver(from, to));
        }
        self.now_ms += TTL_MS + TICK_MS;
        (0..self.shards.len()).for_each(|shard| self.tick(shard));
        if self.ended.contains(&true) {
            // What was on its way to a shard that has ended is not told.
            (0..self.shards.len()).for_each(|shard| self.end(shard));
        }
        self.compare();
        assert!(self.books.is_empty(), "{} sessions are left", self.books.len());
        assert!(self.waiting.is_empty() && self.guests.is_empty());
        assert!(self.shards.iter().all(Sessions::is_empty));
        let left = |m: &Arc<ShardMetrics>| m.topic_sessions.bytes.get();
        assert_eq!(self.metrics.iter().map(left).sum::<u64>(), 0);
    }
}
