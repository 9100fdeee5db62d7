//! What a shard counts of its topics routes, and how that reads in Prometheus.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{Counter, Gauge, Histogram, ShardMetrics, prometheus::counter};
use crate::topics::ErrorCode;

/// Upper ends of the buckets of the fan-out latency, in microseconds: from a turn that finds
/// everything ready to a shard that stood still.
pub const FAN_OUT_BUCKETS_US: [u64; 14] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// The topics routes of one shard (`ringgate_topics`, `ringgate_published_total`, …).
#[derive(Default, Debug)]
pub struct TopicMetrics {
    /// Topics that this shard is the home of and that somebody wants: over all shards, the
    /// channels that the process is subscribed to for topics.
    pub topics: Gauge,
    /// Pairs of a connection and a topic.
    pub subscriptions: Gauge,
    /// Messages that came from the broker, each at the home of its topic.
    pub published: Counter,
    /// Messages handed to connections of this shard, alone or in a batch.
    pub delivered: Counter,
    /// Values that gave way to a newer one of their topic before they were sent.
    pub conflated: Counter,
    /// Messages that connections missed, by reason.
    pub dropped: Dropped,
    /// Notices that a connection missed something.
    pub lost_notices: Counter,
    /// Batches sent.
    pub flushes: Counter,
    /// Payloads that were not UTF-8, and reached clients with U+FFFD in place of what is not.
    pub lossy: Counter,
    /// Error messages to clients, by code.
    pub errors: [Counter; ErrorCode::ALL.len()],
    /// From the moment at which a message was read from the broker until what it brought to a
    /// shard was handed to the sockets: once a message and shard. Batches, which wait on
    /// purpose, are not in it.
    pub fan_out: Histogram<{ FAN_OUT_BUCKETS_US.len() }>,
}

/// Messages that did not reach who had subscribed (`ringgate_dropped_total{reason}`).
#[derive(Default, Debug)]
pub struct Dropped {
    /// For one connection that does not read fast enough.
    pub slow_consumer: Counter,
    /// For all of a shard, which does not keep up; counted once, at the home.
    pub lane_full: Counter,
    /// For all: the payload is over `message_bytes`; counted once, at the home.
    pub too_large: Counter,
    /// Values that waited for a batch when their subscription ended, and messages of a topic
    /// that was given up a moment before.
    pub unsubscribed: Counter,
}

/// Reads the topics of every shard.
#[derive(Debug)]
pub struct TopicCollector {
    /// With the value of its `shard` label.
    shards: Vec<(String, Arc<ShardMetrics>)>,
}

impl TopicCollector {
    /// Of these shards, in their order.
    pub fn new(shards: &[Arc<ShardMetrics>]) -> Self {
        let label =
            |(index, shard): (usize, &Arc<ShardMetrics>)| (index.to_string(), shard.clone());
        Self { shards: shards.iter().enumerate().map(label).collect() }
    }
}

type Family = (&'static str, &'static str, fn(&TopicMetrics) -> u64);

/// Gauges.
pub(super) const GAUGES: [Family; 2] = [
    ("topics", "Topics that somebody wants, at the shard that hears them for all.", |m| {
        m.topics.get()
    }),
    ("topic_subscriptions", "Pairs of a connection and a topic.", |m| m.subscriptions.get()),
];

/// Counters; the encoder adds `_total`.
pub(super) const COUNTERS: [Family; 6] = [
    ("published", "Messages of topics from the broker.", |m| m.published.get()),
    ("delivered", "Messages of topics handed to connections.", |m| m.delivered.get()),
    ("conflated", "Values that gave way to a newer one before they were sent.", |m| {
        m.conflated.get()
    }),
    ("lost_notices", "Notices to clients that they missed messages.", |m| m.lost_notices.get()),
    ("topic_flushes", "Batches of conflated values sent.", |m| m.flushes.get()),
    ("topic_lossy", "Payloads that were not UTF-8.", |m| m.lossy.get()),
];

/// Families beside those: `dropped`, `topic_errors`, `fan_out_seconds`.
#[cfg(test)]
pub(super) const OTHERS: usize = 3;

impl Collector for TopicCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, metrics) in &self.shards {
                let labels = [("shard", shard.as_str())];
                family.encode_family(&labels)?.encode_gauge(&read(&metrics.topics))?;
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, metrics) in &self.shards {
                let labels = [("shard", shard.as_str())];
                counter(family.encode_family(&labels)?, read(&metrics.topics))?;
            }
        }
        self.encode_dropped(&mut encoder)?;
        self.encode_errors(&mut encoder)?;
        self.encode_fan_out(&mut encoder)
    }
}

impl TopicCollector {
    fn encode_dropped(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages of topics that did not reach who had subscribed.";
        let mut family = encoder.encode_descriptor("dropped", help, None, MetricType::Counter)?;
        for (shard, metrics) in &self.shards {
            let dropped = &metrics.topics.dropped;
            let reasons = [
                ("slow_consumer", &dropped.slow_consumer),
                ("lane_full", &dropped.lane_full),
                ("too_large", &dropped.too_large),
                ("unsubscribed", &dropped.unsubscribed),
            ];
            for (reason, count) in reasons {
                let labels = [("shard", shard.as_str()), ("reason", reason)];
                counter(family.encode_family(&labels)?, count.get())?;
            }
        }
        Ok(())
    }

    fn encode_errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Error messages to clients of topics.";
        let mut family =
            encoder.encode_descriptor("topic_errors", help, None, MetricType::Counter)?;
        for (shard, metrics) in &self.shards {
            for code in ErrorCode::ALL {
                let labels = [("shard", shard.as_str()), ("code", code.label())];
                let count = metrics.topics.errors[code as usize].get();
                counter(family.encode_family(&labels)?, count)?;
            }
        }
        Ok(())
    }

    fn encode_fan_out(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From a message being read from the broker until it was handed to the \
                    sockets of a shard.";
        let mut family =
            encoder.encode_descriptor("fan_out_seconds", help, None, MetricType::Histogram)?;
        for (shard, metrics) in &self.shards {
            let labels = [("shard", shard.as_str())];
            let (counts, sum_us) = metrics.topics.fan_out.get();
            let ends = FAN_OUT_BUCKETS_US.iter().map(|&us| us as f64 / 1e6);
            let buckets: Vec<(f64, u64)> = ends.chain([f64::INFINITY]).zip(counts).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                sum_us as f64 / 1e6,
                count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn the_latency_reads_as_a_histogram_of_seconds() {
        let shards = [Arc::new(ShardMetrics::default())];
        for us in [40, 50, 51, 700, 9_000_000] {
            shards[0].topics.fan_out.observe(&FAN_OUT_BUCKETS_US, us);
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TopicCollector::new(&shards)));
        let mut body = String::new();
        text::encode(&mut body, &registry).unwrap();
        for line in [
            "fan_out_seconds_sum{shard=\"0\"} 9.000841",
            "fan_out_seconds_count{shard=\"0\"} 5",
            "fan_out_seconds_bucket{le=\"0.00005\",shard=\"0\"} 2",
            "fan_out_seconds_bucket{le=\"0.0001\",shard=\"0\"} 3",
            "fan_out_seconds_bucket{le=\"0.001\",shard=\"0\"} 4",
            "fan_out_seconds_bucket{le=\"5.0\",shard=\"0\"} 4",
            "fan_out_seconds_bucket{le=\"+Inf\",shard=\"0\"} 5",
        ] {
            assert!(body.lines().any(|found| found == line), "{line}\n{body}");
        }
    }
}
