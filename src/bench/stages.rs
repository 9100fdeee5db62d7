//! ▢ How many users there are when: stages of a length and the number at their end.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// One stage: the number of users moves evenly to `users`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Stage {
    length: Duration,
    users: u32,
}

/// Stages, one after another, from nobody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stages {
    stages: Vec<Stage>,
    /// Of each time of constant users, what is not measured; `None`: a second, or a fifth of a
    /// short one.
    head: Option<Duration>,
}

/// A time in which the number of users does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flat {
    /// From the beginning.
    pub from: Duration,
    /// From the beginning.
    pub to: Duration,
    /// At its beginning, what is not measured: whatever the change before it has left.
    pub head: Duration,
    /// How many there are.
    pub users: u32,
}

/// See [`Flat::head`].
const HEAD: Duration = Duration::from_secs(1);
/// The same, of a short one.
const HEAD_SHARE: f64 = 0.2;
/// Most users of one generator.
const USERS_MAX: u32 = 10_000_000;
/// Most stages of one run.
const STAGES_MAX: usize = 1_000;

/// The stages that the price engine was tested with.
const NAMED: [(&str, &str); 3] = [
    ("smoke", "3m:100,1m:100,30s:150,1m:150,10s:0"),
    ("spike", "3m:1000,1m:1000,30s:1500,1m:1500,10s:0"),
    ("capacity", "5m:5000,5m:5000"),
];

impl Stages {
    /// How many users there should be at `time` from the beginning.
    pub fn users_at(&self, time: Duration) -> u32 {
        let (mut begin, mut before) = (Duration::ZERO, 0);
        for stage in &self.stages {
            let end = begin + stage.length;
            if time < end {
                let part = (time - begin).as_secs_f64() / stage.length.as_secs_f64();
                let change = f64::from(stage.users) - f64::from(before);
                return (f64::from(before) + change * part).round() as u32;
            }
            (begin, before) = (end, stage.users);
        }
        before
    }

    /// From the first to the end of the last.
    pub fn length(&self) -> Duration {
        self.stages.iter().map(|stage| stage.length).sum()
    }

    /// The most users that there are at once.
    pub fn peak(&self) -> u32 {
        self.stages.iter().map(|stage| stage.users).max().unwrap_or(0)
    }

    /// Up to `users`, which takes `ramp`, and so many for the time of `hold`; then twice as many,
    /// and so on, `doublings` times.
    pub fn doubling(users: u32, ramp: Duration, hold: Duration, doublings: u32) -> Self {
        let steps = (0..=doublings).map(|step| users.saturating_mul(1 << step.min(31)));
        let pair = |users| [Stage { length: ramp, users }, Stage { length: hold, users }];
        Self { stages: steps.flat_map(pair).collect(), head: None }
    }

    /// When the number of users does not change, and there are any.
    pub fn flats(&self) -> Vec<Flat> {
        let (mut from, mut before, mut flats) = (Duration::ZERO, 0, Vec::new());
        for &Stage { length, users } in &self.stages {
            let to = from + length;
            if users == before && users > 0 {
                let head = self.head.unwrap_or_else(|| HEAD.min(length.mul_f64(HEAD_SHARE)));
                flats.push(Flat { from, to, head, users });
            }
            (from, before) = (to, users);
        }
        flats
    }

    /// The same, with so much at the beginning of each time of constant users not measured.
    #[must_use]
    pub fn with_head(self, head: Option<Duration>) -> Self {
        Self { head, ..self }
    }

    /// What was given to [`Stages::with_head`], as compressed.
    pub fn head(&self) -> Option<Duration> {
        self.head
    }

    /// The same in a `scale`th of the time.
    #[must_use]
    pub fn compressed(&self, scale: f64) -> Self {
        let shorter = |stage: &Stage| Stage { length: stage.length.div_f64(scale), ..*stage };
        let head = self.head.map(|head| head.div_f64(scale));
        Self { stages: self.stages.iter().map(shorter).collect(), head }
    }
}

impl FromStr for Stages {
    type Err = String;

