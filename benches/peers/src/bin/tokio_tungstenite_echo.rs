//! An echo server on tokio-tungstenite, as its own `examples/echo-server.rs` has it: the stream of
//! messages is filtered for data and forwarded into the sink. Pings are answered by the library.

use std::io;

use futures_util::{StreamExt, TryStreamExt, future};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Error;

fn main() -> io::Result<()> {
    ringgate_peers::run(|stream| {
        tokio::spawn(echo(stream));
    })
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let (sink, messages) = accept_async(stream).await?.split();
    messages
        .try_filter(|message| future::ready(message.is_text() || message.is_binary()))
        .forward(sink)
        .await
}
