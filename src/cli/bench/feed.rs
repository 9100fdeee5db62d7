//! Profiles of topics that tick, with a Redis of their own: what they are told.

use std::net::SocketAddr;

use clap::{Args, value_parser};

use super::load::{LoadArgs, rate};
use crate::{
    bench::{
        beat::Beat,
        choice::Taste,
        order::Job,
        publisher::Feed,
        spike,
        topics::{self, Slow},
    },
    cli::Error,
    limits::TOPICS_CONFLATE_MS_MAX,
    topics::ChannelPattern,
};

/// What is published, and what each user wants of it.
#[derive(Args, Clone, Debug)]
struct FeedArgs {
    /// Redis where the server's topics are published
    #[arg(long, default_value = "redis://127.0.0.1:6379/0")]
    redis: String,
    /// Channels of the route
    #[arg(long, default_value = "{topic}", value_parser = channel)]
    channel: ChannelPattern,
    /// Topics that tick
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Topics of one user
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=256))]
    topics_per_user: u16,
    /// Messages a second of one topic
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    ticks: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(..=16 << 20))]
    payload_bytes: u32,
    /// Exponent of the Zipf distribution of topics over users; 0: all topics alike
    #[arg(long, default_value_t = 1.0, value_parser = exponent)]
    zipf: f64,
    /// Conflation to ask for, in milliseconds; 0: none [default: the route's]
    #[arg(long, value_parser = value_parser!(u32).range(..=i64::from(TOPICS_CONFLATE_MS_MAX)))]
    conflate_ms: Option<u32>,
    /// Do not publish: somebody else does, with the load's own messages
    #[arg(long)]
    no_publish: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct TopicsArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    feed: FeedArgs,
    /// At the end nobody reads, answers pings, says goodbye or sends FIN; measures how long the
    /// server takes to have no connection left
    #[arg(long, requires = "admin")]
    vanish: bool,
    /// Admin port of the server, where its connections are read
    #[arg(long, value_name = "ADDRESS:PORT", requires = "vanish")]
    admin: Option<SocketAddr>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct SlowReadersArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    feed: FeedArgs,
    /// So many of the users want all topics, and do not read in every second window
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    slow_readers: u32,
    /// Milliseconds of a window
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(400..=600_000))]
    window_ms: u64,
}

#[derive(Args, Clone, Debug)]
pub(super) struct SpikeArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    feed: FeedArgs,
    /// Milliseconds that a user stays
    #[arg(long, default_value_t = 12_500, value_parser = value_parser!(u64).range(1..=86_400_000))]
    stay_ms: u64,
}

impl TopicsArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let vanish = self.admin.filter(|_| self.vanish);
        self.load.run("topics", Job::Topics(self.feed.topics_job(None, vanish)))
    }
}

impl SlowReadersArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let window_ns = self.load.scaled_ns(self.window_ms);
        let slow = Slow { readers: self.slow_readers, window_ns };
        self.load.run("slow-readers", Job::Topics(self.feed.topics_job(Some(slow), None)))
    }
}

impl SpikeArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let job = spike::Job {
            feed: self.feed.feed(),
            taste: self.feed.taste(),
            conflate_ms: self.feed.conflate_ms,
            stay_ns: self.load.scaled_ns(self.stay_ms),
        };
        self.load.or_stages("spike")?.run("spike", Job::Spike(job))
    }
}

impl FeedArgs {
    fn feed(&self) -> Option<Feed> {
        (!self.no_publish).then(|| Feed {
            redis: self.redis.clone(),
            channel: self.channel.to_string(),
            beat: Beat::new(self.topics, self.ticks),
            payload_bytes: self.payload_bytes as usize,
        })
    }

    fn taste(&self) -> Taste {
        Taste { topics: self.topics, per_user: self.topics_per_user.into(), zipf: self.zipf }
    }

    fn topics_job(&self, slow: Option<Slow>, vanish: Option<SocketAddr>) -> topics::Job {
        topics::Job {
            feed: self.feed(),
            taste: self.taste(),
            conflate_ms: self.conflate_ms,
            slow,
            vanish,
        }
    }
}

fn channel(text: &str) -> Result<ChannelPattern, String> {
    ChannelPattern::parse(text).ok_or_else(|| "it must have {topic} in it, once".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=10.0).contains(number));
    number.ok_or_else(|| "it is not from 0 to 10".to_owned())
}
