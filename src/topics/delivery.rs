//! ▢ Messages on their way to the connections of this shard, and what is said of those that
//! did not get there.

use std::sync::Arc;

use super::{
    Clients, InterestId, Lost, Overflow, Publication, Topic, Topics, publication::notice_frame,
    reply, table::Subscriber,
};
use crate::{clock::Now, ids::SocketId, metrics::TopicMetrics, ws::CloseCode};

impl Topics {
    /// Hands a message to everyone who subscribed.
    pub(super) fn deliver(
        &mut self,
        interest: InterestId,
        publication: Arc<Publication>,
        now: Now,
        clients: &mut impl Clients,
    ) {
        // Nobody wants it any more.
        let Some(entry) = self.table.interest(interest) else { return };
        let message = publication.share();
        let (mut sent, mut conflated, mut dropped) = (0, 0, 0);
        for subscriber in &mut entry.subscribers {
            if let Some(key) = subscriber.flush {
                let (waiting, value) = (&mut subscriber.waiting, message.element.clone());
                conflated += u64::from(self.flushes.put(key, waiting, value, now.ms));
            } else if subscriber.lost == Lost::Nothing
                && clients.offer(subscriber.socket, &message.frame)
            {
                sent += 1;
            } else {
                dropped += 1;
                subscriber.miss(Lost::count(1), self.config.overflow, clients);
            }
        }
        let metrics = &self.metrics.topics;
        metrics.delivered.add(sent);
        metrics.conflated.add(conflated);
        metrics.dropped.slow_consumer.add(dropped);
        if sent > 0 {
            self.handed_out_us.push(message.received_us);
        }
    }

    /// Messages of a topic did not come to this shard.
    pub(super) fn on_lost(&mut self, interest: InterestId, lost: Lost, clients: &mut impl Clients) {
        let Some(entry) = self.table.interest(interest) else { return };
        let Some(text) = notice(&entry.topic, lost) else { return };
        let frame = notice_frame(&text);
        for subscriber in &mut entry.subscribers {
            if subscriber.lost == Lost::Nothing && clients.offer(subscriber.socket, &frame) {
                self.metrics.topics.lost_notices.inc();
            } else {
                subscriber.miss(lost, self.config.overflow, clients);
            }
        }
    }

    /// A connection that was behind can be told what it missed. One notice for each of its
    /// topics at most, so that their number is bounded whether they find room or not.
    pub(super) fn tell_missed(&mut self, id: SocketId, clients: &mut impl Clients) {
        let metrics: &TopicMetrics = &self.metrics.topics;
        self.table.each_of(id, |topic, subscriber| {
            let lost = std::mem::replace(&mut subscriber.lost, Lost::Nothing);
            if notice(topic, lost).is_some_and(|text| clients.say(id, &text)) {
                metrics.lost_notices.inc();
            }
        });
    }
}

impl Subscriber {
    /// The connection is too far behind for what it would be sent now.
    pub(super) fn miss(&mut self, lost: Lost, overflow: Overflow, clients: &mut impl Clients) {
        match overflow {
            Overflow::Drop => {
                // What follows is missed as well, until the client has read most of what is
                // unsent: one notice for all of it, where it would be one for every message.
                if self.lost == Lost::Nothing {
                    clients.await_drain(self.socket);
                }
                self.lost = self.lost.and(lost);
            }
            Overflow::Close => {
                clients.close(self.socket, CloseCode::SlowConsumer, "reads too slowly");
            }
        }
    }
}

fn notice(topic: &Topic, lost: Lost) -> Option<String> {
    match lost {
        Lost::Nothing => None,
        Lost::Count(count) => Some(reply::lost(topic, count.into())),
        Lost::Unknown => Some(reply::lost_in_gap(topic)),
    }
}
