//! Where an HTTP/1.1 message ends: of bytes that anybody may have sent.

use httparse::{EMPTY_HEADER, Header, Status};

/// More header lines than this are no message that is compared.
const HEADERS: usize = 100;

/// A message is compared up to this size, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// What stands at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not all of it is there.
    Partial,
    /// A message of this length.
    Whole(Message),
    /// A reply whose body ends with the connection.
    UntilEnd,
    /// Nothing that is compared.
    Other(NotCompared),
}

/// A message, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Head and body, in bytes.
    pub(super) length: usize,
    /// Of a reply.
    pub(super) status: u16,
    /// Of a request: the reply has no body.
    pub(super) is_head: bool,
    /// Whether nothing comes after it on its connection.
    pub(super) is_last: bool,
}

/// Why a connection is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NotCompared {
    Encrypted,
    NotHttp,
    TooLong,
    OtherProtocol,
    Broken,
}

impl NotCompared {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::NotHttp => "not HTTP/1",
            Self::TooLong => "too long",
            Self::OtherProtocol => "another protocol after HTTP",
            Self::Broken => "cut off",
        }
    }
}

/// The request at the beginning of `bytes`.
pub(super) fn request(bytes: &[u8]) -> Found {
    if bytes.starts_with(&[0x16, 0x03]) {
        return Found::Other(NotCompared::Encrypted);
    }
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return partial(bytes),
        Err(_) => return Found::Other(NotCompared::NotHttp),
    };
    let method = parsed.method.unwrap_or_default();
    if method == "CONNECT" {
        return Found::Other(NotCompared::OtherProtocol);
    }
    let message = Message {
        length: head,
        status: 0,
        is_head: method == "HEAD",
        is_last: closes(parsed.headers, parsed.version),
    };
    match framing(parsed.headers) {
        Framing::Length(length) => sized(bytes, message, length),
        Framing::Chunked => chunked(bytes, message),
        Framing::None => Found::Whole(message),
        Framing::Ambiguous => Found::Other(NotCompared::NotHttp),
    }
}

/// The reply at the beginning of `bytes`, to a request that was `HEAD` or not. What says 100 to 199 comes before one.
pub(super) fn reply(bytes: &[u8], is_head: bool) -> Found {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return partial(bytes),
        Err(_) => return Found::Other(NotCompared::NotHttp),
    };
    let status = parsed.code.unwrap_or_default();
    if status == 101 {
        return Found::Other(NotCompared::OtherProtocol);
    }
    let is_last = closes(parsed.headers, parsed.version);
    let message = Message { length: head, status, is_head: false, is_last };
    // RFC 9112, 6.3: these have no body, whatever they say.
    if is_head || status < 200 || status == 204 || status == 304 {
        return Found::Whole(message);
    }
    match framing(parsed.headers) {
        Framing::Length(length) => sized(bytes, message, length),
        Framing::Chunked => chunked(bytes, message),
        Framing::None => Found::UntilEnd,
        Framing::Ambiguous => Found::Other(NotCompared::NotHttp),
    }
}

enum Framing {
    None,
    Length(usize),
    Chunked,
    /// Two readers could disagree about it.
    Ambiguous,
}

fn framing(headers: &[Header<'_>]) -> Framing {
    let values = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii()).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Framing::None,
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            length.map_or(Framing::Ambiguous, Framing::Length)
        }
        _ => Framing::Ambiguous,
    }
}

fn closes(headers: &[Header<'_>], version: Option<u8>) -> bool {
    let says = |word: &[u8]| {
        headers.iter().any(|header| {
            let mut words = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            header.name.eq_ignore_ascii_case("connection")
                && words.any(|one| one.eq_ignore_ascii_case(word))
        })
    };
    says(b"close") || (version == Some(0) && !says(b"keep-alive"))
}

fn partial(bytes: &[u8]) -> Found {
    if bytes.len() > LONGEST { Found::Other(NotCompared::TooLong) } else { Found::Partial }
}

fn sized(bytes: &[u8], message: Message, length: usize) -> Found {
    let head = message.length;
    if length > LONGEST {
        return Found::Other(NotCompared::TooLong);
    }
    match bytes.len() >= head + length {
        true => Found::Whole(Message { length: head + length, ..message }),
        false => partial(bytes),
    }
}

fn chunked(bytes: &[u8], message: Message) -> Found {
    let mut at = message.length;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (line, size) = match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) => return partial(bytes),
            Err(_) => return Found::Other(NotCompared::NotHttp),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > LONGEST || at + size > 2 * LONGEST {
            return Found::Other(NotCompared::TooLong);
        }
        at += line;
        if size == 0 {
            return match trailers(bytes.get(at..).unwrap_or_default()) {
                Some(end) => Found::Whole(Message { length: at + end, ..message }),
                None => partial(bytes),
            };
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return partial(bytes) };
        if !chunk.ends_with(b"\r\n") {
            return Found::Other(NotCompared::NotHttp);
        }
        at += size + 2;
    }
}

/// The length of the lines behind the last chunk, with the empty one.
fn trailers(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        at += line + 2;
        if line == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(found: Found) -> Message {
        match found {
            Found::Whole(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_end_where_their_length_or_their_last_chunk_says() {
        let plain = b"GET / HTTP/1.1\r\nHost: n\r\n\r\n";
        assert_eq!(whole(request(&[plain.as_slice(), b"GET /2"].concat())).length, plain.len());
        let sized = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc";
        let message = whole(request(&[sized.as_slice(), b"x"].concat()));
        assert_eq!(message.length, sized.len());
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                        2;x=y\r\nab\r\n1\r\nc\r\n0\r\nDigest: z\r\n\r\n";
        let message = whole(request(&[chunked.as_slice(), b"GET"].concat()));
        assert_eq!(message.length, chunked.len());
        for message in [plain.as_slice(), sized, chunked] {
            for cut in 0..message.len() {
                assert_eq!(request(&message[..cut]), Found::Partial, "at {cut}");
            }
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_not_compared() {
        for (text, why) in [
            (
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                NotCompared::NotHttp,
            ),
            (
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
                NotCompared::NotHttp,
            ),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", NotCompared::NotHttp),
            ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", NotCompared::NotHttp),
            ("POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", NotCompared::TooLong),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
                NotCompared::TooLong,
            ),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc", NotCompared::NotHttp),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", NotCompared::OtherProtocol),
            ("\u{16}\u{3}\u{1}", NotCompared::Encrypted),
            ("SSH-2.0-x\r\n\r\n", NotCompared::NotHttp),
        ] {
            assert_eq!(request(text.as_bytes()), Found::Other(why), "{text:?}");
        }
        let upgraded = b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(reply(upgraded, false), Found::Other(NotCompared::OtherProtocol));
    }

    #[test]
    fn replies_without_a_body_end_with_their_head_and_others_may_end_with_the_connection() {
        let sized = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(whole(reply(sized, true)).length, sized.len());
        assert_eq!(reply(sized, false), Found::Partial);
        let none = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(whole(reply(none, false)).status, 304);
        let open = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(reply(open, false), Found::UntilEnd);
        assert!(whole(reply(b"HTTP/1.0 204 No\r\n\r\n", false)).is_last);
        assert!(!whole(reply(b"HTTP/1.1 204 No\r\n\r\n", false)).is_last);
    }
}
