//! ▢ What can be said of a chunk of speech without recognising it: its length, its level,
//! how much of it is speech.
//!
//! # Conventions
//! - **Level**: RMS of all samples, 0 dBFS being the RMS of a full-scale square wave, so
//!   that a full-scale sine reads −3.01 dBFS. `sox … stats` and ffmpeg's `volumedetect`
//!   do the same; AES17 adds 3.01 dB. Digital silence has no level and prints `-inf dBFS`.
//! - **Speech**: the share of 20 ms frames (what speech codecs and voice activity
//!   detectors work in) whose level is above a threshold that follows the noise floor of
//!   the chunk, as in Rabiner and Sambur's endpoint detector (Bell System Technical
//!   Journal, 1975). Energy is all it looks at: loud noise is speech to it.

use std::{fmt, io::Cursor};

/// Rate of raw PCM, which has no header that says so (systems: 16 kHz, mono, 16 bits).
pub const RAW_RATE_HZ: u32 = 16_000;

/// Frames of speech detection per second: 20 ms each.
const FRAMES_PER_SECOND: u32 = 50;

/// The level that a tenth of the frames stay below is taken for the noise floor: pauses
/// between words fill more than that in any natural second of speech.
const FLOOR_PERCENTILE: usize = 10;

/// Speech stands at least this far above the noise floor. Twice the amplitude and a half:
/// room noise varies by a few dB from frame to frame.
const SPEECH_MARGIN_DB: f64 = 8.0;

/// Nothing below this is speech, however quiet the pauses: the hiss of a good microphone
/// is around −60 dBFS, quiet speech around −40.
const THRESHOLD_MIN_DBFS: f64 = -45.0;

/// Anything above this is speech, however loud the "pauses": in a chunk that is one long
/// vowel the quietest frames are speech as well, and are no noise floor.
const THRESHOLD_MAX_DBFS: f64 = -35.0;

/// Mono 16-bit audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audio {
    samples: Vec<i16>,
    rate_hz: u32,
}

/// What is wrong with a chunk of audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudioError {
    /// Not standard base64.
    Base64,
    /// No sample at all.
    Empty,
    /// Raw PCM of an odd number of bytes: samples have two.
    OddLength {
        /// How many bytes there were.
        bytes: usize,
    },
    /// Starts as a WAV file and goes on as something else; the text is the reader's.
    Wav(String),
    /// A WAV file of a kind that is not taken.
    Unsupported {
        /// Bits of a sample.
        bits: u16,
        /// Interleaved channels.
        channels: u16,
        /// Floating point rather than integers.
        float: bool,
    },
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64 => f.write_str("audio is not standard base64"),
            Self::Empty => f.write_str("audio is empty"),
            Self::OddLength { bytes } => {
                write!(f, "raw audio of {bytes} bytes: 16-bit samples need an even number")
            }
            Self::Wav(reason) => write!(f, "WAV header: {reason}"),
            Self::Unsupported { bits, channels, float } => {
                let kind = if *float { "float" } else { "integer" };
                write!(
                    f,
                    "WAV of {bits}-bit {kind} samples in {channels} channels: \
                     16-bit PCM in 1 or 2 channels is taken"
                )
            }
        }
    }
}

impl std::error::Error for AudioError {}

impl Audio {
    /// Reads `audio_data` as a client sent it: standard base64 with padding.
    ///
    /// # Errors
    /// Every [`AudioError`].
    pub fn from_base64(text: &str) -> Result<Self, AudioError> {
        let bytes =
            base64_simd::STANDARD.decode_to_vec(text).map_err(|_error| AudioError::Base64)?;
        Self::from_bytes(&bytes)
    }

