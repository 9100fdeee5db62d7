//! ▢ Whole numbers as text, for the few places where `write!` would show: it takes longer for
//! three numbers than it takes to copy the audio of a chunk.

/// Digits of the longest `u64`.
pub const DIGITS_MAX: usize = 20;

/// Appends `number` in decimal.
pub fn append(output: &mut Vec<u8>, number: u64) {
    let (mut digits, mut rest, mut from) = ([b'0'; DIGITS_MAX], number, DIGITS_MAX);
    while rest >= 10 {
        from -= 2;
        let pair = (rest % 100) as u8;
        (digits[from], digits[from + 1]) = (b'0' + pair / 10, b'0' + pair % 10);
        rest /= 100;
    }
    if rest > 0 || number == 0 {
        from -= 1;
        digits[from] = b'0' + rest as u8;
    }
    output.extend_from_slice(&digits[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn writes_what_display_writes(number: u64, shift in 0_u32..64) {
            for number in [number >> shift, u64::MAX >> shift, 10_u64.pow(shift % 20)] {
                let mut output = b"x".to_vec();
                append(&mut output, number);
                prop_assert_eq!(output, format!("x{number}").into_bytes());
            }
        }
    }
}
