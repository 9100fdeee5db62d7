//! A connection that its client left open when it went on over another one.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use super::client::Link;
use super::model::{Session, Violation};
use super::report::Stage;
use super::wire::Word;

/// For the close of a connection that has been taken over already.
const PATIENCE: Duration = Duration::from_secs(15);

/// Close code of a session taken over.
pub const TAKEN_OVER: u16 = 4009;

pub struct Old {
    link: Link,
    session: String,
    /// Its start was acked, so that the session was its own.
    owned: bool,
    /// `start` with its session was sent over another connection to the same life of the
    /// gateway: it may be taken over.
    contested: bool,
    /// That start was acked: it has been.
    taken_over: bool,
}

impl Old {
    /// `contested`: a start that was sent before this connection may still be read.
    pub fn new(session: &Session, link: Link, contested: bool) -> Self {
        let owned = session.is_started();
        Self { link, session: session.id.clone(), owned, contested, taken_over: false }
    }

    /// Its session is started over another connection.
    pub fn on_other_start_sent(&mut self, other: &Link) {
        self.contested |= self.link.is_beside(other);
    }

    /// That start was acked.
    pub fn on_other_started(&mut self, other: &Link) {
        self.taken_over |= self.owned && self.link.is_beside(other);
    }

    /// What it still heard, now that its session has ended. Taken over, it has to be closed
    /// with 4009, unless it had its final result before: then there was nothing to take over.
    pub fn end(mut self, stage: &Stage) -> Result<(), Violation> {
        let wrong = |what: String| Err(Violation(format!("{} (old): {what}", self.session)));
        let (start, mut concluded) = (Instant::now(), false);
        loop {
            match self.link.wire.hear(Duration::from_millis(50)) {
                Word::Message(message) => {
                    let name = message.get("session_id");
                    if name.is_some_and(|name| name != self.session.as_str()) {
                        return wrong(format!("a message of another session: {message}"));
                    }
                    concluded |= message["type"] == "final_result";
                }
                Word::End(Some(TAKEN_OVER)) => {
                    stage.count("takeovers", 1);
                    return match self.contested {
                        true => Ok(()),
                        false => wrong("closed with 4009, and nobody took it over".into()),
                    };
                }
                Word::End(Some(code)) => return wrong(format!("closed with {code}")),
                Word::End(None) => {
                    return match stage.doors[self.link.door].life.load(SeqCst) == self.link.life {
                        true if self.died(stage) => Ok(()),
                        true => wrong("ended without a close frame".into()),
                        false => Ok(()),
                    };
                }
                Word::Nothing if concluded || !self.taken_over => return Ok(()),
                Word::Nothing if start.elapsed() > PATIENCE => {
                    return wrong("taken over, and still open".into());
                }
                Word::Nothing => {}
            }
        }
    }

    /// Whether the gateway was being killed just now.
    fn died(&self, stage: &Stage) -> bool {
        std::thread::sleep(Duration::from_millis(500));
        stage.doors[self.link.door].life.load(SeqCst) != self.link.life
    }
}
