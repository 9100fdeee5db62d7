//! `ringgate worker`: a reference worker for a Redis queue.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::Error;
use super::flags::{argument, given};
use crate::config::{
    Change, ConfigError, Flags, Kind, Problem, Range, RedisUrl, Setting, Words, resolve_flags,
};
use crate::worker::{
    StreamWork, WorkOptions,
    redis::{self, RedisWorkerOptions},
};

/// Arguments of `ringgate worker`, unchecked; they may hold a password.
#[derive(Clone, Default)]
pub struct WorkerArgs {
    flags: Flags,
}

/// What a worker does.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerOptions {
    /// The server whose queue it reads.
    pub redis: RedisUrl,
    /// Key of the queue.
    pub queue: String,
    /// The queue is a stream.
    pub is_stream: bool,
    /// Consumer group of a stream.
    pub group: String,
    /// Name in the group and of the heartbeat; empty: made of host and process.
    pub name: String,
    /// Added to each task, before its result.
    pub delay_ms: u64,
    /// Tasks at a time.
    pub concurrency: usize,
    /// Share of tasks that fail, 0 to 1.
    pub fail_rate: f64,
    /// The least important messages that are logged.
    pub log_level: log::LevelFilter,
}

/// Works until SIGTERM or SIGINT, then finishes what it has taken.
///
/// # Errors
/// Bad arguments, or whatever ends the worker early.
pub fn run(args: &WorkerArgs) -> Result<(), Error> {
    let options = args.options()?;
    super::start_log::start_at(options.log_level);
    let failed = |error: io::Error| Error::Failed(error.to_string());
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let (handle, on_signal) = (signals.handle(), stop.clone());
    let listener = thread::spawn(move || {
        for _ in signals.forever() {
            on_signal.store(true, Relaxed);
        }
    });
    let kind = if options.is_stream { "stream" } else { "list" };
    log::info!("working on the {kind} {} of {}", options.queue, options.redis);
    let outcome = match options.stream_work() {
        Some(stream) => redis::run_stream(options.into(), stream, stop),
        None => redis::run(options.into(), stop),
    };
    handle.close();
    let _ = listener.join();
    let tally = outcome.map_err(|error| match error.is_usage() {
        true => Error::Usage(error.to_string()),
        false => Error::Failed(error.to_string()),
    })?;
    log::info!(
        "done {}, failed {}, malformed {}, lost {}",
        tally.done,
        tally.failed,
        tally.malformed,
        tally.lost
    );
    Ok(())
}

const LIST_KEY: &str = "asr_chunk_queue";
const STREAM_KEY: &str = "asr_tasks";

const REDIS_DEFAULT: &str = "redis://127.0.0.1:6379/0";

const WORKER_SETTINGS: &[Setting<WorkerOptions>] = &[
    Setting {
        secret: true,
        ..flag(
            "redis",
            Kind::RedisUrl(|w, v| w.redis = v),
            REDIS_DEFAULT,
            "Redis server whose queue it reads",
        )
    },
    flag(
        "queue",
        Kind::Text(Range { min: 1, max: 512, why: "it is sent with every read" }, |w, v| {
            w.queue = v;
        }),
        LIST_KEY,
        "Redis key of the queue; the gateway must write the same. For a stream the default is \
         asr_tasks",
    ),
    flag(
        "mode",
        Kind::Word(Words { known: &["list", "stream"] }, |w, v| {
            w.is_stream = v == "stream";
        }),
        "list",
        "Redis type of the queue",
    ),
    flag(
        "group",
        Kind::Text(Range { min: 1, max: 512, why: "it is sent with every read" }, |w, v| {
            w.group = v;
        }),
        "asr_workers",
        "Consumer group, of a stream only",
    ),
    flag(
        "name",
        Kind::Text(Range { min: 0, max: 128, why: "it is part of a key" }, |w, v| w.name = v),
        "",
        "Name in the group and in worker:NAME:heartbeat, of a stream only; empty: HOST-PID",
    ),
    flag(
        "delay-ms",
        Kind::Count(Range { min: 0, max: 3_600_000, why: "in milliseconds, up to 1h" }, |w, v| {
            w.delay_ms = v as u64;
        }),
        "0",
        "Milliseconds that each task takes at least",
    ),
    flag(
        "concurrency",
        Kind::Count(
            Range { min: 1, max: 1_024, why: "each is a thread and a connection" },
            |w, v| {
                w.concurrency = v;
            },
        ),
        "1",
        "Tasks at a time",
    ),
    flag(
        "fail-rate",
        Kind::Ratio(|w, v| w.fail_rate = v),
        "0",
        "Share of tasks, 0 to 1, that it fails on purpose",
    ),
    flag(
        "log-level",
        Kind::LogLevel(|w, v| w.log_level = v),
        "info",
        "Least important messages that are logged",
    ),
];

