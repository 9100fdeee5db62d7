//! Who is killed when, and brought back.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread::sleep,
    time::Instant,
};

use super::model::Violation;
use super::plan::{Dice, Fault};
use super::processes::Process;
use super::report::Stage;
use crate::support::redis::RedisServer;

/// Everybody that can be killed from outside.
pub struct Cast {
    pub redis: RedisServer,
    pub gateways: [Process; 2],
    pub workers: Vec<Process>,
}

/// Kills until the time has come; then everybody lives.
pub fn run(stage: &Stage, cast: &mut Cast, dies: &[AtomicBool], until: Instant) {
    let mut dice = Dice::new(stage.seed, 1);
    let outside = stage.faults.iter().copied().filter(|fault| *fault != Fault::Client);
    let outside: Vec<Fault> = outside.collect();
    while Instant::now() < until {
        sleep(dice.millis(100, 1_500).min(until.saturating_duration_since(Instant::now())));
        if outside.is_empty() {
            continue;
        }
        match dice.pick(&outside) {
            Fault::Redis => {
                stage.count("kills of Redis", 1);
                cast.redis.kill();
                stage.happened("Redis is dead");
                next(&stage.outage);
                sleep(dice.millis(20, 700));
                next(&stage.outage);
                cast.redis.restart();
                stage.happened("Redis lives");
            }
            Fault::Gateway => {
                let door = dice.below(2) as usize;
                stage.count("kills of gateways", 1);
                kill(stage, &mut cast.gateways[door]);
                stage.happened(&format!("gateway {door} is dead"));
                next(&stage.doors[door].life);
                sleep(dice.millis(0, 500));
                next(&stage.doors[door].life);
                cast.gateways[door].restart();
                stage.happened(&format!("gateway {door} is started"));
            }
            Fault::Worker if dice.percent(50) => {
                let index = dice.below(cast.workers.len() as u64) as usize;
                stage.count("kills of worker processes", 1);
                kill(stage, &mut cast.workers[index]);
                stage.happened(&format!("worker process {index} is dead"));
                sleep(dice.millis(0, 300));
                cast.workers[index].restart();
            }
            Fault::Worker | Fault::Client => {
                stage.count("kills of own workers", 1);
                dies[dice.below(dies.len() as u64) as usize].store(true, SeqCst);
            }
        }
    }
}

fn kill(stage: &Stage, process: &mut Process) {
    if let Err(what) = process.kill() {
        stage.violated(Violation(what));
    }
}

/// What it counts is over, or begins.
fn next(number: &AtomicU64) {
    number.fetch_add(1, SeqCst);
}
