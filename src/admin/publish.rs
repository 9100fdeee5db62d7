//! `POST /v1/topics/NAME`: publishes the body, for those without Redis.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::{guard::Refusal, listener::Budget, routes::Shared};
use crate::{
    broker::embedded::WorkerPort,
    limits::ADMIN_BODY_BYTES,
    topics::{ChannelPattern, Topic, is_reserved},
    ws::query::{percent_decoded, query_value},
};

/// Room for bodies that are held whole.
pub(super) struct Bodies(Semaphore);

impl Bodies {
    /// [`ADMIN_BODY_BYTES`] for all of them.
    pub(super) fn new() -> Self {
        Self(Semaphore::new(ADMIN_BODY_BYTES / ROOM_BYTES))
    }

    /// For one that announces its length, or else may be as long as `limit_bytes`. One that is
    /// larger than all the room has it alone.
    fn room_for(
        &self,
        announced: Option<u64>,
        limit_bytes: usize,
    ) -> Result<SemaphorePermit<'_>, Refusal> {
        let bytes = announced.map_or(limit_bytes, |bytes| bytes.min(limit_bytes as u64) as usize);
        let places = (bytes.min(ADMIN_BODY_BYTES) / ROOM_BYTES).max(1);
        let permit = self.0.try_acquire_many(u32::try_from(places).unwrap_or(u32::MAX));
        let error = "too many bodies at once";
        permit.map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error))
    }
}

/// Unit of the room for bodies.
const ROOM_BYTES: usize = 1 << 10;

/// Where every request of [`publish`] begins.
pub(super) const TOPICS_PATH: &str = "/v1/topics/";

/// What can be published over the admin port.
pub struct Publishing {
    /// Path and channels of each topics route; the first is meant where none is named.
    pub routes: Vec<(String, ChannelPattern)>,
    /// Into the embedded broker; `None` where Redis carries the topics.
    pub port: Option<WorkerPort>,
    /// Longest body. A reload changes it.
    pub message_bytes: Arc<AtomicUsize>,
}

pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(budget): ConnectInfo<Budget>,
    request: Request,
) -> Result<Response, Refusal> {
    let (topic, channel) = target(&shared.state.publishing, request.uri())?;
    let Publishing { port, message_bytes, .. } = &shared.state.publishing;
    let Some(port) = port else { return Ok(use_redis(&channel)) };
    let payload = read(&shared, budget, request, message_bytes.load(Relaxed)).await?;
    let subscribers = hand_over(port, &channel, payload).await?;
    let answer = json!({"topic": topic.as_str(), "channel": &*channel, "subscribers": subscribers});
    Ok(Json(answer).into_response())
}

/// To how many shards the message went.
async fn hand_over(port: &WorkerPort, channel: &str, payload: Vec<u8>) -> Result<usize, Refusal> {
    let unavailable =
        |code, error: &str| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, error);
    let (teller, told) = oneshot::channel();
    let teller = Box::new(move |subscribers| {
        // Fails where whoever asked has gone.
        let _ = teller.send(subscribers);
    });
    port.try_publish(channel, payload, teller)
        .map_err(|_| unavailable("busy", "the embedded broker is busy"))?;
    told.await.map_err(|_| unavailable("broker_unavailable", "the embedded broker has stopped"))
}

/// The topic that a request names, and its channel.
fn target(publishing: &Publishing, uri: &Uri) -> Result<(Topic, Arc<str>), Refusal> {
    let not_found = |error: &str| Refusal::new(StatusCode::NOT_FOUND, "not_found", error);
    let bad_topic = |error: &str| Refusal::new(StatusCode::BAD_REQUEST, "bad_topic", error);
    let named = query_value(uri.query().unwrap_or_default(), "route");
    let mut routes = publishing.routes.iter();
    let pattern = match &named {
        None => routes.next().ok_or_else(|| not_found("there is no topics route")),
        Some(path) => routes
            .find(|(known, _)| known == path)
            .ok_or_else(|| not_found("route= does not name a topics route")),
    };
    let (_, pattern) = pattern?;
    let name = uri.path().strip_prefix(TOPICS_PATH).unwrap_or_default();
    let name = String::from_utf8(percent_decoded(name.as_bytes()));
    let name = name.map_err(|_| bad_topic("the name of a topic is UTF-8"))?;
    let topic = Topic::parse(&name).map_err(|error| bad_topic(&error.to_string()))?;
    let channel = pattern.channel_of(&topic);
    if is_reserved(&channel) {
        return Err(bad_topic("its channel is one of results of tasks"));
    }
    Ok((topic, channel))
}

async fn read(
    shared: &Shared,
    budget: Budget,
    mut request: Request,
    limit_bytes: usize,
) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        let error = format!("the body is over limits.message_bytes = {limit_bytes}");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit_bytes as u64) {
        return Err(too_large());
    }
    let _room = shared.bodies.room_for(announced, limit_bytes)?;
    let _grant = budget.grant(limit_bytes);
    DefaultBodyLimit::max(limit_bytes).apply(&mut request);
    match Bytes::from_request(request, &()).await {
        Ok(body) => Ok(body.into()),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Err(rejection) => Err(Refusal::new(rejection.status(), "bad_body", rejection.body_text())),
    }
}

fn use_redis(channel: &str) -> Response {
    let plain = |letter: char| letter.is_ascii_graphic() && !"\"'\\".contains(letter);
    let word = match channel.chars().all(plain) {
        true => channel.to_owned(),
        // As redis-cli reads it.
        false => format!("\"{}\"", channel.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    let answer = json!({
        "error": "Redis carries the topics: publish there",
        "code": "use_redis",
        "command": format!("PUBLISH {word}"),
    });
    (StatusCode::CONFLICT, Json(answer)).into_response()
}
