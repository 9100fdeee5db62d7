//! The answers of the admin port. None takes a body; none waits for anything.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::AdminState;
use crate::metrics::prometheus;

/// Scripts and styles of the page itself, requests to this port, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

struct Shared {
    state: AdminState,
    registry: Registry,
    /// `POST /drain` has passed the word on: a second one must not, for a second word
    /// may mean "at once".
    drain_asked: AtomicBool,
}

pub(super) fn router(state: AdminState, registry: Registry) -> Router {
    let shared = Shared { state, registry, drain_asked: AtomicBool::new(false) };
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/drain", post(drain))
        .with_state(Arc::new(shared))
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    ];
    (headers, include_str!("page.html")).into_response()
}

/// The process answers; whether it should get traffic is `/readyz`.
async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let reasons = reasons_against(&shared.state);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "reasons": reasons})))
}

/// Why new connections should go elsewhere, for people.
fn reasons_against(state: &AdminState) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.draining.load(Relaxed) {
        reasons.push("draining".to_owned());
    }
    if state.metrics.is_empty() {
        reasons.push("no shard".to_owned());
    }
    for gate in state.backlog.gates().filter(|gate| gate.lacks_workers()) {
        let (route, queue) = (gate.route(), gate.queue().queue().key());
        reasons.push(format!("route {route}: no live worker reads the queue {queue}"));
    }
    for (shard, metrics) in state.metrics.iter().enumerate() {
        if metrics.broker.up.get() == 0 {
            let why = because(metrics.broker.down_reason.get());
            reasons.push(format!("shard {shard}: broker unavailable{why}"));
        } else if state.needs_canary && metrics.broker.canary.get() == 0 {
            let why = because(metrics.broker.canary_reason.get());
            reasons.push(format!(
                "shard {shard}: no canary message has come through Redis pub/sub yet{why}"
            ));
        }
        if metrics.connections.listening.get() == 0 {
            reasons.push(format!("shard {shard}: listener closed"));
        }
    }
    reasons
}

fn because(why: Option<String>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let body = prometheus::encode(&shared.registry);
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], body).into_response()
}

async fn config(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.state.config_json.lock();
    let body = text.unwrap_or_else(PoisonError::into_inner).clone();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn drain(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    if from_another_site(&headers) {
        let refusal = json!({"error": "Origin is not this admin port", "code": "origin"});
        return (StatusCode::FORBIDDEN, Json(refusal));
    }
    let asked_before = shared.drain_asked.swap(true, Relaxed);
    if !asked_before && !shared.state.draining.load(Relaxed) {
        log::info!("admin: drain asked for");
        (shared.state.on_drain)();
    }
    (StatusCode::ACCEPTED, Json(json!({"draining": true})))
}

/// Browsers name the page behind a POST (RFC 6454); curl and the like name none. Without
/// this any web page that an operator opens could drain the gateway through loopback.
fn from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.map(|(_scheme, site)| site) != host || host.is_none()
}
