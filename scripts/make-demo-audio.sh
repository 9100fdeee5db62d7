#!/bin/sh
# Makes assets/demo.wav, the recording that `ringgate demo` streams: about 20 s of speech
# with pauses, 16 kHz, mono, 16 bits. Needs espeak-ng and sox (apt-get install both).
#
# Speech from a synthesiser, so that nobody's voice and nobody's licence is in the
# repository. Low noise lies under it: a pause of digital silence would not show how the
# threshold of speech follows the noise floor.
set -eu

target=$(dirname "$0")/../assets/demo.wav
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

number=0
say() { # peak in dB, pause after it in seconds, text
    number=$((number + 1))
    espeak-ng -v en-gb -s 170 -w "$parts/raw.wav" "$3"
    sox "$parts/raw.wav" -r 16000 -c 1 -b 16 "$parts/$(printf %02d $number).wav" \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse gain -n "$1" pad 0 "$2"
}

say -4 1.0 "Good evening. This is Ringgate."
say -4 1.4 "Every tenth of a second of this recording is one message on a web socket."
say -4 0.8 "The gateway puts it into a queue. A worker takes it out, and measures it."
say -2 0.6 "Loud."
say -16 0.6 "Quiet."
say -4 1.6 "And nothing at all, for a while."
say -4 0.5 "Each answer comes back to the connection that asked for it."

sox "$parts"/[0-9]*.wav "$parts/speech.wav" pad 0.4 0
# -R: the same noise every time. Its level is around -57 dBFS.
sox -R -m -v 1 "$parts/speech.wav" -v 0.004 "|sox -R -r 16000 -n -p synth $(soxi -D "$parts/speech.wav") pinknoise" \
    -r 16000 -c 1 -b 16 "$target"
soxi "$target"
