//! Who may change something over the admin port, which has no authentication: programs, and
//! its own page; not the pages that an operator's browser shows of other sites.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::routes::Shared;

/// Stands before every route; what only reads passes.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let only_reads = [Method::GET, Method::HEAD].contains(request.method());
    match refusal_of(request.headers(), &shared.state.hosts) {
        Some(refusal) if !only_reads => refusal.into_response(),
        _ => next.run(request).await,
    }
}

/// An answer that says why not.
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        Self { status, code, error: error.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.error, "code": self.code}))).into_response()
    }
}

fn refusal_of(headers: &HeaderMap, hosts: &[String]) -> Option<Refusal> {
    if !is_own_host(headers, hosts) {
        let error = "Host is not this admin port: use an IP address or localhost, or name the \
                     host in admin_hosts";
        Some(Refusal::new(StatusCode::FORBIDDEN, "host", error))
    } else if from_another_site(headers) {
        Some(Refusal::new(StatusCode::FORBIDDEN, "origin", "Origin is not this admin port"))
    } else {
        None
    }
}

/// A site whose name is made to lead to loopback (DNS rebinding) is its own origin to the
/// browser; its name in `Host` gives it away. No name leads to where an address stands.
fn is_own_host(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Browsers name the page behind a POST (RFC 6454); curl and the like name none. Without
/// this any web page that an operator opens could drain the gateway through loopback.
fn from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.map(|(_scheme, site)| site) != host || host.is_none()
}
