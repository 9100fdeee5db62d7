//! What the pure parts of the data path cost by themselves: parsing, masking, packing, merging,
//! conflating, and what carries a message from one shard to another.
//!
//! Two ways to look: `micro` prints times, and `micro NAME --iterations N` does an operation so
//! often and prints nothing, for whatever counts instructions from outside (`scripts/micro.sh`).
//! A time travels from no machine to another and hardly from one minute to the next; a count says
//! what a change did.

use std::process::ExitCode;

use clap::Parser;

mod inputs;
mod lanes;
mod redis;
mod tasks;
mod timing;
mod topics;
mod ws;

/// What the gateway has: allocating is part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Carries out an operation so many times. What it needs was made before.
pub type Run = Box<dyn FnMut(u64)>;

/// One benchmark.
#[derive(Clone, Copy)]
pub struct Bench {
    /// On the command line and in saved tables.
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// Makes what it needs.
    pub prepare: fn() -> Run,
}

/// Micro-benchmarks of the pure parts
#[derive(Parser)]
struct Options {
    /// Names of benchmarks, or how they begin; all of them where there is none
    names: Vec<String>,
    /// Print the names, and what an operation of each is
    #[arg(long)]
    list: bool,
    /// Carry out each so many times, and print nothing
    #[arg(long)]
    iterations: Option<u64>,
    /// Samples of each; the median is printed, and both quartiles
    #[arg(long, default_value_t = 51)]
    samples: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let chosen = match choose(&options.names) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            eprintln!("micro: no benchmark begins with {unknown:?}; --list names them");
            return ExitCode::from(2);
        }
    };
    if options.list {
        for bench in chosen {
            println!("{:<26} {}", bench.name, bench.operation);
        }
    } else if let Some(iterations) = options.iterations {
        for bench in chosen {
            (bench.prepare)()(iterations);
        }
    } else {
        println!("{:<26} {:>10} {:>10} {:>10}", "benchmark", "ns/op", "quartile", "quartile");
        for bench in chosen {
            let time = timing::measure(&mut (bench.prepare)(), options.samples.max(1));
            let (median, low, high) = (time.median_ns, time.low_ns, time.high_ns);
            println!("{:<26} {median:>10.1} {low:>10.1} {high:>10.1}", bench.name);
        }
    }
    ExitCode::SUCCESS
}

/// Every benchmark, in the order of the data path.
fn all() -> Vec<Bench> {
    [ws::BENCHES, tasks::BENCHES, redis::BENCHES, topics::BENCHES, lanes::BENCHES].concat()
}

/// Those that were asked for; `Err` has a name that there isn't.
fn choose(names: &[String]) -> Result<Vec<Bench>, &str> {
    let all = all();
    let begins = |bench: &Bench, name: &str| bench.name.starts_with(name);
    match names.iter().find(|name| !all.iter().any(|bench| begins(bench, name))) {
        Some(unknown) => Err(unknown),
        None if names.is_empty() => Ok(all),
        None => {
            let exact = |bench: &Bench| names.iter().any(|name| name == bench.name);
            let longer = |bench: &Bench| {
                names.iter().any(|name| begins(bench, name) && !all.iter().any(|b| b.name == name))
            };
            Ok(all.iter().filter(|bench| exact(bench) || longer(bench)).copied().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each checks its input and its result once, when it is made.
    #[test]
    fn every_benchmark_runs() {
        for bench in all() {
            let mut run = (bench.prepare)();
            for iterations in [0, 1, 9] {
                run(iterations);
            }
        }
    }

    #[test]
    fn names_are_words_of_a_shell_and_each_stands_once() {
        let names: BTreeSet<&str> = all().iter().map(|bench| bench.name).collect();
        assert_eq!(names.len(), all().len());
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
            assert!(name.len() <= 26, "{name} is wider than its column");
            assert_eq!(choose(&[name.to_string()]).unwrap().len(), 1, "{name}");
        }
    }

    #[test]
    fn a_beginning_chooses_all_that_begin_so_and_nothing_else_is_a_name() {
        let chosen = |name: &str| choose(&[name.to_string()]).map(|found| found.len()).ok();
        assert_eq!(
            chosen("ws-"),
            Some(ws::BENCHES.iter().filter(|b| b.name.starts_with("ws-")).count())
        );
        assert_eq!(chosen("nothing"), None);
        assert_eq!(choose(&[]).unwrap().len(), all().len());
    }
}
