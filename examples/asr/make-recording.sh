#!/bin/sh
# Makes digits.wav: six groups of spoken digits with a second of pause between, about 9 s,
# 16 kHz, mono, 16 bits. Its words are those of digits.txt, a line a group.
# Needs espeak-ng and sox (apt-get install espeak-ng sox).
#
# Speech from a synthesiser, so that nobody's voice and nobody's licence is in the repository.
set -eu

here=$(dirname "$0")
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

number=0
while read -r words; do
    number=$((number + 1))
    espeak-ng -v en-us -s 150 -w "$parts/raw.wav" "$words"
    sox "$parts/raw.wav" -r 16000 -c 1 -b 16 "$parts/$number.wav" \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse gain -n -4 pad 0.25 0.25
done <"$here/digits.txt"

# Low noise lies under the speech, about
# -57 dBFS: no microphone gives digital silence, and recognisers are not made for it.
sox "$parts"/[0-9]*.wav "$parts/speech.wav"
sox -R -m -v 1 "$parts/speech.wav" \
    -v 0.004 "|sox -R -r 16000 -n -p synth $(soxi -D "$parts/speech.wav") pinknoise" \
    -r 16000 -c 1 -b 16 "$here/digits.wav"
soxi "$here/digits.wav"
