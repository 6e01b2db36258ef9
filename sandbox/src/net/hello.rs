//! The name of the server in the first bytes of a TLS connection (RFC 6066 3), which travels in the open.

/// The longest name (RFC 1035 3.1).
const LONGEST: usize = 253;

/// The name that a client's hello asks for, if these bytes begin with one and it is among them. Letters, digits, dots
/// and hyphens only.
pub(crate) fn server_name(bytes: &[u8]) -> Option<String> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    const SERVER_NAME: u16 = 0;
    const HOST_NAME: u8 = 0;
    let mut rest = Rest(bytes);
    // RFC 8446 5.1 and 4.1.2. Lengths of what encloses the name say nothing: the end may be cut off.
    if rest.byte()? != HANDSHAKE {
        return None;
    }
    rest.take(4)?;
    if rest.byte()? != CLIENT_HELLO {
        return None;
    }
    rest.take(3 + 2 + 32)?;
    let session = rest.byte()?;
    rest.take(session.into())?;
    let ciphers = rest.word()?;
    rest.take(ciphers.into())?;
    let compressions = rest.byte()?;
    rest.take(compressions.into())?;
    rest.word()?;
    loop {
        let kind = rest.word()?;
        let length = rest.word()?;
        if kind != SERVER_NAME {
            rest.take(length.into())?;
            continue;
        }
        rest.word()?;
        if rest.byte()? != HOST_NAME {
            return None;
        }
        let length = usize::from(rest.word()?);
        let name = rest.take(length)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
        let good = !name.is_empty() && name.len() <= LONGEST && name.iter().all(plain);
        return good.then(|| String::from_utf8_lossy(name).into_owned());
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &[u8]) -> Vec<u8> {
        let mut hello = vec![22, 3, 1, 0, 71, 1, 0, 0, 67, 3, 3];
        hello.extend([7; 32]);
        // No session, one cipher, one compression, two extensions of which the name's is the second.
        hello.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 99, 0, 23, 0, 0, 0, 0]);
        let length = u8::try_from(name.len()).unwrap();
        hello.extend([0, length + 5, 0, length + 3, 0, 0, length]);
        hello.extend(name);
        hello
    }

    #[test]
    fn the_servers_name_is_found_and_nothing_else_taken_for_it() {
        let whole = hello(b"a.example-1.org");
        assert_eq!(server_name(&whole).as_deref(), Some("a.example-1.org"));
        for length in 0..whole.len() {
            assert_eq!(server_name(&whole[..length]), None);
        }
        assert_eq!(server_name(&hello(b"\x1b[31m")), None);
        assert_eq!(server_name(&hello(b"")), None);
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
