//! Audio that says whose it is: a result can be checked to belong to its chunk.
//!
//! A chunk begins with its session and index in letters, which the checker's own workers
//! answer. The reference worker measures it: the length is the index's, the level the
//! session's.

use ringgate::worker::audio::Audio;

/// The chunk `index` of `session`: raw 16 kHz 16-bit PCM.
pub fn chunk(session: &str, index: u32) -> Vec<u8> {
    let mut bytes = format!("{};", name(session, index)).into_bytes();
    let hash = session.bytes().fold(7_u32, |hash, b| hash.wrapping_mul(31).wrapping_add(b.into()));
    let amplitude = (32_767.0 * 10_f64.powf(-f64::from(hash % 400) / 200.0)) as i16;
    let length = 640 * (1 + index as usize);
    bytes.resize(bytes.len().next_multiple_of(2), b' ');
    let mut sample = amplitude;
    while bytes.len() < length {
        bytes.extend(sample.to_le_bytes());
        sample = -sample;
    }
    bytes
}

/// What the checker's workers answer.
pub fn name(session: &str, index: u32) -> String {
    format!("{session}#{index}")
}

/// Whose chunk it is by its own account.
pub fn read_name(audio: &[u8]) -> Option<&str> {
    let end = audio.iter().position(|&byte| byte == b';')?;
    std::str::from_utf8(&audio[..end]).ok()
}

/// The two texts that may answer it: of the checker's workers, and of the reference worker.
pub fn texts(session: &str, index: u32) -> [String; 2] {
    let audio = Audio::from_bytes(&chunk(session, index)).expect("an even number of bytes");
    [name(session, index), audio.measure().to_string()]
}
