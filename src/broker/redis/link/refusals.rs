//! ▢ What an error means: for its command, for the connection, and for whoever reads the
//! log.

use std::collections::VecDeque;

use redis::ServerError;

use super::{
    Link, LinkError,
    greeting::{read_only, refused_hello},
};
use crate::broker::{
    Error, Event,
    redis::{
        frames::FrameError,
        subscriptions::Asked,
        work::{Request, Sent},
    },
};

impl Link {
    pub(super) fn on_error(
        &mut self,
        error: ServerError,
        now_ms: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        let code = error.code();
        let text = match error.details() {
            Some(details) => format!("{code} {details}"),
            None => code.to_string(),
        };
        // None of these refuses the command as such: the same one will be taken later, so it
        // stays unanswered, and the next connection asks again.
        match code {
            "LOADING" | "MASTERDOWN" | "BUSY" => return Err(LinkError::NotReady(text)),
            // PING is refused with it too, so no connection comes up until the disk is mended.
            "MISCONF" => return Err(LinkError::NotReady(text)),
            "READONLY" => return Err(read_only(&text)),
            "MOVED" | "CLUSTERDOWN" if self.is_about_a_queue() => {
                return Err(LinkError::Refused(format!(
                    "Redis is a cluster that keeps a queue on another node, or on none; point \
                     the redis option at a server without cluster mode: {text}"
                )));
            }
            "WRONGTYPE" if self.is_about_a_queue() => {
                return Err(LinkError::Refused(format!("a queue has become another type: {text}")));
            }
            _ => {}
        }
        match self.work.answered() {
            Some(Sent::Hello) => Err(refused_hello(&text, code)),
            Some(Sent::Select) => Err(LinkError::Refused(format!(
                "database {} of the redis option was refused; write a number below the server's \
                 `databases`: {text}",
                self.target.db
            ))),
            Some(Sent::Ping) => Err(LinkError::Refused(format!("PING was refused: {text}"))),
            // Whether the queue is one shows with the first task.
            Some(Sent::Type(_)) => {
                self.complain(code, now_ms, &text);
                Ok(())
            }
            Some(Sent::Group(_)) if code == "BUSYGROUP" => Ok(()),
            // The upkeep makes it later.
            Some(Sent::Group(_)) if code == "OOM" => {
                self.complain(code, now_ms, &text);
                Ok(())
            }
            Some(Sent::Group(queue)) => Err(LinkError::Refused(format!(
                "the group of the stream {:?} could not be made: {text}",
                queue.key()
            ))),
            Some(Sent::Tidy(key)) => {
                self.upkeep.answered(false);
                self.complaints.tell("upkeep", now_ms, || {
                    format!(
                        "{}: the stream {key:?} is not looked after (acknowledged entries stay, \
                         dead workers keep their tasks); Redis 6.2 or newer and a user that may \
                         run EVAL are needed: {text}",
                        self.target
                    )
                });
                Ok(())
            }
            Some(Sent::Request(request)) => {
                self.complain(code, now_ms, &text);
                self.metrics.broker.failed.inc();
                events.push(request.failed(match code {
                    "OOM" => Error::Full,
                    _ => Error::Refused(text),
                }));
                Ok(())
            }
            Some(Sent::Subscribe { asked, .. }) if asked.len() > 1 => {
                self.work.ask_each_alone(asked);
                Ok(())
            }
            Some(Sent::Subscribe { asked, .. }) => {
                self.complain(code, now_ms, &text);
                self.refuse_subscriptions(asked, &text, events);
                Ok(())
            }
            Some(Sent::CanarySubscribe(_) | Sent::CanaryPublish) => {
                self.on_canary_refused(&text, now_ms);
                Ok(())
            }
            // A user who may not unsubscribe: a new connection has no subscriptions.
            Some(Sent::Unsubscribe(_)) => {
                Err(LinkError::Refused(format!("UNSUBSCRIBE was refused: {text}")))
            }
            None => Err(LinkError::Refused(text)),
        }
    }

    /// Whether what is answered next needs a configured queue to be what it is to be.
    fn is_about_a_queue(&self) -> bool {
        let queue = match self.work.oldest() {
            Some((Sent::Request(Request::Push { queue, .. }), _))
            | Some((Sent::Request(Request::Observe { queue, .. }) | Sent::Type(queue), _)) => queue,
            Some((Sent::Tidy(_), _)) => return true,
            _ => return false,
        };
        self.queues.contains(queue)
    }

    fn refuse_subscriptions(
        &mut self,
        refused: VecDeque<Asked>,
        text: &str,
        events: &mut Vec<Event>,
    ) {
        for asked in refused {
            if !self.subscriptions.is_current(&asked) {
                continue;
            }
            self.metrics.broker.failed.inc();
            self.subscriptions.remove(&asked.channel);
            let error = Error::Refused(text.to_string());
            events.push(Event::SubscribeFailed(asked.channel, error));
        }
    }

    fn complain(&mut self, code: &str, now_ms: u64, text: &str) {
        let meaning = match code {
            "OOM" => {
                "Redis is full, and clients are told that the system is busy: raise its \
                 maxmemory, or see why its queues grow"
            }
            "NOPERM" => "the user of the redis option lacks a permission",
            _ => "Redis refused a command",
        };
        self.complaints.tell(code, now_ms, || format!("{}: {meaning}: {text}", self.target));
    }

    /// An answer too large to hold would be as large the next time: it ends its fetch.
    pub(super) fn on_frame_error(
        &mut self,
        error: FrameError,
        events: &mut Vec<Event>,
    ) -> LinkError {
        match error {
            FrameError::Malformed(text) => LinkError::Protocol(text),
            FrameError::TooLarge { what, limit } => {
                let text = format!("{what} is over its limit of {limit}");
                if let Some((Sent::Request(Request::Fetch { .. }), _)) = self.work.oldest()
                    && let Some(Sent::Request(fetch)) = self.work.answered()
                {
                    self.metrics.broker.failed.inc();
                    events.push(fetch.failed(Error::Refused(text.clone())));
                }
                LinkError::Protocol(text)
            }
        }
    }
}
