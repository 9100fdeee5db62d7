//! What waits in the queues and how admission stands, once for the process.
//!
//! These families have no label `shard`: whichever shard read the depth, there is one.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder},
    metrics::MetricType,
};

use super::prometheus::counter;
use crate::{
    backlog::{NodeBacklog, QueueState},
    clock::Clock,
};

/// Reads the queues and gates of the process at each scrape.
pub struct QueueCollector {
    backlog: Arc<NodeBacklog>,
    clock: Clock,
}

impl fmt::Debug for QueueCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueCollector").field("queues", &self.backlog.queues()).finish()
    }
}

impl QueueCollector {
    /// `clock`: the one by which the shards ask.
    pub fn new(backlog: Arc<NodeBacklog>, clock: Clock) -> Self {
        Self { backlog, clock }
    }

    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        encode: impl Fn(&QueueState, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for queue in self.backlog.queues() {
            let labels = [("queue", &**queue.queue().key())];
            encode(queue, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// What is not known has no sample: an old figure would be taken for a true one.
fn known(value: Option<u64>, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
}

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now_ms = self.clock.now().ms;
        let help = "Tasks that wait for an answer in the queue, at the last reading.";
        self.gauges(&mut encoder, "queue_depth", help, |queue, sample| {
            known(queue.depth().filter(|_| !queue.is_stale(now_ms)), sample)
        })?;
        let help = "What admission compares with queue_high: the depth, pushes since, and \
                    what new connections are expected to bring.";
        self.gauges(&mut encoder, "queue_expected_depth", help, |queue, mut sample| {
            sample.encode_gauge(&queue.waiting().saturating_add(queue.expected()))
        })?;
        let help = "Live workers of the queue, where a route requires them.";
        self.gauges(&mut encoder, "queue_workers", help, |queue, sample| {
            known(queue.workers().filter(|_| !queue.is_stale(now_ms)), sample)
        })?;
        let help = "Age of the last reading of the depth.";
        self.gauges(&mut encoder, "queue_reading_age_seconds", help, |queue, mut sample| {
            sample.encode_gauge(&(queue.age_ms(now_ms) as f64 / 1000.0))
        })?;
        let help = "1 while new connections are refused for the depth of the queue.";
        let mut family =
            encoder.encode_descriptor("queue_closed", help, None, MetricType::Gauge)?;
        for gate in self.backlog.gates() {
            let labels = [("route", gate.route())];
            family.encode_family(&labels)?.encode_gauge(&u64::from(gate.is_closed()))?;
        }
        let help = "Readings of the depth; late: a turn passed because the last was open.";
        let mut family =
            encoder.encode_descriptor("queue_readings", help, None, MetricType::Counter)?;
        for queue in self.backlog.queues() {
            let counts = queue.counts();
            let outcomes =
                [("read", counts.read), ("failed", counts.failed), ("late", counts.late)];
            for (outcome, count) in outcomes {
                let labels = [("queue", &**queue.queue().key()), ("outcome", outcome)];
                counter(family.encode_family(&labels)?, count)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;
    use crate::{
        backlog::{GateConfig, Marks},
        broker::{Backlog, Command, Event, Queue},
    };

    fn scrape(registry: &Registry) -> Vec<String> {
        let mut body = String::new();
        text::encode(&mut body, registry).unwrap();
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples.filter(|line| !line.contains("_age_seconds")).map(str::to_owned).collect()
    }

    /// An old depth or none would scale workers down in the middle of an outage.
    #[test]
    fn what_is_not_known_has_no_sample() {
        let config = GateConfig {
            route: "/ws/asr".to_owned(),
            queue: Queue::Stream { key: "q".into(), group: "g".into() },
            marks: Marks { high: 7, low: 5 },
            require_workers: true,
        };
        let backlog = Arc::new(NodeBacklog::new(&[Some(config)], 1));
        let mut registry = Registry::with_prefix("ringgate");
        let collector = QueueCollector::new(backlog.clone(), Clock::start());
        registry.register_collector(Box::new(collector));
        let readings = |read: u32| {
            [("read", read), ("failed", 0), ("late", 0)].map(|(outcome, count)| {
                format!(
                    "ringgate_queue_readings_total{{queue=\"q\",outcome=\"{outcome}\"}} {count}"
                )
            })
        };
        let unknown = [
            "ringgate_queue_expected_depth{queue=\"q\"} 0".to_owned(),
            "ringgate_queue_closed{route=\"/ws/asr\"} 0".to_owned(),
        ];
        assert_eq!(scrape(&registry), [&unknown[..], &readings(0)].concat());

        let mut shard = backlog.of_shard(0);
        let Some(Command::Observe { ticket, .. }) = shard.questions(0).next() else {
            panic!("the first turn is due")
        };
        let found = Backlog { depth: 7, workers: Some(2) };
        assert_eq!(shard.on_event(Event::Observed(ticket, found), 0), None);
        let known = [
            "ringgate_queue_depth{queue=\"q\"} 7".to_owned(),
            "ringgate_queue_expected_depth{queue=\"q\"} 7".to_owned(),
            "ringgate_queue_workers{queue=\"q\"} 2".to_owned(),
            "ringgate_queue_closed{route=\"/ws/asr\"} 1".to_owned(),
        ];
        assert_eq!(scrape(&registry), [&known[..], &readings(1)].concat());
    }
}
