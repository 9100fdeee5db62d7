//! ▢ A [`Plan`] as text: one section for each question, figures on the right.

use std::fmt::{self, Display, Formatter};

use super::{
    Plan,
    binding::{Limit, Unit},
    coefficients::Origins,
};
use crate::doctor;

/// Least width of the first column.
const NAME_WIDTH: usize = 31;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.memory(f)?;
        self.cpu(f)?;
        self.redis(f)?;
        self.network(f)?;
        self.reconnect(f)?;
        self.limits(f)?;
        self.needs(f)?;
        self.origins(f)
    }
}

impl Plan {
    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let traffic = &self.traffic;
        writeln!(
            f,
            "{} connections on {} shards, {} of them active",
            count(traffic.connections as f64),
            traffic.shards,
            count(traffic.active())
        )?;
        row(f, "descriptors", &count(self.estimate.descriptors as f64))
    }

    fn memory(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let memory = &self.estimate.memory;
        writeln!(f, "\nmemory")?;
        let rows = [
            ("process and shards", memory.fixed_bytes),
            ("connections, user", memory.connections_bytes),
            ("sessions and subscriptions", memory.sessions_bytes),
            ("TCP", memory.tcp_bytes),
            ("socket inodes", memory.socket_inode_bytes),
            ("files", memory.file_bytes),
            ("dentries", memory.dentry_bytes),
            ("io_uring", memory.io_uring_bytes),
            ("epoll", memory.epoll_bytes),
            ("kernel, fixed", memory.kernel_fixed_bytes),
            ("buffers", memory.buffer_bytes),
        ];
        for (name, bytes) in rows.into_iter().filter(|(_, bytes)| *bytes != 0.0) {
            row(f, name, &amount(bytes, Unit::Bytes))?;
        }
        let each = count(self.totals.bytes_per_connection);
        let all = amount(self.totals.memory_bytes, Unit::Bytes);
        row(f, "all", &format!("{all}, {each} B a connection"))
    }

    fn cpu(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cpu = &self.estimate.cpu;
        writeln!(f, "\ncores of the gateway")?;
        let rows = [
            ("idle, pings", cpu.idle),
            ("receive", cpu.receive),
            ("send", cpu.send),
            ("tasks", cpu.tasks),
            ("topics, fan-out", cpu.topics),
            ("waking up", cpu.waking),
        ];
        for (name, cores) in rows.into_iter().filter(|(_, cores)| *cores > 0.0) {
            row(f, name, &amount(cores, Unit::Cores))?;
        }
        let share = cpu.total() / self.traffic.shards as f64 * 100.0;
        let of = format!("{}, {share:.0} % of the shards' cores", amount(cpu.total(), Unit::Cores));
        row(f, "all", &of)
    }

    fn redis(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let redis = &self.estimate.redis;
        if redis.gateway_clients == 0 {
            return Ok(());
        }
        writeln!(f, "\nRedis")?;
        let bytes = |bytes: f64| format!("{}/s", amount(bytes, Unit::Bytes));
        let each = |number: f64| format!("{}/s", count(number));
        row(f, "commands, gateway", &each(redis.gateway_commands_per_second))?;
        row(f, "commands, workers, publishers", &each(redis.other_commands_per_second))?;
        row(f, "in", &bytes(redis.input_bytes_per_second))?;
        row(f, "out, to the gateway", &bytes(redis.to_gateway_bytes_per_second))?;
        row(f, "out, to workers", &bytes(redis.to_workers_bytes_per_second))?;
        row(f, "cores", &amount(redis.cpu_cores, Unit::Cores))?;
        row(f, "subscriptions", &count(redis.subscriptions))?;
        row(f, "clients, of the gateway", &count(redis.gateway_clients as f64))?;
        row(f, "maxclients", &count(redis.clients_wanted as f64))
    }

    fn network(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let network = &self.estimate.network;
        writeln!(f, "\nnetwork, at most")?;
        for (name, way) in [("in", network.inbound), ("out", network.outbound)] {
            let text = format!(
                "{}, {} packets/s, {} messages/s",
                amount(way.bits_per_second, Unit::BitsPerSecond),
                count(way.packets_per_second),
                count(way.messages_per_second)
            );
            row(f, name, &text)?;
        }
        let ports = &self.ports;
        let text = format!(
            "{} source addresses of {} ports ({} with as many in TIME_WAIT)",
            ports.addresses, ports.per_address, ports.addresses_with_time_wait
        );
        row(f, "a proxy, or a load generator", &text)
    }

    fn reconnect(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let reconnect = &self.reconnect;
        writeln!(f, "\neveryone back after {:.1} s", reconnect.seconds)?;
        let rows = [
            ("spread of the clients", reconnect.spread_seconds),
            ("processor time of accepts", reconnect.accept_cpu_seconds),
            ("limits.accepts_per_second", reconnect.accept_limit_seconds),
            ("refused, all back together", reconnect.retry_after_seconds),
            ("lost SYNs, sent again", reconnect.backlog_seconds),
            ("handshakes on the wire", reconnect.network_seconds.unwrap_or(0.0)),
        ];
        for (name, seconds) in rows.into_iter().filter(|(_, seconds)| *seconds > 0.0) {
            row(f, name, &format!("{seconds:.1} s"))?;
        }
        match reconnect.dropped_syns {
            0.0 => Ok(()),
            dropped => row(f, "first SYNs lost", &count(dropped)),
        }
    }

    fn limits(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let share = self.means.load_share * 100.0;
        writeln!(f, "\nlimits, the first to bind first (cores and network to {share:.0} %)")?;
        let limits = &self.limits.limits;
        let cell = |limit: &Limit| {
            let at = limit.binds_at.map_or("never".to_owned(), |at| count(at as f64));
            let [need, have] = [limit.need, limit.have].map(|of| amount(of, limit.unit));
            let verdict = if limit.holds() { "ok" } else { "TOO LITTLE" };
            (at, format!("needs {need} of {have}"), verdict)
        };
        for limit in limits {
            let (at, text, verdict) = cell(limit);
            let fix = if limit.holds() { String::new() } else { format!(": {}", limit.fix) };
            writeln!(f, "  {:NAME_WIDTH$} {at:>13}  {text}, {verdict}{fix}", limit.name)?;
        }
        for unread in &self.limits.unread {
            writeln!(f, "  not looked at: {unread}")?;
        }
        match limits.first() {
            Some(Limit { name, binds_at: Some(at), .. }) => {
                let at = count(*at as f64);
                writeln!(f, "  first to bind: {name}, at {at} connections of this traffic")
            }
            _ => writeln!(f, "  none of them binds"),
        }
    }

    fn needs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let needs = &self.needs;
        writeln!(f, "\nto be set")?;
        for setting in &needs.settings {
            let default = count(setting.default as f64);
            row(f, setting.key, &format!("{} or more, default {default}", setting.needed))?;
        }
        for (key, value) in &needs.unit {
            row(f, key, &format!("{value} or more, in the unit"))?;
        }
        for sysctl in needs.sysctls.iter().filter(|sysctl| sysctl.is_met != Some(true)) {
            let found = sysctl
                .found
                .as_ref()
                .map_or(String::new(), |found| format!(", and is {}", joined(found)));
            let text = format!("{} {}{found}", joined(&sysctl.wanted), sysctl.rule);
            row(f, sysctl.key, &text)?;
        }
        match needs.sysctls.iter().filter(|sysctl| sysctl.is_met == Some(true)).count() {
            0 => Ok(()),
            met => writeln!(f, "  {met} sysctls are as they should be"),
        }
    }

    fn origins(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Origins { memory, buffers, idle, echo, tasks, topics, accept } =
            &self.coefficients.origins;
        writeln!(f, "\ncosts (docs/plan.md has the defaults)")?;
        let rows = [
            ("memory", memory),
            ("buffers", buffers),
            ("processor time, idle", idle),
            ("processor time, messages", echo),
            ("processor time, tasks", tasks),
            ("processor time, topics", topics),
            ("processor time, accepts", accept),
        ];
        rows.into_iter().try_for_each(|(name, origin)| row(f, name, &origin.to_string()))
    }
}

fn row(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:NAME_WIDTH$} {text}")
}

/// A figure with its unit, to three places or so.
fn amount(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => count(figure),
        Unit::Bytes if figure < 0.0 => format!("-{}", doctor::bytes(-figure as u64)),
        Unit::Bytes => doctor::bytes(figure as u64),
        Unit::Cores => format!("{figure:.3}"),
        Unit::BitsPerSecond => format!("{:.3} Mbit/s", figure / 1e6),
    }
}

/// Rounded up, its digits in threes: 1,234,567. Small ones as they are.
fn count(figure: f64) -> String {
    let digits = (figure.max(0.0).ceil() as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}
