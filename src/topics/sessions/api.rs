//! ▢ The requests about sessions as clients write them, and the answers as they read them
//! (contract, topics route: REST).

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use serde::Deserialize;
use serde_json::json;

use super::{
    Question, Refusal, Refused, Reply, SessionId, SessionRoute, Start, Topic, UserId, UserKey,
    Wish, is_reserved,
};
use crate::{
    http::Answer,
    limits::{SESSION_COMPLAINT_CHARS, TOPICS_CONFLATE_MS_MAX},
    ws::{Head, query_value},
};

/// Where sessions are made; one has its id behind it.
const PATH: &str = "/v1/sessions";
/// Longest `Host` that is repeated in an address: a name of the DNS and a port.
const HOST_BYTES_MAX: usize = 261;

/// What a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint<'p> {
    /// All sessions: a new one is made here.
    All,
    /// The one with this id.
    One(&'p str),
}

impl<'p> Endpoint<'p> {
    /// What `path` names, if it is about sessions.
    pub fn of(path: &'p str) -> Option<Self> {
        match path.strip_prefix(PATH)? {
            "" => Some(Self::All),
            rest => rest.strip_prefix('/').map(Self::One),
        }
    }

    /// What may be asked there, as `Allow` says it.
    pub fn methods(self) -> &'static str {
        match self {
            Self::All => "POST, OPTIONS",
            Self::One(_) => "GET, DELETE, OPTIONS",
        }
    }
}

/// Reads requests for the topics routes of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Api<'s> {
    routes: &'s [SessionRoute],
    shards: usize,
}

/// Where a session's WebSocket is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WsAddress {
    host: Box<str>,
    path: Arc<str>,
    user: Option<UserId>,
}

/// The body of a request for a session. Unknown keys are refused: a misspelt `user_id` would
/// leave a session to everybody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    topics: Vec<String>,
    conflate_ms: Option<u64>,
    user_id: Option<String>,
    route: Option<String>,
}

impl<'s> Api<'s> {
    /// For these routes of a gateway of so many shards; `None` where there are none.
    pub(super) fn new(routes: &'s [SessionRoute], shards: usize) -> Option<Self> {
        (!routes.is_empty()).then_some(Self { routes, shards })
    }

    /// The session that the `body` of a request asks for, and where its WebSocket is to be;
    /// `from`: who sends it.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn wish(
        self,
        head: &Head<'_>,
        body: &[u8],
        from: IpAddr,
    ) -> Result<(Wish, WsAddress), Refusal> {
        let host = host_of(head)?;
        let Body { topics, conflate_ms, user_id, route } = parse(body)?;
        let route = self.route(route.as_deref())?;
        let user = match user_id {
            Some(text) => UserKey::Named(
                UserId::parse(&text).map_err(|error| Refusal::bad_request(error.to_string()))?,
            ),
            None => UserKey::from_address(from),
        };
        let start = Start {
            topics: parse_topics(&topics, route)?,
            conflate_ms: conflate_ms.map(parse_conflate_ms).transpose()?,
        };
        let path = route.path.clone();
        let address = WsAddress { host: host.into(), path, user: user.name().cloned() };
        Ok((Wish { route: route.tag, user, start }, address))
    }

    /// How it stands with the session that `id` names, or its end.
    ///
    /// # Errors
    /// 404 for what can be no session's id.
    pub fn question(self, id: &str, query: Option<&str>, end: bool) -> Result<Question, Refusal> {
        let id = SessionId::parse(id, self.shards).ok_or_else(Refusal::not_found)?;
        let user = user_in(query);
        Ok(if end { Question::Delete { id, user } } else { Question::Look { id, user } })
    }

    /// The session that the query of a WebSocket of the route at `path` names; `None` where it
    /// names none, and where the route has no sessions.
    ///
    /// # Errors
    /// 404 for what can be no session's id.
    pub fn taken(self, query: Option<&str>, path: &str) -> Option<Result<Question, Refusal>> {
        let route = self.routes.iter().find(|route| *route.path == *path)?.tag;
        let text = query_value(query?, "session")?;
        let id = SessionId::parse(&text, self.shards).ok_or_else(Refusal::not_found);
        Some(id.map(|id| Question::Take { id, user: user_in(query), route }))
    }

    fn route(self, path: Option<&str>) -> Result<&'s SessionRoute, Refusal> {
        let found = match path {
            None => self.routes.first(),
            Some(path) => self.routes.iter().find(|route| *route.path == *path),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.routes.iter().map(|route| &*route.path).collect();
            let message = format!("No such topics route, there is {}", known.join(", "));
            Refusal::new(Refused::UnknownRoute, message)
        })
    }
}