    /// Reads `3m:1000,30s:1500,10s:0`: lengths in `ms`, `s`, `m` or `h`; or a name: `smoke`,
    /// `spike`, `capacity`.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| *name == text.trim());
        let text = named.map_or(text, |(_, stages)| stages);
        if text.split(',').count() > STAGES_MAX {
            return Err(format!("more than {STAGES_MAX} stages"));
        }
        let stages: Result<Vec<Stage>, String> = text.split(',').map(stage).collect();
        let stages = Self { stages: stages?, head: None };
        if stages.peak() == 0 {
            return Err("no stage has a user".into());
        }
        Ok(stages)
    }
}

fn stage(text: &str) -> Result<Stage, String> {
    let form = || format!("{text:?} is no stage; write LENGTH:USERS, as in 3m:1000");
    let (length, users) = text.trim().split_once(':').ok_or_else(form)?;
    let digits = length.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(form)?;
    let (number, unit) = length.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    let number: u64 = number.parse().map_err(|_| form())?;
    let length_ms = number.checked_mul(unit_ms).filter(|ms| (1..=86_400_000).contains(ms));
    let length_ms = length_ms.ok_or_else(|| format!("{length} is not from 1ms to 24h"))?;
    let users: u32 = users.parse().map_err(|_| form())?;
    if users > USERS_MAX {
        return Err(format!("{users} users are more than {USERS_MAX}"));
    }
    Ok(Stage { length: Duration::from_millis(length_ms), users })
}

impl fmt::Display for Stages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, stage) in self.stages.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            write!(out, "{comma}{}ms:{}", stage.length.as_millis(), stage.users)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stages: &Stages, seconds: u64) -> u32 {
        stages.users_at(Duration::from_secs(seconds))
    }

    #[test]
    fn users_come_and_go_evenly() {
        let stages: Stages = "3m:1000,1m:1000,30s:1500,1m:1500,10s:0".parse().unwrap();
        assert_eq!((stages.length().as_secs(), stages.peak()), (340, 1500));
        assert_eq!([at(&stages, 0), at(&stages, 90), at(&stages, 200)], [0, 500, 1000]);
        assert_eq!([at(&stages, 255), at(&stages, 335), at(&stages, 999)], [1250, 750, 0]);
        let short = stages.compressed(10.0);
        assert_eq!((short.length().as_secs(), at(&short, 9)), (34, 500));
        assert_eq!(short.to_string().parse::<Stages>().unwrap(), short);
    }

    #[test]
    fn flat_stages_are_found() {
        let flats = |text: &str| text.parse::<Stages>().unwrap().flats();
        let flat = |from, to, users| {
            let [from, to] = [from, to].map(Duration::from_secs);
            Flat { from, to, head: Duration::from_secs(1), users }
        };
        let spike = "3m:1000,1m:1000,30s:1500,1m:1500,10s:0,5s:0";
        assert_eq!(flats(spike), [flat(180, 240, 1000), flat(270, 330, 1500)]);
        assert_eq!(flats("spike")[..], flats(spike)[..]);
        assert_eq!(flats("10s:5"), []);
        assert_eq!(flats("1s:5,1s:5")[0].head, Duration::from_millis(200));
        let late: Stages = "1s:5,60s:5".parse().unwrap();
        let late = late.with_head(Some(Duration::from_secs(35))).compressed(5.0);
        assert_eq!(late.flats()[0].head, Duration::from_secs(7));
        let [ramp, hold] = [2, 5].map(Duration::from_secs);
        let doubling = Stages::doubling(100, ramp, hold, 2);
        assert_eq!(doubling.flats(), [flat(2, 7, 100), flat(9, 14, 200), flat(16, 21, 400)]);
    }

    #[test]
    fn stages_that_make_no_sense_are_refused() {
        for bad in ["", "3m", "3:5", "m:5", "3m:x", "3d:5", "0s:5", "1s:0", "25h:1", "1s:99999999"]
        {
            assert!(bad.parse::<Stages>().is_err(), "{bad}");
        }
    }
}
