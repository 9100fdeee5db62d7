//! ▢ What a link says first on every connection, and what it must hear before commands
//! follow: that it may come in, that the server takes writes, and that every queue is what
//! the configuration says.

use redis::{Value, cmd};

use super::{Link, LinkError};
use crate::broker::{Queue, redis::work::Sent};

impl Link {
    pub(super) fn greet(&mut self, now_ms: u64) {
        self.greeting.clear();
        let mut hello = cmd("HELLO");
        hello.arg(3);
        if let Some(password) = &self.target.password {
            hello.arg("AUTH").arg(self.target.user.as_deref().unwrap_or("default")).arg(password);
        }
        hello.arg("SETNAME").arg(&self.name).write_packed_command(&mut self.greeting);
        self.work.sent(Sent::Hello, now_ms);
        if self.target.db != 0 {
            cmd("SELECT").arg(self.target.db).write_packed_command(&mut self.greeting);
            self.work.sent(Sent::Select, now_ms);
        }
        for queue in &self.queues {
            cmd("TYPE").arg(&**queue.key()).write_packed_command(&mut self.greeting);
            self.work.sent(Sent::Type(queue.clone()), now_ms);
            if let Queue::Stream { key, group } = queue {
                let mut create = cmd("XGROUP");
                create.arg("CREATE").arg(&**key).arg(&**group).arg(0).arg("MKSTREAM");
                create.write_packed_command(&mut self.greeting);
                self.work.sent(Sent::Group(queue.clone()), now_ms);
            }
        }
        // HELLO is answered by a server that is still loading its data; PING is not.
        cmd("PING").write_packed_command(&mut self.greeting);
        self.work.sent(Sent::Ping, now_ms);
    }

    /// A replica takes no writes, and what is published there reaches no worker.
    pub(super) fn check_role(hello: &Value) -> Result<(), LinkError> {
        let Value::Map(pairs) = hello else { return Ok(()) };
        let role = pairs.iter().find_map(|(name, role)| match (name, role) {
            (Value::BulkString(name), Value::BulkString(role)) if name == b"role" => Some(role),
            _ => None,
        });
        match role {
            Some(role) if role != b"master" => Err(read_only("its role is replica")),
            _ => Ok(()),
        }
    }

    /// `found`: the answer of TYPE.
    pub(super) fn check_type(queue: &Queue, found: &str) -> Result<(), LinkError> {
        if found == "none" || found == queue.mode() {
            return Ok(());
        }
        let (key, mode) = (queue.key(), queue.mode());
        let fix = match found {
            "list" | "stream" => format!("write mode = \"{found}\", or another key"),
            _ => "it is no queue: write another key".to_string(),
        };
        Err(LinkError::Refused(format!(
            "the key {key:?} holds a {found}, and the route with queue = {{ mode = \"{mode}\", \
             key = {key:?} }} wants a {mode}: {fix}"
        )))
    }
}

/// The server does not take writes; `text` says how that shows.
pub(super) fn read_only(text: &str) -> LinkError {
    LinkError::Refused(format!(
        "Redis is a read-only replica, and the gateway has to write: point the redis option at \
         the primary ({text})"
    ))
}

/// HELLO was refused with this error.
pub(super) fn refused_hello(text: &str, code: &str) -> LinkError {
    LinkError::Refused(match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => format!(
            "Redis refused the user or the password of the redis option; write \
             redis://USER:PASSWORD@HOST:PORT/DB with those that it knows: {text}"
        ),
        "NOPROTO" => format!("Redis does not speak RESP3; version 6 or newer is needed: {text}"),
        "ERR" if text.contains("unknown command") => {
            format!("Redis does not know HELLO; version 6 or newer is needed: {text}")
        }
        "ERR" if text.contains("max number of clients") => format!(
            "Redis has as many clients as it may; raise its maxclients, or end clients that \
             nobody needs: {text}"
        ),
        _ => format!("Redis refused the connection: {text}"),
    })
}
