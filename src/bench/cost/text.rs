//! ▢ The figures of cost for people: memory a connection by component, processor time, lines.

use std::fmt;

use super::model::{Cost, Fit, Line, Memory, Point};

/// Head and value of each column of memory.
type Column = (&'static str, fn(&Memory) -> f64);

const COLUMNS: [Column; 9] = [
    ("user", |memory| memory.user_bytes),
    ("TCP", |memory| memory.tcp_bytes),
    ("inode", |memory| memory.socket_inode_bytes),
    ("file", |memory| memory.file_bytes),
    ("dentry", |memory| memory.dentry_bytes),
    ("io_uring", |memory| memory.io_uring_bytes),
    ("epoll", |memory| memory.epoll_bytes),
    ("buffers", |memory| memory.buffer_bytes),
    ("all", Memory::total_bytes),
];

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.points.iter().any(|point| point.connections > 0) {
            memory(out, &self.points)?;
            processor(out, &self.points)?;
        }
        if let Some(fit) = &self.fit {
            lines(out, fit)?;
        }
        if !self.unread.is_empty() {
            writeln!(out, "\nNot read, or doubtful:")?;
        }
        self.unread.iter().try_for_each(|what| writeln!(out, "  {what}"))
    }
}

fn memory(out: &mut fmt::Formatter<'_>, points: &[Point]) -> fmt::Result {
    writeln!(out, "Memory of the server, bytes a connection")?;
    write!(out, "{:>12} {:>6}", "connections", "")?;
    COLUMNS.iter().try_for_each(|(head, _)| write!(out, " {head:>9}"))?;
    writeln!(out)?;
    let unit = points.iter().map(|point| point.connections).find(|connections| *connections > 0);
    for point in points.iter().filter(|point| point.connections > 0) {
        let connections = point.connections as f64;
        let times = format!("{}x", short(connections / unit.map_or(1.0, |unit| unit as f64)));
        write!(out, "{:>12} {times:>6}", grouped(connections))?;
        for (_, value) in COLUMNS {
            write!(out, " {:>9}", grouped(value(&point.memory) / connections))?;
        }
        writeln!(out)?;
    }
    let line = |value: fn(&Memory) -> f64| {
        let in_use = points.iter().filter(|point| point.connections > 0);
        Line::through(in_use.map(|point| (point.connections as f64, value(&point.memory))))
    };
    let Some(lines) = COLUMNS.iter().map(|(_, value)| line(*value)).collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    write!(out, "{:>19}", "one more adds")?;
    lines.iter().try_for_each(|line| write!(out, " {:>9}", grouped(line.slope)))?;
    writeln!(out)
}

fn processor(out: &mut fmt::Formatter<'_>, points: &[Point]) -> fmt::Result {
    writeln!(out, "\nProcessor time of the server")?;
    writeln!(
        out,
        "{:>12} {:>8} {:>8} {:>12} {:>13} {:>16} {:>14}",
        "connections",
        "seconds",
        "cores",
        "messages/s",
        "us/message",
        "us/s/connection",
        "calls/message"
    )?;
    for point in points.iter().filter(|point| point.seconds > 0.0) {
        let Point { connections, seconds, cpu_seconds, messages, .. } = *point;
        let cpu_us = cpu_seconds * 1e6;
        let each = |value: f64, of: f64| {
            if of > 0.0 { format!("{:.2}", value / of) } else { "-".to_owned() }
        };
        let calls = point.system_calls.map(|calls| each(calls as f64, messages as f64));
        writeln!(
            out,
            "{:>12} {seconds:>8.1} {:>8.3} {:>12} {:>13} {:>16} {:>14}",
            grouped(connections as f64),
            cpu_seconds / seconds,
            grouped(messages as f64 / seconds),
            each(cpu_us, messages as f64),
            each(cpu_us / seconds, connections as f64),
            calls.unwrap_or_else(|| "-".to_owned()),
        )?;
    }
    Ok(())
}

fn lines(out: &mut fmt::Formatter<'_>, fit: &Fit) -> fmt::Result {
    let line = |line: &Line| {
        format!(
            "{} + {:.1} a connection (r2 {:.3})",
            grouped(line.fixed),
            line.slope,
            line.r_squared
        )
    };
    writeln!(out, "\nLines through these points")?;
    writeln!(out, "  own memory, bytes:       {}", line(&fit.user_bytes))?;
    writeln!(out, "  kernel's memory, bytes:  {}", line(&fit.kernel_bytes))?;
    writeln!(out, "  buffers, bytes:          {}", line(&fit.buffer_bytes))?;
    if let Some(idle) = &fit.idle_cpu_us {
        writeln!(out, "  idle, us of CPU/s:       {}", line(idle))?;
    }
    if let Some(each) = fit.cpu_us_per_message {
        writeln!(out, "  CPU, us a message:       {each:.2}")?;
    }
    if let Some(each) = fit.system_calls_per_message {
        writeln!(out, "  system calls a message:  {each:.3}")?;
    }
    Ok(())
}

/// `1`, `2`, `1.5`.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Whole, with commas between the thousands.
fn grouped(number: f64) -> String {
    let text = format!("{number:.0}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let mut out = if digits == "0" { String::new() } else { sign.to_owned() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(connections: u64, messages: u64) -> Point {
        let n = connections as f64;
        let memory = Memory {
            user_bytes: 10e6 + 120.0 * n,
            tcp_bytes: 2521.0 * n,
            io_uring_bytes: 288.0 * n,
            ..Memory::default()
        };
        let system_calls = (messages > 0).then_some(messages / 2);
        Point { connections, seconds: 10.0, memory, cpu_seconds: 0.5, messages, system_calls }
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0.0, -0.4, 7.0, 999.6, 1_234_567.0, -98_765.4].map(grouped);
        assert_eq!(texts, ["0", "0", "7", "1,000", "1,234,567", "-98,765"]);
        assert_eq!([1.0, 2.04, 1.5].map(short), ["1", "2", "1.5"]);
    }

    #[test]
    fn a_cost_is_told() {
        let points = vec![point(0, 0), point(1_000, 0), point(2_000, 0), point(4_000, 100_000)];
        let text = Cost::new(points, vec!["perf: none".to_owned()]).to_string();
        println!("{text}");
        let line = |mark: &str| {
            let line = text.lines().find(|line| line.contains(mark)).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("1x"), "1,000 1x 10,120 2,521 0 0 0 288 0 0 12,929");
        assert!(line("4x").starts_with("4,000 4x 2,620 2,521"), "{text}");
        assert_eq!(line("one more adds"), "one more adds 120 2,521 0 0 0 288 0 0 2,929");
        assert!(text.contains("10,000,000 + 120.0 a connection (r2 1.000)"), "{text}");
        assert!(text.contains("system calls a message:  0.500"), "{text}");
        assert!(text.ends_with("doubtful:\n  perf: none\n"), "{text}");
        assert_eq!(line("10,000").split(' ').nth(4), Some("5.00"), "{text}");
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        assert_eq!(Cost::default().to_string(), "");
        assert!(!Cost::new(vec![point(5, 0)], Vec::new()).to_string().contains("Lines"));
    }
}
