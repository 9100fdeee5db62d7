//! The topics route on one shard, and on several with a broker that is a model.

mod broker;
mod cases;
mod clients;
mod conflation;
mod simulation;
mod world;

use super::*;

fn config(pattern: &str) -> TopicsConfig {
    TopicsConfig::new(ChannelPattern::parse(pattern).unwrap())
}

fn topic(name: &str) -> Topic {
    Topic::parse(name).unwrap()
}
