//! ▢ Whole HTTP/1.1 responses with a small JSON body, after which the socket is closed.

use std::io::Write;

/// Appends a response: `status` is code and phrase (`404 Not Found`), `extra` further
/// header lines, each with its CRLF.
pub(super) fn write_json(out: &mut Vec<u8>, status: &str, extra: &str, body: &str) {
    // RFC 9110 section 7.8: who sends Upgrade lists it in Connection too.
    let connection = if extra.contains("Upgrade: ") { "close, Upgrade" } else { "close" };
    let length = body.len();
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n{extra}\r\n{body}"
    );
}

/// Appends a 200 response with `body`, which has to be JSON; for health checks.
pub fn write_json_ok(out: &mut Vec<u8>, body: &str) {
    write_json(out, "200 OK", "", body);
}
