//! ▢ The commands that carry tasks, written where they go.
//!
//! `redis::Cmd` would collect the arguments first, and so copy every task once more. What is
//! seldom said is left to it.

use crate::decimal;

/// Writes one command: an array of bulk strings (RESP, "Sending commands to a Redis server").
pub struct Writer<'a> {
    output: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A command of so many arguments, its name included, at the end of `output`.
    pub fn begin(output: &'a mut Vec<u8>, arguments: usize) -> Self {
        let mut writer = Self { output };
        writer.length(b'*', arguments);
        writer
    }

    /// The next argument.
    pub fn argument(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(b'$', bytes.len());
        self.output.extend_from_slice(bytes);
        self.output.extend_from_slice(b"\r\n");
        self
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.output.push(kind);
        decimal::append(self.output, length as u64);
        self.output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn writes_what_the_packer_of_the_client_writes(
            arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
        ) {
            let (mut written, mut packed) = (Vec::new(), Vec::new());
            let mut writer = Writer::begin(&mut written, arguments.len());
            let mut command = redis::Cmd::new();
            for argument in &arguments {
                writer.argument(argument);
                command.arg(argument.as_slice());
            }
            command.write_packed_command(&mut packed);
            prop_assert_eq!(written, packed);
        }
    }
}
