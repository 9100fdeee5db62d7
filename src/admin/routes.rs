//! The answers of the admin port. None waits for anything but the body that it takes.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::{
    AdminState,
    guard::guard,
    publish::{Bodies, TOPICS_PATH, publish},
};
use crate::metrics::prometheus;

/// Scripts and styles of the page itself, requests to this port, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

pub(super) struct Shared {
    pub(super) state: AdminState,
    pub(super) bodies: Bodies,
    registry: Registry,
    /// `POST /drain` has passed the word on: a second one must not, for a second word
    /// may mean "at once".
    drain_asked: AtomicBool,
}

pub(super) fn router(state: AdminState, registry: Registry) -> Router {
    let shared = Arc::new(Shared {
        state,
        bodies: Bodies::new(),
        registry,
        drain_asked: AtomicBool::new(false),
    });
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/drain", post(drain))
        .route(TOPICS_PATH, post(publish))
        .route(&format!("{TOPICS_PATH}{{*name}}"), post(publish))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
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

async fn drain(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let asked_before = shared.drain_asked.swap(true, Relaxed);
    if !asked_before && !shared.state.draining.load(Relaxed) {
        log::info!("admin: drain asked for");
        (shared.state.on_drain)();
    }
    (StatusCode::ACCEPTED, Json(json!({"draining": true})))
}
