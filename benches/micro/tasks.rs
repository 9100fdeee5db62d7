//! The tasks route: what is done for every chunk and every result, part by part and as a whole.

use std::{hint::black_box, sync::Arc};

use ringgate::{
    broker::{self, Event, Queue},
    clock::Now,
    ids::SocketId,
    metrics::ShardMetrics,
    tasks::{
        Action, RouteTag, SessionId, Tasks, TasksConfig,
        chunks::Chunks,
        command::Command,
        reply,
        result::WorkerResult,
        task::{self, Audio, Base64},
    },
    ws::Kind,
};

use crate::{
    Bench, Run,
    inputs::{self, SESSION_CHUNKS, SESSION_ID},
};

const NOW: Now = Now { ms: 1_000, unix_ms: 1_700_000_000_000 };

/// In the order of the data path.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "chunk-parse",
        operation: "reading a chunk of 3,200 bytes of audio, as base64 in JSON of the usual form",
        prepare: || parse(inputs::chunk(SESSION_ID, 7)),
    },
    Bench {
        name: "chunk-parse-unusual",
        operation: "the same with an escape in a name, which takes serde_json",
        prepare: || parse(inputs::chunk("a\\u0062c", 7)),
    },
    Bench {
        name: "chunk-encode",
        operation: "writing the task of that chunk for a list",
        prepare: encode,
    },
    Bench {
        name: "chunk-encode-binary",
        operation: "the same from a binary chunk, so that the audio becomes base64",
        prepare: encode_binary,
    },
    Bench { name: "chunk-ack", operation: "writing the ack of a chunk", prepare: ack },
    Bench { name: "result-parse", operation: "reading a worker's result", prepare: parse_result },
    Bench {
        name: "result-write",
        operation: "writing a result for the client",
        prepare: write_result,
    },
    Bench { name: "merge-100", operation: "merging the results of 100 chunks", prepare: merge },
    Bench {
        name: "tasks-chunk",
        operation: "the whole route for one chunk of a session of 100: chunk, ack, result, with \
                    their part of the start and the end",
        prepare: route,
    },
];

fn session() -> SessionId {
    SessionId::parse(SESSION_ID).expect("an id as the gateway makes them")
}

fn parse(message: Vec<u8>) -> Run {
    assert!(matches!(Command::parse(&message), Ok(Command::Chunk { index: 7, .. })));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            let _ = black_box(Command::parse(black_box(&message)));
        }
    })
}

fn encode() -> Run {
    let text = base64_simd::STANDARD.encode_to_string(inputs::audio()).into_bytes();
    let audio = Base64::check(text).expect("what was just encoded");
    encoder(move |queue, session| {
        let audio = Audio::Base64(black_box(&audio));
        task::encode(queue, session, 7, audio, NOW.unix_ms, None)
    })
}

fn encode_binary() -> Run {
    let audio = inputs::audio();
    encoder(move |queue, session| {
        let audio = Audio::Raw(black_box(&audio));
        task::encode(queue, session, 7, audio, NOW.unix_ms, None)
    })
}

fn encoder(encode: impl Fn(&Queue, &SessionId) -> broker::Task + 'static) -> Run {
    let (queue, session) = (Queue::List { key: "asr_chunk_queue".into() }, session());
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(encode(black_box(&queue), black_box(&session)));
        }
    })
}

fn ack() -> Run {
    let session = session();
    Box::new(move |iterations| {
        for index in 0..iterations {
            black_box(reply::chunk_ack(black_box(&session), index as u32 % SESSION_CHUNKS));
        }
    })
}

fn parse_result() -> Run {
    let payload = inputs::result(SESSION_ID, 7);
    assert!(matches!(WorkerResult::parse(&payload), Ok(WorkerResult { index: 7, .. })));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            let _ = black_box(WorkerResult::parse(black_box(&payload)));
        }
    })
}

