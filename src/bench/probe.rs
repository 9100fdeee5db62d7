//! Before a run: whether this host can make the load, and whether there is a server at all.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::{
    ClientId, Crowd, End, Fleet,
    run::Plan,
    target::{Sources, Target},
};

/// For one WebSocket of the server.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the goodbye of that one.
const LEAVE: Duration = Duration::from_secs(1);
/// One sleep at most.
const NAP: Duration = Duration::from_millis(20);
/// Descriptors of a process of the load that are no connection: ring, pipes, eventfds, and the
/// sockets that are not quite closed yet.
const DESCRIPTORS_BESIDE: u64 = 128;
/// Ports of one source address towards one server, where the kernel does not tell its range.
const PORTS: u64 = 28_232;

/// Whether so many connections have descriptors and ports.
///
/// # Errors
/// Which limit is too low, and what to do about it.
pub fn limits(plan: &Plan) -> Result<(), String> {
    let users = u64::from(plan.stages.peak());
    let processes = u64::from(plan.processes.max(1));
    let wanted = users.div_ceil(processes) + DESCRIPTORS_BESIDE;
    if let Some(hard) = getrlimit(Resource::Nofile).maximum
        && wanted > hard
    {
        let enough = users.div_ceil(hard.saturating_sub(DESCRIPTORS_BESIDE).max(1));
        return Err(format!(
            "{users} users in {processes} process(es) of the load need {wanted} descriptors each, \
             and the hard limit of nofile is {hard}: use --processes {enough} or more, or raise \
             the limit (ulimit -Hn {wanted})"
        ));
    }
    let addresses = plan.sources.len().max(1) as u64;
    // Towards each address of the server a port may be taken once more.
    let ports = ports() * plan.target.addresses() as u64;
    let wanted = users.saturating_mul(plan.job.ports_per_user());
    if wanted > addresses * ports {
        let enough = wanted.div_ceil(ports);
        return Err(format!(
            "{wanted} connections from {addresses} source address(es) with {ports} ports each: use \
             --source with {enough} addresses or more, as 127.0.0.0/24, or widen \
             net.ipv4.ip_local_port_range"
        ));
    }
    Ok(())
}

/// How many ports the kernel gives out.
fn ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|port| port.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if last >= first => last - first + 1,
        _ => PORTS,
    }
}

/// Opens one WebSocket at each address and leaves.
///
/// # Errors
/// What the server did instead of opening it.
pub fn server(target: &Target) -> Result<(), String> {
    let mut fleet =
        Fleet::new(Sources::default(), 1).map_err(|error| format!("io_uring: {error}"))?;
    (0..target.addresses()).try_for_each(|nth| visit(&mut fleet, target, nth))
}

fn visit(fleet: &mut Fleet, whole: &Target, nth: usize) -> Result<(), String> {
    let mut visit = Visit::default();
    let (host, _) = whole.nth(nth);
    let target = format!("ws://{host}{}", whole.path);
    // The fleet takes the addresses in turn, one visit each.
    fleet.connect(whole, 0).map_err(|error| format!("{target}: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    while visit.outcome.is_none() && Instant::now() < deadline {
        let turned =
            fleet.turn(&mut visit).and_then(|any| if any { Ok(()) } else { fleet.wait(NAP) });
        turned.map_err(|error| format!("io_uring: {error}"))?;
    }
    let deadline = Instant::now() + LEAVE;
    while fleet.leaving > 0 && Instant::now() < deadline {
        let turned =
            fleet.turn(&mut visit).and_then(|any| if any { Ok(()) } else { fleet.wait(NAP) });
        turned.map_err(|error| format!("io_uring: {error}"))?;
    }
    match visit.outcome {
        Some(Ok(())) => Ok(()),
        Some(Err(end)) => Err(format!("{target}: {}", advice(&end))),
        None => Err(format!("{target}: no answer within {PATIENCE:?}")),
    }
}

/// What happened, and what may be wrong.
fn advice(end: &End) -> String {
    let hint = match end {
        End::Refused(404, _) => "; is there such a route? For echo: ringgate serve --echo /echo",
        End::Refused(..) => "; the server does not take this WebSocket",
        End::Broken(_) => "; is it a WebSocket server?",
        End::Lost(why) if why.contains("refused") => "; is the server running?",
        End::Lost(_) => "; is it a WebSocket server?",
        _ => "",
    };
    format!("{end}{hint}")
}

/// One user who comes, and goes.
#[derive(Default)]
struct Visit {
    outcome: Option<Result<(), End>>,
}

impl Crowd for Visit {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        fleet.leave(client);
        self.outcome = Some(Ok(()));
    }

    fn on_message(&mut self, _: &mut Fleet, _: ClientId, _: &[u8]) {}

    fn on_end(&mut self, _: &mut Fleet, _: ClientId, end: End) {
        self.outcome.get_or_insert(Err(end));
    }
}
