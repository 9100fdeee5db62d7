//! Bodies: in pieces as at once, and a table of those that are not read.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 64;

fn announced(fields: &str) -> Result<Awaits, BodyError> {
    let request = format!("POST /v1/sessions HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let (head, _) = parse_head(request.as_bytes()).unwrap().expect("complete");
    announced_body(&head, LIMIT)
}

#[test]
fn lengths_are_taken_up_to_the_limit() {
    let of = |body_bytes| Ok(Awaits { body_bytes, wants_continue: false });
    assert_eq!(announced(""), of(None));
    assert_eq!(announced("Content-Length: 0\r\n"), of(Some(0)));
    assert_eq!(announced("content-length:  064 \r\n"), of(Some(LIMIT)));
    let too_large = Err(BodyError::TooLarge { limit_bytes: LIMIT });
    assert_eq!(announced("Content-Length: 65\r\n"), too_large);
    assert_eq!(announced(&format!("Content-Length: {}\r\n", "9".repeat(99))), too_large);
    assert!(BodyError::TooLarge { limit_bytes: LIMIT }.to_string().contains("64 bytes"));
}

#[test]
fn what_is_no_length_is_refused() {
    for fields in [
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: gzip\r\n",
    ] {
        let error = announced(fields).unwrap_err();
        assert_eq!((error, error.status()), (BodyError::Length, 400), "{fields}");
    }
    for (fields, status) in [
        ("Transfer-Encoding: Chunked\r\n", 411),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Expect: the worst\r\n", 417),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", 417),
    ] {
        assert_eq!(announced(fields).map_err(BodyError::status), Err(status), "{fields}");
    }
}

#[test]
fn only_an_http_1_1_client_waits_for_100() {
    let fields = "Content-Length: 5\r\nExpect: 100-Continue\r\n";
    assert!(announced(fields).unwrap().wants_continue);
    let old = format!("POST / HTTP/1.0\r\n{fields}\r\n");
    let (head, _) = parse_head(old.as_bytes()).unwrap().expect("complete");
    assert!(!announced_body(&head, LIMIT).unwrap().wants_continue);
}

#[test]
fn an_announced_length_reserves_nothing() {
    let head = b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n";
    let upload = Upload::new(head, head.len(), 60_000);
    assert!(upload.bytes.capacity() < 1_024, "{}", upload.bytes.capacity());
}

/// A request as a shard reads it: gathers the head, then the body. Head and body, or why not.
fn read<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Option<Result<(String, Vec<u8>), String>> {
    let (mut gathered, mut upload) = (Vec::new(), None::<Upload>);
    for piece in pieces {
        if let Some(upload) = &mut upload {
            upload.push(piece);
        } else {
            gathered.extend_from_slice(piece);
            match parse_head(&gathered) {
                Ok(Some((head, head_bytes))) => match announced_body(&head, LIMIT) {
                    Ok(awaits) => {
                        let body_bytes = awaits.body_bytes.unwrap_or(0);
                        upload = Some(Upload::new(&gathered, head_bytes, body_bytes));
                    }
                    Err(error) => return Some(Err(error.to_string())),
                },
                Ok(None) => {}
                Err(refusal) => return Some(Err(refusal.status.to_string())),
            }
        }
        if let Some((head, body)) = upload.as_ref().and_then(Upload::whole) {
            return Some(Ok((head.path.to_owned(), body.to_vec())));
        }
    }
    None
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..LIMIT + 8);
    let damage = prop::collection::vec((0..200usize, any::<u8>()), 0..2);
    (body, damage, 0..3usize, prop::collection::vec(any::<u8>(), 0..20)).prop_map(
        |(body, damage, short, rest)| {
            let length = (body.len() + short).saturating_sub(1);
            let head = format!("POST /v1/sessions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            let mut request = [head.as_bytes(), &body, &rest].concat();
            for (at, byte) in damage {
                if let Some(place) = request.get_mut(at) {
                    *place = byte;
                }
            }
            request
        },
    )
}

proptest! {
    /// However a request is cut, the same comes out of it.
    #[test]
    fn every_split_gives_the_same(request in requests(), cuts in prop::collection::vec(1..40usize, 1..9)) {
        let whole = read(std::iter::once(request.as_slice()));
        let bytewise = read(request.chunks(1));
        let mut rest = request.as_slice();
        let mut cuts = cuts.iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let (piece, after) = rest.split_at(rest.len().min(*cuts.next()?));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        let cut = read(pieces);
        prop_assert_eq!(&whole, &bytewise);
        prop_assert_eq!(&whole, &cut);
    }

    #[test]
    fn what_is_held_is_bounded(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..99), 0..9)) {
        let head = b"POST / HTTP/1.1\r\nContent-Length: 64\r\n\r\n";
        let mut upload = Upload::new(head, head.len(), LIMIT);
        for piece in &pieces {
            upload.push(piece);
        }
        let sent = head.len() + pieces.iter().map(Vec::len).sum::<usize>();
        prop_assert_eq!(upload.held_bytes(), sent.min(head.len() + LIMIT));
        prop_assert_eq!(upload.whole().is_some(), sent >= head.len() + LIMIT);
    }
}