fn write_result() -> Run {
    let session = session();
    Box::new(move |iterations| {
        for _ in 0..iterations {
            let text = black_box("the quick brown fox");
            black_box(reply::chunk_result(black_box(&session), 7, text, None));
        }
    })
}

fn merge() -> Run {
    let mut chunks = Chunks::default();
    for index in 0..SESSION_CHUNKS {
        chunks.take(index, SESSION_CHUNKS);
        let payload = inputs::result(SESSION_ID, index);
        let result = WorkerResult::parse(&payload).expect("a result");
        chunks.answer(&result, usize::MAX);
    }
    assert_eq!(chunks.summary(" ", 100).missing_count, 0);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(black_box(&mut chunks).summary(black_box(" "), 100));
        }
    })
}

/// One route with one client at a time, and a broker that answers at once.
struct Route {
    tasks: Tasks,
    client: SocketId,
    actions: Vec<Action>,
    events: Vec<Event>,
    /// Messages to the client.
    sent: usize,
}

impl Route {
    fn say(&mut self, message: &[u8]) {
        self.tasks.on_message(self.client, Kind::Text, message, NOW, &mut self.actions);
        self.settle();
    }

    fn hear(&mut self, event: Event) {
        let back = self.tasks.on_event(event, NOW, &mut self.actions);
        assert!(back.is_none(), "the route knows its own: {back:?}");
        self.settle();
    }

    /// What the shard and the broker do.
    fn settle(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Send { text, .. } => {
                    black_box(text);
                    self.sent += 1;
                }
                Action::Broker(broker::Command::Push { ticket, task, .. }) => {
                    black_box(task);
                    self.events.push(Event::Pushed(ticket));
                }
                Action::Broker(broker::Command::Subscribe { channel }) => {
                    self.events.push(Event::Subscribed(channel));
                }
                Action::Broker(broker::Command::Fetch { ticket, .. }) => {
                    self.events.push(Event::Fetched(ticket, Vec::new()));
                }
                _ => {}
            }
        }
        while let Some(event) = self.events.pop() {
            self.hear(event);
        }
    }
}

fn route() -> Run {
    let config = Arc::new(TasksConfig::default());
    let route = RouteTag::new(0).expect("the first route");
    let mut route = Route {
        tasks: Tasks::new(config, Arc::new(ShardMetrics::default()), route),
        client: SocketId { slot: 0, generation: 0 },
        actions: Vec::new(),
        events: Vec::new(),
        sent: 0,
    };
    let start = format!(r#"{{"action":"start","session_id":"{SESSION_ID}"}}"#);
    let finish = format!(r#"{{"action":"finish","session_id":"{SESSION_ID}"}}"#);
    let channel: Arc<str> = format!("asr_result_{SESSION_ID}").into();
    let chunks: Vec<_> = (0..SESSION_CHUNKS).map(|i| inputs::chunk(SESSION_ID, i)).collect();
    let results: Vec<_> = (0..SESSION_CHUNKS).map(|i| inputs::result(SESSION_ID, i)).collect();
    let mut next = 0;
    let mut one_chunk = move || {
        if next == 0 {
            route.say(start.as_bytes());
        }
        route.say(black_box(&chunks[next]));
        let (channel, payload) = (channel.clone(), black_box(&results[next]).clone());
        route.hear(Event::Message { channel, payload });
        next += 1;
        if next == chunks.len() {
            route.say(finish.as_bytes());
            assert_eq!(route.tasks.sessions_of(route.client), 0, "it has ended");
            // The ack of the start, an ack and a result of each chunk, the end.
            assert_eq!(std::mem::take(&mut route.sent), 2 + 2 * chunks.len());
            next = 0;
        }
    };
    for _ in 0..SESSION_CHUNKS {
        one_chunk();
    }
    Box::new(move |iterations| {
        for _ in 0..iterations {
            one_chunk();
        }
    })
}
