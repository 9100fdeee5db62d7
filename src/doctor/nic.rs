//! Network interfaces: whether packets reach all the cores that have shards.

use std::collections::BTreeSet;

use super::{Check, Level, host::Host};
use crate::config::parse_core_list;

const INTERFACES: &str = "/sys/class/net";

pub(super) fn checks(host: &Host, cores: &[usize]) -> Vec<Check> {
    let names = host.names(INTERFACES).into_iter();
    let interfaces: Vec<Interface> = names.filter_map(|name| Interface::read(host, name)).collect();
    if interfaces.is_empty() {
        let none = "no hardware: a container, or loopback only";
        return vec![Check::new("nic", Level::Ok, none).wants("look on the host")];
    }
    interfaces.iter().flat_map(|nic| [nic.queues(cores), nic.interrupts(cores)]).collect()
}

/// One that has a device and is not down.
struct Interface {
    name: String,
    receive_queues: usize,
    send_queues: usize,
    /// Cores that receive queues are spread to in software (RPS).
    rps_cores: BTreeSet<usize>,
    /// A send queue has cores of its own (XPS); `None` where that cannot be chosen.
    has_xps: Option<bool>,
    /// Cores that take its interrupts, of each of them.
    interrupt_cores: Vec<BTreeSet<usize>>,
}

impl Interface {
    fn read(host: &Host, name: String) -> Option<Self> {
        let directory = format!("{INTERFACES}/{name}");
        let state = host.text(&format!("{directory}/operstate")).unwrap_or_default();
        // Bridges, tunnels and pairs have no device; what is below them has.
        let device = host.link_name(&format!("{directory}/device"))?;
        if name == "lo" || state == "down" {
            return None;
        }
        let queues = host.names(&format!("{directory}/queues"));
        let masks = |kind: &str, file: &str| -> Vec<BTreeSet<usize>> {
            let of_kind = queues.iter().filter(|queue| queue.starts_with(kind));
            let mask = |queue| host.text(&format!("{directory}/queues/{queue}/{file}")).ok();
            of_kind.filter_map(mask).map(|mask| cores_of_mask(&mask)).collect()
        };
        let count = |kind: &str| queues.iter().filter(|queue| queue.starts_with(kind)).count();
        let xps = masks("tx-", "xps_cpus");
        let interrupt_cores = interrupts(host, &name, &device);
        Some(Self {
            receive_queues: count("rx-"),
            send_queues: count("tx-"),
            rps_cores: masks("rx-", "rps_cpus").into_iter().flatten().collect(),
            has_xps: (!xps.is_empty()).then(|| xps.iter().any(|mask| !mask.is_empty())),
            interrupt_cores: interrupt_cores.iter().map(|irq| affinity(host, irq)).collect(),
            name,
        })
    }

    fn queues(&self, cores: &[usize]) -> Check {
        let has_rps = cores.iter().all(|core| self.rps_cores.contains(core));
        let reaches_all = self.receive_queues >= cores.len() || has_rps;
        let level = if reaches_all { Level::Ok } else { Level::Warn };
        let rps = if self.rps_cores.is_empty() { "off" } else { "on" };
        let xps = match self.has_xps {
            Some(true) => ", XPS on",
            Some(false) => ", XPS off",
            None => "",
        };
        let (receive, send) = (self.receive_queues, self.send_queues);
        let value = format!("{receive} rx, {send} tx, RPS {rps}{xps}");
        Check::new(format!("nic {} queues", self.name), level, value)
            .wants(format!("{} rx queues, or RPS to the cores", cores.len()))
            .fix(self.script(cores))
    }

    /// Several queues whose interrupts all come to one core are one queue.
    fn interrupts(&self, cores: &[usize]) -> Check {
        let name = format!("nic {} interrupts", self.name);
        let wanted = "spread over the cores";
        let all: BTreeSet<usize> = self.interrupt_cores.iter().flatten().copied().collect();
        if all.is_empty() {
            return Check::new(name, Level::Ok, "not shown").wants(wanted);
        }
        let is_crowded = all.len() == 1 && self.receive_queues.min(cores.len()) > 1;
        let list: Vec<String> = all.iter().map(usize::to_string).collect();
        let value = format!("{} on cores {}", self.interrupt_cores.len(), list.join(","));
        let level = if is_crowded { Level::Warn } else { Level::Ok };
        Check::new(name, level, value).wants(wanted).fix(self.script(cores))
    }

    fn script(&self, cores: &[usize]) -> String {
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        format!("tuning/nic.sh --interface {} --cores {}", self.name, list.join(","))
    }
}

/// Numbers of the interrupts of an interface, by what drivers call them in `/proc/interrupts`:
/// `eth0-TxRx-0`, or for virtio `virtio2-input.0`.
fn interrupts(host: &Host, name: &str, device: &str) -> Vec<String> {
    let listed = host.names(&format!("{INTERFACES}/{name}/device/msi_irqs"));
    if !listed.is_empty() {
        return listed;
    }
    let text = host.text("/proc/interrupts").unwrap_or_default();
    let queue_of_device = [format!("{device}-input"), format!("{device}-output")];
    let is_its = |label: &str| {
        label == name
            || label.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '.', ':']))
            || queue_of_device.iter().any(|start| label.starts_with(start))
    };
    let number = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let label = rest.split_whitespace().next_back()?;
        is_its(label).then(|| number.trim().to_owned())
    };
    text.lines().filter_map(number).collect()
}

/// The cores that an interrupt goes to: in truth, or as it was asked for.
fn affinity(host: &Host, interrupt: &str) -> BTreeSet<usize> {
    let files = ["effective_affinity_list", "smp_affinity_list"];
    let read = |file| host.text(&format!("/proc/irq/{interrupt}/{file}")).ok();
    let list = files.into_iter().filter_map(read).find(|list| !list.is_empty());
    list.and_then(|list| parse_core_list(&list)).unwrap_or_default().into_iter().collect()
}

/// `ff,00000001` is cores 0 and 32 to 39: words of 32 bits, the highest first.
fn cores_of_mask(mask: &str) -> BTreeSet<usize> {
    let mut cores = BTreeSet::new();
    for (index, word) in mask.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(word, 16).unwrap_or(0);
        cores.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| index * 32 + bit));
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_words_of_32_bits_the_highest_first() {
        assert!(cores_of_mask("0").is_empty() && cores_of_mask("").is_empty());
        assert_eq!(Vec::from_iter(cores_of_mask("f")), [0, 1, 2, 3]);
        assert_eq!(Vec::from_iter(cores_of_mask("3,80000001")), [0, 31, 32, 33]);
        assert!(cores_of_mask("not a mask").is_empty());
    }
}
