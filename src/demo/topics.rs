//! The subscriber of `ringgate demo`: an ordinary client of the topics route, on a socket,
//! like any other.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, client::client};

use super::{broken, ticker};

/// Ticks that are shown.
const SHOWN: usize = 6;
/// For all of them to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client sends to have some of the topics, one batch every half a second.
pub fn example() -> String {
    let topics: Vec<&str> = ticker::symbols().take(2).collect();
    // In the order in which people read it.
    format!(r#"{{"op":"subscribe","topics":{},"conflate_ms":500}}"#, json!(topics))
}

/// Subscribes to every topic of the ticker and prints the first ticks that come.
///
/// # Errors
/// The connection, or an answer that the protocol does not have.
pub fn show(address: SocketAddr, path: &str, out: &mut impl Write) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = client(format!("ws://{address}{path}"), stream)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let topics: Vec<&str> = ticker::symbols().collect();
    let request = json!({"op": "subscribe", "topics": topics, "conflate_ms": 0});
    socket.send(Message::text(request.to_string())).map_err(broken)?;
    writeln!(out, "\nlive from ws://{address}{path}:")?;
    let mut shown = 0;
    while shown < SHOWN {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.get_ref().set_read_timeout(Some(left))?;
        let Message::Text(text) = socket.read().map_err(broken)? else { continue };
        shown += print_ticks(&serde_json::from_str(&text)?, out)?;
    }
    // Best effort: enough has been received.
    let _ = socket.close(None);
    Ok(())
}

/// How many ticks the message was.
fn print_ticks(message: &Value, out: &mut impl Write) -> io::Result<usize> {
    if message["op"] == "error" {
        let said = message["message"].as_str().unwrap_or("an error without a message");
        return Err(io::Error::other(said.to_owned()));
    }
    // One message, or a batch of them where the route conflates.
    let ticks = message.as_array().map_or(std::slice::from_ref(message), Vec::as_slice);
    let mut count = 0;
    for tick in ticks {
        let (Some(topic), Some(price), Some(ts)) =
            (tick["topic"].as_str(), tick["data"]["price"].as_f64(), tick["data"]["ts"].as_u64())
        else {
            continue;
        };
        let age_ms = ticker::now_ms().saturating_sub(ts);
        writeln!(out, "  {topic:<5} {price:>8.2}  {age_ms} ms after it was published")?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(message: Value) -> (usize, String) {
        let mut out = Vec::new();
        let count = print_ticks(&message, &mut out).unwrap();
        (count, String::from_utf8(out).unwrap())
    }

    #[test]
    fn ticks_are_shown_alone_and_in_batches_and_nothing_else_is() {
        let tick = json!({"topic": "AAPL", "data": {"price": 189.4, "ts": u64::MAX}});
        let line = "  AAPL    189.40  0 ms after it was published\n";
        assert_eq!(printed(tick.clone()), (1, line.to_owned()));
        assert_eq!(printed(json!([tick, tick])), (2, line.repeat(2)));
        for other in [
            json!({"op": "subscribed", "topics": ["AAPL"]}),
            json!({"topic": "AAPL", "data": "closed"}),
            json!([]),
            json!(1),
        ] {
            assert_eq!(printed(other), (0, String::new()));
        }
        let refused = json!({"op": "error", "code": "busy", "message": "the system is busy"});
        let error = print_ticks(&refused, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the system is busy");
    }
}