impl WorkerArgs {
    /// The checked options.
    ///
    /// # Errors
    /// Everything that is wrong with the arguments.
    pub fn options(&self) -> Result<WorkerOptions, ConfigError> {
        let mut flags = self.flags.clone();
        if flags.get("mode").is_some_and(|mode| mode == "stream") {
            flags.entry("queue").or_insert_with(|| STREAM_KEY.to_owned());
        }
        let options = resolve_flags(WORKER_SETTINGS, &flags, WorkerOptions::blank())?;
        let meaningless = ["group", "name"].into_iter().filter(|flag| flags.contains_key(flag));
        let problem = |flag: &str| Problem::Value {
            option: format!("--{flag}"),
            value: flags.get(flag).map(|text| format!("{text:?}")),
            limit: "has no meaning for a list".into(),
            fix: "remove it, or give --mode stream".into(),
        };
        let problems: Vec<Problem> = meaningless.map(problem).collect();
        match options.is_stream || problems.is_empty() {
            true => Ok(options),
            false => Err(ConfigError { problems }),
        }
    }
}

impl From<WorkerOptions> for RedisWorkerOptions {
    fn from(options: WorkerOptions) -> Self {
        let work = WorkOptions {
            delay: Duration::from_millis(options.delay_ms),
            fail_rate: options.fail_rate,
            ..WorkOptions::default()
        };
        Self {
            redis: options.redis.expose().to_owned(),
            queue: options.queue,
            concurrency: options.concurrency,
            work,
        }
    }
}

impl WorkerOptions {
    /// What a worker of a stream is told besides.
    fn stream_work(&self) -> Option<StreamWork> {
        let name = || match self.name.as_str() {
            "" => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("{host}-{}", std::process::id())
            }
            name => name.to_owned(),
        };
        self.is_stream.then(|| StreamWork { group: self.group.clone(), name: name() })
    }

    /// Every field is overwritten out of the table, by its default at least.
    fn blank() -> Self {
        Self {
            redis: REDIS_DEFAULT.parse().expect("a constant that the tests read"),
            queue: String::new(),
            is_stream: false,
            group: String::new(),
            name: String::new(),
            delay_ms: 0,
            concurrency: 0,
            fail_rate: 0.0,
            log_level: log::LevelFilter::Off,
        }
    }
}

impl fmt::Debug for WorkerArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.flags.keys()).finish()
    }
}

impl Args for WorkerArgs {
    fn augment_args(command: Command) -> Command {
        WORKER_SETTINGS.iter().fold(command, |command, setting| command.args(argument(setting, "")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WorkerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { flags: given(WORKER_SETTINGS, matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const fn flag(
    name: &'static str,
    kind: Kind<WorkerOptions>,
    default: &'static str,
    help: &'static str,
) -> Setting<WorkerOptions> {
    let (flag, default) = (Some(name), Some(default));
    Setting { key: name, flag, kind, default, help, secret: false, change: Change::Restart }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(flags: &[(&'static str, &str)]) -> Result<WorkerOptions, String> {
        let flags = flags.iter().map(|(flag, text)| (*flag, (*text).to_owned())).collect();
        WorkerArgs { flags }.options().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_first_system() {
        let options = options(&[]).unwrap();
        assert_eq!(options.redis.expose(), REDIS_DEFAULT);
        assert_eq!(options.queue, "asr_chunk_queue");
        assert_eq!((options.concurrency, options.delay_ms), (1, 0));
        assert_eq!(options.log_level, log::LevelFilter::Info);
    }

    /// Fault 3: a log level in lower case killed the worker at its start.
    #[test]
    fn fault_3_log_level_of_the_worker_in_any_case() {
        for level in ["debug", "DEBUG", "Debug"] {
            let options = options(&[("log-level", level)]).unwrap();
            assert_eq!(options.log_level, log::LevelFilter::Debug);
        }
    }

    #[test]
    fn a_stream_has_its_own_defaults_and_a_list_no_group() {
        let stream = options(&[("mode", "stream")]).unwrap();
        assert_eq!(stream.queue, "asr_tasks");
        let work = stream.stream_work().unwrap();
        assert_eq!(work.group, "asr_workers");
        assert!(work.name.ends_with(&format!("-{}", std::process::id())), "{}", work.name);
        let named = [("mode", "stream"), ("queue", "q"), ("group", "g"), ("name", "n")];
        let named = options(&named).unwrap();
        let work = named.stream_work().unwrap();
        assert_eq!((&*named.queue, &*work.group, &*work.name), ("q", "g", "n"));
        assert!(options(&[]).unwrap().stream_work().is_none());
        let error = options(&[("group", "g"), ("name", "n")]).unwrap_err();
        for part in ["--group", "--name", "no meaning", "--mode stream"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_password() {
        let error = options(&[
            ("redis", "redis:/:s3cret@h"),
            ("fail-rate", "1.5"),
            ("concurrency", "0"),
            ("mode", "set"),
        ])
        .unwrap_err();
        for part in ["--redis = ***", "--fail-rate", "0 to 1", "--concurrency", "\"stream\""] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
    }
}
