//! ▢ The lines through the points, and the coefficients of a server.

use super::model::{Cost, Fit, Line, Memory, Point};

/// A point is idle where a connection has no more messages a second than this: at 10 µs each
/// they are the noise of the processor's clock.
const IDLE_MESSAGES_PER_SECOND: f64 = 0.001;
const MICROSECONDS: f64 = 1e6;

impl Memory {
    /// All of the kernel's but the buffers.
    pub fn kernel_bytes(&self) -> f64 {
        let socket = self.tcp_bytes + self.socket_inode_bytes + self.file_bytes + self.dentry_bytes;
        socket + self.io_uring_bytes + self.epoll_bytes
    }

    /// Everything.
    pub fn total_bytes(&self) -> f64 {
        self.user_bytes + self.kernel_bytes() + self.buffer_bytes
    }
}

impl Point {
    /// Whether its processor time is that of connections which say next to nothing.
    pub fn is_idle(&self) -> bool {
        let most = IDLE_MESSAGES_PER_SECOND * self.connections as f64 * self.seconds;
        self.messages as f64 <= most
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_seconds * MICROSECONDS
    }
}

impl Line {
    /// The line of least squares; what is no number is left out. `None` where there are not two
    /// different x.
    pub fn through(points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let points: Vec<(f64, f64)> = points.collect();
        let &(first, _) = points.first()?;
        if points.iter().all(|(x, _)| *x == first) {
            return None;
        }
        // Around the means, or the squares of large x drown what lies between them.
        let count = points.len() as f64;
        let (x_mean, y_mean) = mean(&points, count);
        let sum = |of: fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| of(x - x_mean, y - y_mean)).sum()
        };
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        let slope = xy / xx;
        let explained = if points.len() <= 2 || yy == 0.0 { 1.0 } else { xy / xx * xy / yy };
        let line = Self { fixed: y_mean - slope * x_mean, slope, r_squared: explained.min(1.0) };
        let is_number = [line.fixed, line.slope, line.r_squared].iter().all(|n| n.is_finite());
        is_number.then_some(line)
    }

    /// Its height at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.fixed + self.slope * x
    }
}

fn mean(points: &[(f64, f64)], count: f64) -> (f64, f64) {
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    (x / count, y / count)
}

impl Fit {
    /// Of points at two numbers of connections or more. A point without connections counts only
    /// where there are not two others: a server allocates with the first connection what it
    /// then has for all.
    pub fn of(points: &[Point]) -> Option<Self> {
        let in_use: Vec<Point> = points.iter().filter(|p| p.connections > 0).copied().collect();
        Self::of_all(&in_use).or_else(|| Self::of_all(points))
    }

    fn of_all(points: &[Point]) -> Option<Self> {
        let line = |of: fn(&Memory) -> f64| {
            Line::through(points.iter().map(|point| (point.connections as f64, of(&point.memory))))
        };
        let idle_cpu_us = idle(points);
        Some(Self {
            user_bytes: line(|memory| memory.user_bytes)?,
            kernel_bytes: line(Memory::kernel_bytes)?,
            buffer_bytes: line(|memory| memory.buffer_bytes)?,
            idle_cpu_us,
            cpu_us_per_message: cpu_us_per_message(points, idle_cpu_us),
            system_calls_per_message: system_calls_per_message(points),
        })
    }
}

fn idle(points: &[Point]) -> Option<Line> {
    let idle = points.iter().filter(|point| point.is_idle() && point.seconds > 0.0);
    Line::through(idle.map(|p| (p.connections as f64, p.cpu_us() / p.seconds)))
}

/// Those whose cost is that of messages.
fn busy(points: &[Point]) -> impl Iterator<Item = &Point> {
    points.iter().filter(|point| point.messages > 0 && !point.is_idle())
}

/// The connections' own share is taken off where it is known.
fn cpu_us_per_message(points: &[Point], idle: Option<Line>) -> Option<f64> {
    let of_messages = |point: &Point| {
        let idle = idle.map_or(0.0, |line| line.at(point.connections as f64).max(0.0));
        (point.cpu_us() - idle * point.seconds).max(0.0)
    };
    per_message(busy(points).map(|point| (of_messages(point), point.messages)))
}

fn system_calls_per_message(points: &[Point]) -> Option<f64> {
    let counted = busy(points).filter_map(|p| Some((p.system_calls? as f64, p.messages)));
    per_message(counted)
}

fn per_message(parts: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let (cost, messages) = parts
        .fold((0.0, 0.0), |(cost, all), (more, messages)| (cost + more, all + messages as f64));
    let each = cost / messages;
    each.is_finite().then_some(each)
}

impl Cost {
    /// With the lines through the points.
    pub fn new(points: Vec<Point>, unread: Vec<String>) -> Self {
        Self { fit: Fit::of(&points), points, unread }
    }
}

#[cfg(test)]
mod tests;
