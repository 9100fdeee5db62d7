//! What the embedded broker holds and what it had no room for, once for the process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use super::prometheus::counter;
use crate::broker::embedded::EmbeddedCounts;

/// Reads the counters of the embedded broker at each scrape.
#[derive(Debug)]
pub struct EmbeddedCollector {
    counts: Arc<EmbeddedCounts>,
}

impl EmbeddedCollector {
    /// `counts`: which the broker's thread writes.
    pub fn new(counts: Arc<EmbeddedCounts>) -> Self {
        Self { counts }
    }
}

impl Collector for EmbeddedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |value: &AtomicU64| value.load(Relaxed);
        encoder
            .encode_descriptor("list_bytes", "Bytes in all lists.", None, MetricType::Gauge)?
            .encode_gauge(&read(&self.counts.list_bytes))?;
        let help = "Values refused because the lists were full.";
        let refused = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        counter(refused, read(&self.counts.refused))?;
        let help = "Results dropped because a shard did not read them in time.";
        let dropped =
            encoder.encode_descriptor("messages_dropped", help, None, MetricType::Counter)?;
        counter(dropped, read(&self.counts.messages_dropped))
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn each_count_has_its_family() {
        let counts = Arc::new(EmbeddedCounts::default());
        counts.list_bytes.store(7, Relaxed);
        counts.refused.store(8, Relaxed);
        counts.messages_dropped.store(9, Relaxed);
        let mut registry = Registry::with_prefix("ringgate_embedded");
        registry.register_collector(Box::new(EmbeddedCollector::new(counts)));
        let mut body = String::new();
        text::encode(&mut body, &registry).unwrap();
        let samples: Vec<_> = body.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "ringgate_embedded_list_bytes 7",
            "ringgate_embedded_refused_total 8",
            "ringgate_embedded_messages_dropped_total 9",
        ];
        assert_eq!(samples, expected);
    }
}