impl WsAddress {
    fn url(&self, id: SessionId) -> String {
        let Self { host, path, user } = self;
        let user =
            user.as_ref().map_or(String::new(), |user| format!("&user_id={}", user.as_str()));
        format!("ws://{host}{path}?session={id}{user}")
    }
}

impl Reply {
    /// What a client is told. `address`: of the WebSocket, where a session was asked for.
    pub fn answer(&self, address: Option<&WsAddress>) -> Answer {
        match self {
            Self::Created { id, expires_in_ms } => {
                let body = json!({
                    "session_id": id.to_string(),
                    "ws_url": address.map(|address| address.url(*id)),
                    "expires_in_s": expires_in_ms.div_ceil(1_000),
                });
                let answer = Answer::json(201, body.to_string());
                answer.field("Location", &format!("{PATH}/{id}"))
            }
            Self::Found { id, start, conflate_ms, expires_in_ms } => {
                let topics: Vec<&str> = start.topics.iter().map(Topic::as_str).collect();
                let state = if expires_in_ms.is_some() { "waiting" } else { "connected" };
                let mut body = json!({
                    "session_id": id.to_string(),
                    "topics": topics,
                    "conflate_ms": conflate_ms,
                    "state": state,
                });
                if let Some(expires_in_ms) = expires_in_ms {
                    body["expires_in_s"] = expires_in_ms.div_ceil(1_000).into();
                }
                Answer::json(200, body.to_string())
            }
            Self::Deleted | Self::Taken { .. } => Answer::no_content(),
            Self::Refused(refusal) => refusal.answer(),
        }
    }
}

/// Whoever asks says who it is; what names no user is nobody's name.
fn user_in(query: Option<&str>) -> Option<UserId> {
    UserId::parse(&query_value(query?, "user_id")?).ok()
}

/// The authority that the client has used, which stands in the address that it gets.
fn host_of<'b>(head: &Head<'b>) -> Result<&'b str, Refusal> {
    let host = head.single("Host").map_err(|refusal| Refusal::bad_request(refusal.message))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = host.ok_or_else(|| Refusal::bad_request("Host is missing"))?;
    if (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(allowed) {
        Ok(host)
    } else {
        Err(Refusal::bad_request("Host is not HOST[:PORT]"))
    }
}

fn parse(body: &[u8]) -> Result<Body, Refusal> {
    // serde would take an array for it, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::bad_request("Body must be a JSON object with topics"));
    }
    serde_json::from_slice(body).map_err(|error| {
        // It may repeat a text of the body.
        let complaint: String = error.to_string().chars().take(SESSION_COMPLAINT_CHARS).collect();
        Refusal::bad_request(format!("Body is not what it should be: {complaint}"))
    })
}

/// Each once, in the order of their first naming.
fn parse_topics(names: &[String], route: &SessionRoute) -> Result<Vec<Topic>, Refusal> {
    let topics_max = route.settings.topics_max;
    if names.is_empty() {
        return Err(Refusal::bad_request("topics must name at least one topic"));
    }
    if names.len() > topics_max {
        let message = format!("At most {topics_max} topics a session, these are {}", names.len());
        return Err(Refusal::new(Refused::TooManyTopics, message));
    }
    let mut seen = HashSet::new();
    let new = names.iter().filter(|name| seen.insert(name.as_str()));
    let topic = |name: &String| {
        let refusal = |message: String| Refusal::new(Refused::BadTopic, message);
        let topic = Topic::parse(name).map_err(|error| refusal(error.to_string()))?;
        if is_reserved(&route.channel.channel_of(&topic)) {
            return Err(refusal("The channel of this topic is reserved for results".to_owned()));
        }
        Ok(topic)
    };
    new.map(topic).collect()
}

fn parse_conflate_ms(ms: u64) -> Result<u32, Refusal> {
    let fits = u32::try_from(ms).ok().filter(|&ms| ms <= TOPICS_CONFLATE_MS_MAX);
    let message = || format!("conflate_ms must be 0 to {TOPICS_CONFLATE_MS_MAX}");
    fits.ok_or_else(|| Refusal::bad_request(message()))
}
