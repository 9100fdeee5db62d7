// Reference client of ringgate's tasks route: streams a recording, prints what was said.
//
// `transcribe` and `utterances` need only what browsers have; the command is at the end.

const WINDOW = 8; // chunks that may be sent and not acknowledged
const ATTEMPTS = 8; // in a row, without a new result
const BACKOFF_MAX_MS = 30_000;
const SILENCE_MAX_MS = 90_000; // the gateway answers, or gives up, within 60 s
const FINAL_CLOSES = [1002, 1003, 1007, 1008, 1009, 4009]; // again would end the same way

/** Sends `chunks` (Uint8Array: raw 16 kHz mono 16-bit PCM, or a WAV each) in one session.
 *  Gives the merged text and the gateway's `final_result`; rejects what can't be mended. */
export async function transcribe(url, chunks, options = {}) {
  const { onResult = () => {}, window = WINDOW, Socket = globalThis.WebSocket } = options;
  const session = { id: crypto.randomUUID(), open: new Map(chunks.entries()), texts: new Map() };
  for (let attempt = 1; ; attempt++) {
    const end = await converse(new Socket(url), session, onResult, window);
    if (end.final) {
      // This side's merge: a gateway that was restarted has not seen every chunk.
      const texts = [...session.texts].sort(([a], [b]) => a - b).map(([, text]) => text);
      return { text: texts.filter(Boolean).join(" "), final: end.final };
    }
    if (end.progress) attempt = 1;
    if (end.fatal || attempt >= ATTEMPTS) throw new Error(end.reason);
    // Full jitter, so that clients that were lost together don't come back together.
    const backoffMs = Math.random() * Math.min(BACKOFF_MAX_MS, 500 * 2 ** attempt);
    const waitMs = (end.retryAfterMs ?? 0) + backoffMs;
    console.error(`${end.reason}; again in ${(waitMs / 1000).toFixed(1)} s`);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** One connection, from its start to its end: {final}, or {reason, progress, fatal, …}. */
function converse(socket, session, onResult, window) {
  return new Promise((resolve) => {
    const [unacked, toSend] = [new Set(), []];
    let [started, progress, finishing, watchdog] = [false, false, false, 0];
    const send = (action, more) =>
      socket.send(JSON.stringify({ action, session_id: session.id, ...more }));
    const leave = (result) => {
      clearTimeout(watchdog);
      resolve({ progress, ...result }); // the first time; later ones change nothing
      socket.close();
    };
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => leave({ reason: "no answer" }), SILENCE_MAX_MS);
    };
    const pump = () => {
      if (!started || socket.readyState !== 1) return;
      while (toSend.length > 0 && unacked.size < window) {
        const index = toSend.shift();
        if (!session.open.has(index)) continue; // answered meanwhile
        unacked.add(index);
        send("chunk", { chunk_index: index, audio_data: base64(session.open.get(index)) });
      }
      if (toSend.length > 0 || unacked.size > 0 || finishing) return;
      finishing = true;
      send("finish");
    };
    watch();
    socket.onopen = () => send("start");
    socket.onmessage = ({ data }) => {
      watch();
      const message = JSON.parse(data);
      const index = message.chunk_index;
      if (message.type === "ack" && message.status === "session_started") {
        started = true;
        // All without an answer: what the gateway has, it only acknowledges again.
        toSend.push(...session.open.keys());
      } else if (message.type === "ack") {
        unacked.delete(index);
      } else if (message.type === "chunk_result") {
        progress = true;
        session.open.delete(index);
        session.texts.set(index, message.text);
        onResult(index, message.text);
      } else if (message.type === "final_result") {
        leave({ final: message });
      } else if ("rejected_chunk" in message) { // not taken: the broker is busy or away
        setTimeout(() => {
          unacked.delete(message.rejected_chunk);
          toSend.push(message.rejected_chunk);
          pump();
        }, 1_000);
      } else {
        const fatal = !["busy", "broker_unavailable", "session_not_found"].includes(message.code);
        leave({ fatal, reason: `${message.code}: ${message.message}` });
      }
      pump();
    };
    // A browser tells nothing of an HTTP refusal; the package `ws` does.
    socket.on?.("unexpected-response", (_request, { statusCode, headers }) => {
      const retryAfterMs = 1000 * (Number(headers["retry-after"]) || 0);
      const fatal = ![429, 503].includes(statusCode);
      leave({ fatal, retryAfterMs, reason: `refused with HTTP ${statusCode}` });
    });
    socket.onerror = () => {}; // a close follows, which says more
    socket.onclose = ({ code, reason }) =>
      leave({ fatal: FINAL_CLOSES.includes(code), reason: `closed: ${code} ${reason}`.trim() });
  });
}

/** Cuts 16 kHz 16-bit audio where at least 0.3 s are quiet, so that no word is cut. */
export function* utterances(pcm, quiet = 600, pauseFrames = 15) {
  const [frame, view] = [640, new DataView(pcm.buffer, pcm.byteOffset)]; // bytes of 20 ms
  let [start, silent, heard] = [0, 0, false];
  for (let end = frame; end < pcm.length; end += frame) {
    let loud = false;
    for (let at = end - frame; at < end; at += 2) loud ||= Math.abs(view.getInt16(at, true)) >= quiet;
    silent = loud ? 0 : silent + 1;
    heard ||= loud;
    if (!heard || silent < pauseFrames) continue;
    yield pcm.subarray(start, end);
    [start, heard] = [end, false];
  }
  yield pcm.subarray(start);
}

function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** The command; only this part needs Node. */
async function main(url, path) {
  if (!path) throw new Error("usage: asr_client.mjs ws://HOST:PORT/ws/asr RECORDING.wav");
  const { readFile } = await import("node:fs/promises");
  const wav = await readFile(path); // 16 kHz, mono, 16 bits
  const pcm = wav.subarray(wav.indexOf("data") + 8);
  // Built in since Node 22; before that the package `ws` has the same interface.
  const Socket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
  const onResult = (index, text) => console.log(`${index}: ${text}`);
  const { text, final } = await transcribe(url, [...utterances(pcm)], { onResult, Socket });
  console.log(`final: ${text}`);
  if (!final.complete) throw new Error(`without an answer: ${final.missing_count} chunks`);
}

if (globalThis.process?.argv[1]?.endsWith("asr_client.mjs")) {
  main(...process.argv.slice(2)).catch((error) => {
    console.error(`failed: ${error.message}`);
    process.exitCode = 1;
  });
}
