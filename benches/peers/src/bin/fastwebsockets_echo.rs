//! An echo server on fastwebsockets, as its own `examples/echo_server.rs` has it: hyper for the
//! handshake, then frames read and written as they are, in a task without tokio's budget. Pings are answered by the library.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

fn main() -> io::Result<()> {
    ringgate_peers::run(|stream| {
        tokio::spawn(serve(stream));
    })
}

async fn serve(stream: TcpStream) -> hyper::Result<()> {
    let http = http1::Builder::new();
    http.serve_connection(TokioIo::new(stream), service_fn(shake_hands)).with_upgrades().await
}

async fn shake_hands(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let upgraded = if is_upgrade_request(&request) { upgrade(&mut request).ok() } else { None };
    let Some((response, upgraded)) = upgraded else {
        let mut refusal = Response::new(Empty::new());
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refusal);
    };
    // Not made to yield after so many reads, as in the library's example.
    tokio::spawn(tokio::task::unconstrained(echo(upgraded)));
    Ok(response)
}

async fn echo(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