    /// Reads a WAV file (16-bit PCM, any rate; two channels become their mean), or raw
    /// little-endian 16-bit mono PCM of [`RAW_RATE_HZ`].
    ///
    /// A WAV file that promises more samples than follow (streams are written so) is what
    /// follows.
    ///
    /// # Errors
    /// Every [`AudioError`] but `Base64`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AudioError> {
        let is_wav = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
        let audio = if is_wav { from_wav(bytes)? } else { from_raw(bytes)? };
        if audio.samples.is_empty() { Err(AudioError::Empty) } else { Ok(audio) }
    }

    /// Listens to all of it.
    pub fn measure(&self) -> Measure {
        let frame_samples = (self.rate_hz / FRAMES_PER_SECOND).max(1) as usize;
        let frames: Vec<Frame> = self.samples.chunks(frame_samples).map(Frame::of).collect();
        let samples = self.samples.len() as f64;
        let energy: f64 = frames.iter().map(|frame| frame.energy).sum();
        let threshold_dbfs = threshold_dbfs(&frames);
        let speech: usize = frames
            .iter()
            .filter(|frame| frame.level_dbfs() > threshold_dbfs)
            .map(|frame| frame.samples)
            .sum();
        Measure {
            seconds: samples / f64::from(self.rate_hz),
            level_dbfs: level_dbfs(energy, self.samples.len()),
            speech_share: speech as f64 / samples,
        }
    }
}

/// What was heard. Prints as `0.10 s, -23.4 dBFS, 64 % speech`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measure {
    /// Length in seconds.
    pub seconds: f64,
    /// Level in dBFS; negative infinity for digital silence.
    pub level_dbfs: f64,
    /// Share of the time that is speech, 0 to 1.
    pub speech_share: f64,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, level_dbfs, speech_share } = self;
        write!(f, "{seconds:.2} s, {level_dbfs:.1} dBFS, {:.0} % speech", speech_share * 100.0)
    }
}

fn from_raw(bytes: &[u8]) -> Result<Audio, AudioError> {
    let samples = samples_of(bytes).ok_or(AudioError::OddLength { bytes: bytes.len() })?;
    Ok(Audio { samples, rate_hz: RAW_RATE_HZ })
}

fn from_wav(bytes: &[u8]) -> Result<Audio, AudioError> {
    let reader = hound::WavReader::new(Cursor::new(bytes))
        .map_err(|error| AudioError::Wav(error.to_string()))?;
    let spec = reader.spec();
    let float = spec.sample_format == hound::SampleFormat::Float;
    if float || spec.bits_per_sample != 16 || !(1..=2).contains(&spec.channels) {
        let (bits, channels) = (spec.bits_per_sample, spec.channels);
        return Err(AudioError::Unsupported { bits, channels, float });
    }
    if spec.sample_rate == 0 {
        return Err(AudioError::Wav("sample rate 0".to_owned()));
    }
    let block_bytes = 2 * usize::from(spec.channels);
    let promised_bytes = 2 * reader.len() as usize;
    // The reader gives its source back standing at the first sample.
    let data_start = reader.into_inner().position() as usize;
    let data = bytes.get(data_start..).unwrap_or_default();
    let data_bytes = promised_bytes.min(data.len());
    let data = &data[..data_bytes - data_bytes % block_bytes];
    let mut samples = samples_of(data).unwrap_or_default();
    if spec.channels == 2 {
        samples = samples.chunks_exact(2).map(mean).collect();
    }
    Ok(Audio { samples, rate_hz: spec.sample_rate })
}

/// Little-endian 16-bit samples, or `None` where half of one is left over.
fn samples_of(bytes: &[u8]) -> Option<Vec<i16>> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

fn mean(channels: &[i16]) -> i16 {
    let sum: i32 = channels.iter().map(|sample| i32::from(*sample)).sum();
    (sum / channels.len().max(1) as i32) as i16
}

struct Frame {
    /// Sum of squares, in squared sample units.
    energy: f64,
    samples: usize,
}

impl Frame {
    fn of(samples: &[i16]) -> Self {
        let energy = samples.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>() as f64;
        Self { energy, samples: samples.len() }
    }

    fn level_dbfs(&self) -> f64 {
        level_dbfs(self.energy, self.samples)
    }
}

fn level_dbfs(energy: f64, samples: usize) -> f64 {
    const FULL_SCALE: f64 = 32_768.0;
    10.0 * (energy / samples as f64 / (FULL_SCALE * FULL_SCALE)).log10()
}

fn threshold_dbfs(frames: &[Frame]) -> f64 {
    let mut levels: Vec<f64> = frames.iter().map(Frame::level_dbfs).collect();
    let floor_index = levels.len() * FLOOR_PERCENTILE / 100;
    let (_, floor_dbfs, _) = levels.select_nth_unstable_by(floor_index, f64::total_cmp);
    (*floor_dbfs + SPEECH_MARGIN_DB).clamp(THRESHOLD_MIN_DBFS, THRESHOLD_MAX_DBFS)
}

#[cfg(test)]
mod tests;
