//! Measuring audio: known levels, damaged files, and the shipped recording.

use std::{f64::consts::TAU, ops::Range};

use proptest::prelude::*;

use super::*;

/// The file that `ringgate demo` plays.
const DEMO: &[u8] = include_bytes!("../../../assets/demo.wav");

fn sine(amplitude: f64, frequency_hz: f64, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|i| (amplitude * (TAU * frequency_hz * i as f64 / 16_000.0).sin()).round() as i16)
        .collect()
}

fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn wav_of(samples: &[i16], channels: u16, sample_rate: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

fn measure(bytes: &[u8]) -> Measure {
    Audio::from_bytes(bytes).unwrap().measure()
}

#[test]
fn prints_length_level_and_speech() {
    let mut samples = sine(3_500.0, 440.0, 1_280);
    samples.extend([0; 320]);
    assert_eq!(measure(&bytes_of(&samples)).to_string(), "0.10 s, -23.4 dBFS, 80 % speech");
}

#[test]
fn digital_silence_has_no_level_and_no_speech() {
    assert_eq!(measure(&[0; 3_200]).to_string(), "0.10 s, -inf dBFS, 0 % speech");
}

#[test]
fn a_loud_chunk_without_a_pause_is_all_speech() {
    assert_eq!(measure(&bytes_of(&sine(8_000.0, 200.0, 1_600))).speech_share, 1.0);
}

#[test]
fn base64_of_the_same_bytes_measures_the_same() {
    let bytes = bytes_of(&sine(5_000.0, 300.0, 1_600));
    let text = base64_simd::STANDARD.encode_to_string(&bytes);
    assert_eq!(Audio::from_base64(&text), Audio::from_bytes(&bytes));
    assert_eq!(Audio::from_base64("no base64!"), Err(AudioError::Base64));
    assert_eq!(Audio::from_base64(""), Err(AudioError::Empty));
}

#[test]
fn odd_lengths_and_empty_files_are_errors() {
    assert_eq!(Audio::from_bytes(&[0; 3]), Err(AudioError::OddLength { bytes: 3 }));
    assert_eq!(Audio::from_bytes(&wav_of(&[], 1, 16_000)), Err(AudioError::Empty));
}

#[test]
fn wav_kinds_that_are_not_taken_are_named() {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    writer.write_sample(1_i32).unwrap();
    writer.finalize().unwrap();
    let error = Audio::from_bytes(&file.into_inner()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "WAV of 24-bit integer samples in 1 channels: 16-bit PCM in 1 or 2 channels is taken"
    );
    let six_channels = wav_of(&[0; 6], 6, 48_000);
    assert!(matches!(
        Audio::from_bytes(&six_channels),
        Err(AudioError::Unsupported { channels: 6, .. })
    ));
}

#[test]
fn a_wav_file_cut_short_is_what_is_there() {
    let mut wav = wav_of(&sine(5_000.0, 300.0, 1_600), 1, 16_000);
    wav.truncate(wav.len() - 1_601);
    assert_eq!(measure(&wav).to_string(), "0.05 s, -19.3 dBFS, 100 % speech");
}

/// Streams are written with the largest length that the header holds.
#[test]
fn a_wav_stream_of_unknown_length_is_what_is_there() {
    let mut wav = wav_of(&sine(5_000.0, 300.0, 1_600), 1, 16_000);
    wav[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    wav[40..44].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    assert_eq!(measure(&wav).seconds, 0.1);
}

/// What the demo shows would be dull if every chunk measured alike.
#[test]
fn the_demo_file_has_speech_and_pauses() {
    assert!(DEMO.len() < 1_000_000, "{} bytes", DEMO.len());
    let audio = Audio::from_bytes(DEMO).unwrap();
    assert_eq!(audio.rate_hz, RAW_RATE_HZ);
    let whole = audio.measure();
    assert!((15.0..25.0).contains(&whole.seconds), "{whole}");
    assert!((0.4..0.9).contains(&whole.speech_share), "{whole}");
    let shares: Vec<f64> =
        audio.samples.chunks(1_600).map(|chunk| measure(&bytes_of(chunk)).speech_share).collect();
    let chunks = |range: Range<f64>| shares.iter().filter(|share| range.contains(share)).count();
    assert!(chunks(0.0..0.01) > 10, "pauses: {shares:?}");
    assert!(chunks(0.01..0.99) > 10, "mixed: {shares:?}");
    assert!(chunks(0.99..1.01) > 50, "speech: {shares:?}");
}

proptest! {
    #[test]
    fn a_sine_measures_3_db_below_its_amplitude(
        amplitude in 200.0..32_767.0_f64, frequency_hz in 100.0..4_000.0_f64,
    ) {
        let level = measure(&bytes_of(&sine(amplitude, frequency_hz, 16_000))).level_dbfs;
        let expected = 20.0 * (amplitude / 32_768.0).log10() - 3.01;
        prop_assert!((level - expected).abs() < 0.1, "{level} for {expected}");
    }

    #[test]
    fn louder_audio_has_a_higher_level_and_no_less_speech(
        samples in proptest::collection::vec(-800..800_i16, 1..4_000), gain in 2..40_i16,
    ) {
        let quiet = measure(&bytes_of(&samples));
        let louder: Vec<i16> = samples.iter().map(|sample| sample * gain).collect();
        let loud = measure(&bytes_of(&louder));
        prop_assert!(loud.speech_share >= quiet.speech_share, "{quiet} / {loud}");
        if quiet.level_dbfs.is_finite() {
            let gained_db = loud.level_dbfs - quiet.level_dbfs;
            prop_assert!((gained_db - 20.0 * f64::from(gain).log10()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_wav_header_changes_nothing_but_the_rate(
        samples in proptest::collection::vec(any::<i16>(), 1..2_000), rate_hz in 1..200_000_u32,
    ) {
        let mono = Audio::from_bytes(&wav_of(&samples, 1, rate_hz)).unwrap();
        prop_assert_eq!(&mono, &Audio { samples: samples.clone(), rate_hz });
        let both: Vec<i16> = samples.iter().flat_map(|sample| [*sample, *sample]).collect();
        prop_assert_eq!(Audio::from_bytes(&wav_of(&both, 2, rate_hz)).unwrap(), mono);
    }

    #[test]
    fn any_bytes_measure_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        match Audio::from_bytes(&bytes) {
            Ok(audio) => {
                let Measure { seconds, level_dbfs, speech_share } = audio.measure();
                prop_assert!(seconds > 0.0 && level_dbfs <= 0.0);
                prop_assert!((0.0..=1.0).contains(&speech_share));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn any_damage_to_a_wav_file_measures_or_fails(
        at in 0..60_usize, with in any::<[u8; 4]>(), cut in 0..120_usize,
    ) {
        let mut wav = wav_of(&sine(5_000.0, 300.0, 30), 1, 16_000);
        wav[at..at + 4].copy_from_slice(&with);
        wav.truncate(wav.len() - cut.min(wav.len()));
        let _ = Audio::from_bytes(&wav).map(|audio| audio.measure());
    }
}
