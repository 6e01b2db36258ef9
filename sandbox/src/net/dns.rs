//! The name server: every name has an address, and the ledger knows which name an address stands for.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrStorage, bind, recvmsg,
    sendmsg, setsockopt,
};

use super::ledger::Ledger;
use super::sockets;

/// The port of name servers, at every address.
pub(crate) const PORT: u16 = 53;

/// Where the name server seems to live. Any address would do to be answered: all of them are it.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);

/// The longest name as text (RFC 1035 3.1, without the final dot).
const LONGEST_NAME: usize = 253;

const A: u16 = 1;
const AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const SECONDS_TO_LIVE: u32 = 60;

/// The name server's sockets, one of each kind for each family.
#[derive(Debug)]
pub(crate) struct NameServer {
    datagrams: Vec<OwnedFd>,
    streams: Vec<TcpListener>,
}

impl NameServer {
    /// Binds port 53 of all addresses.
    pub(crate) fn bind(ipv6: bool) -> io::Result<Self> {
        let mut server = Self { datagrams: Vec::new(), streams: Vec::new() };
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for any in any.into_iter().take(if ipv6 { 2 } else { 1 }) {
            let address = SocketAddr::new(any, PORT);
            let socket = sockets::new(&address, SockType::Datagram)?;
            // A question tells which address it was sent to, and the answer comes from there.
            if any.is_ipv4() {
                setsockopt(&socket, Ipv4PacketInfo, &true)?;
            } else {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            }
            bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
            server.datagrams.push(socket);
            server.streams.push(TcpListener::from(sockets::listen(&address)?));
        }
        Ok(server)
    }

    /// Answers until it is silenced or the process ends.
    pub(crate) fn serve(self, ledger: &Arc<Ledger>) -> io::Result<Voice> {
        let voice = Voice::default();
        let (ledger, mine) = (Arc::clone(ledger), voice.clone());
        thread(move || self.answer(&ledger, &mine))?;
        Ok(voice)
    }

    /// Datagrams here; a socket for streams gets a thread of its own with the first that comes, for those may stall.
    fn answer(mut self, ledger: &Arc<Ledger>, voice: &Voice) {
        loop {
            let datagrams = self.datagrams.iter().map(AsFd::as_fd);
            let fds = datagrams.chain(self.streams.iter().map(AsFd::as_fd));
            let mut polled: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            }
            let mut ready = polled.into_iter().map(|fd| fd.any().unwrap_or(false));
            let asked: Vec<bool> = ready.by_ref().take(self.datagrams.len()).collect();
            let called: Vec<bool> = ready.collect();
            for (socket, asked) in self.datagrams.iter().zip(asked) {
                if asked && answer_datagram(socket, ledger, voice).is_err() {
                    return;
                }
            }
            let mut called = called.into_iter();
            for listener in self.streams.extract_if(.., |_| called.next().unwrap_or(false)) {
                let ledger = Arc::clone(ledger);
                let serve = move || {
                    for stream in listener.incoming().flatten() {
                        // A payload that asks badly is only not answered.
                        _ = answer_stream(stream, &ledger);
                    }
                };
                // Without a thread nobody answers there, and it is closed.
                _ = thread(serve);
            }
        }
    }
}

fn thread(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("names".to_owned()).spawn(run).map(drop)
}

/// The name server's right to send datagrams. It ends before the kernel's counters are compared with what
/// the eye saw: an answer between the two would be one that nobody saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Voice {
    silent: Arc<Mutex<bool>>,
}

impl Voice {
    /// Nothing is sent from now on.
    pub(crate) fn silence(&self) {
        *self.silent() = true;
    }

    fn silent(&self) -> MutexGuard<'_, bool> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer_datagram(socket: &OwnedFd, ledger: &Ledger, voice: &Voice) -> io::Result<()> {
    let mut buffer = [0; 1500];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let (length, from, asked) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = match recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        ) {
            Ok(message) => message,
            // Errors of earlier answers (nobody waits any more) are reported here too.
            Err(Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK) => {
                return Err(io::Error::last_os_error());
            }
            Err(_) => return Ok(()),
        };
        (message.bytes, message.address, message.cmsgs()?.next())
    };
    let Some(from) = from else { return Ok(()) };
    let Some(answer) = buffer.get(..length).and_then(|question| answer(question, ledger)) else {
        return Ok(());
    };
    let silent = voice.silent();
    if *silent {
        return Ok(());
    }
    let parts = [IoSlice::new(&answer)];
    let flags = MsgFlags::empty();
    // Nobody waiting for an answer is no error of ours.
    _ = match asked {
        Some(ControlMessageOwned::Ipv4PacketInfo(info)) => {
            let back = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            sendmsg(
                socket.as_raw_fd(),
                &parts,
                &[ControlMessage::Ipv4PacketInfo(&back)],
                flags,
                Some(&from),
            )
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(info)) => {
            let back = libc::in6_pktinfo { ipi6_addr: info.ipi6_addr, ipi6_ifindex: 0 };
            sendmsg(
                socket.as_raw_fd(),
                &parts,
                &[ControlMessage::Ipv6PacketInfo(&back)],
                flags,
                Some(&from),
            )
        }
        _ => Ok(0),
    };
    Ok(())
}

fn answer_stream(mut stream: TcpStream, ledger: &Ledger) -> io::Result<()> {
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let server = stream.local_addr()?.ip();
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question)?;
    if let Some(parsed) = Question::parse(&question) {
        ledger.note_question(server, &parsed.name);
    }
    if let Some(answer) = answer(&question, ledger) {
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())?;
    }
    Ok(())
}

/// The first question of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Lower case, without the final dot; unusual bytes as `\DDD`. Of one that gets too long by that, the
    /// beginning.
    pub(crate) name: String,
    kind: u16,
    class: u16,
    /// Where the question section ends.
    end: usize,
}

impl Question {
    /// Reads a query; `None` for answers and for what is no DNS.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let is_answer = message.get(2)? & 0x80 != 0;
        let questions = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
        if is_answer || questions == 0 {
            return None;
        }
        let mut at = 12;
        let mut name = String::new();
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            // RFC 1035 4.1.4: the upper two bits are for pointers, which a question does not need.
            if length > 63 || at + length > 12 + 255 {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            for byte in message.get(at..at + length)? {
                match byte.to_ascii_lowercase() {
                    plain @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => {
                        name.push(char::from(plain))
                    }
                    other => name.push_str(&format!("\\{other:03}")),
                }
            }
            at += length;
        }
        if name.len() > LONGEST_NAME {
            name.truncate(LONGEST_NAME - 1);
            // No name has this letter, so that what was cut off is no other name.
            name.push('…');
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        let class = u16::from_be_bytes([*message.get(at + 2)?, *message.get(at + 3)?]);
        Some(Self { name, kind, class, end: at + 4 })
    }

    /// Whether the message that it was read from is this question and nothing besides, but for what a
    /// stub resolver says of itself: no place is left for anything else to be carried out.
    pub(crate) fn is_all_of(&self, message: &[u8]) -> bool {
        let (Some(header), Some(rest)) = (message.get(2..12), message.get(self.end..)) else {
            return false;
        };
        // Of the flags, recursion desired, authentic data and checking disabled are a client's.
        let [first, second, counts @ ..] = header else { return false };
        let plain = first & !0x01 == 0 && second & !0x30 == 0 && self.class == CLASS_IN;
        plain
            && match counts {
                [0, 1, 0, 0, 0, 0, 0, 0] => rest.is_empty(),
                [0, 1, 0, 0, 0, 0, 0, 1] => is_bare_edns(rest),
                _ => false,
            }
    }
}

/// RFC 6891 6.1.2: the root's name, type OPT, a size, version 0 with at most the DO flag; and of options, none
/// or a client's cookie (RFC 7873 4.1), which goes no farther than the name server.
fn is_bare_edns(record: &[u8]) -> bool {
    const COOKIE: &[u8] = &[0, 10, 0, 8];
    match record {
        [0, 0, 41, _, _, 0, 0, 0 | 0x80, 0, 0, 0] => true,
        [0, 0, 41, _, _, 0, 0, 0 | 0x80, 0, 0, 12, options @ ..] => {
            options.len() == 12 && options.starts_with(COOKIE)
        }
        _ => false,
    }
}

/// The answer: an address for A and AAAA, an empty yes for every other type.
fn answer(message: &[u8], ledger: &Ledger) -> Option<Vec<u8>> {
    const ANSWER_AND_RECURSION: u16 = 0x8180;
    const SERVER_FAILURE: u16 = 2;
    const NAME_OF_QUESTION: u16 = 0xc00c;
    let question = Question::parse(message)?;
    let addresses = ledger.resolve(&question.name);
    let data = match (addresses, question.kind, question.class) {
        (Some((v4, _)), A, CLASS_IN) => v4.octets().to_vec(),
        (Some((_, v6)), AAAA, CLASS_IN) => v6.octets().to_vec(),
        _ => Vec::new(),
    };
    let failure = if addresses.is_none() { SERVER_FAILURE } else { 0 };

    let mut answer = message.get(..2)?.to_vec();
    for field in [ANSWER_AND_RECURSION | failure, 1, u16::from(!data.is_empty()), 0, 0] {
        answer.extend(field.to_be_bytes());
    }
    answer.extend(message.get(12..question.end)?);
    if !data.is_empty() {
        answer.extend(NAME_OF_QUESTION.to_be_bytes());
        answer.extend(question.kind.to_be_bytes());
        answer.extend(CLASS_IN.to_be_bytes());
        answer.extend(SECONDS_TO_LIVE.to_be_bytes());
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04Home\x07example\x00\x00\x01\x00\x01";

    #[test]
    fn a_question_is_answered_with_the_address_of_its_name() {
        let ledger = Ledger::new(Vec::new(), 0);
        let reply = answer(QUERY, &ledger).unwrap();
        let (v4, _) = ledger.resolve("home.example").unwrap();
        assert_eq!(reply[..2], [0x12, 0x34]);
        assert_eq!(reply[6..8], [0, 1]);
        assert_eq!(reply[reply.len() - 4..], v4.octets());
    }

    #[test]
    fn a_question_with_anything_behind_it_is_not_plain() {
        const EDNS: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
        let is_plain = |message: &[u8]| Question::parse(message).unwrap().is_all_of(message);
        assert!(is_plain(QUERY));
        assert!(!is_plain(&[QUERY, b"secret"].concat()));
        let mut with_edns = [QUERY, EDNS].concat();
        with_edns[11] = 1;
        assert!(is_plain(&with_edns));
        assert!(!is_plain(&[with_edns.as_slice(), b"secret"].concat()));
        let padding = [&with_edns[..with_edns.len() - 2], &[0, 6, 0, 12, 0, 2, 7, 7]].concat();
        assert!(!is_plain(&padding));
        for (at, value) in [(2, 0x29), (3, 0x0f), (5, 2), (7, 1), (9, 1), (QUERY.len() - 2, 9)] {
            let mut other = QUERY.to_vec();
            other[at] = value;
            assert!(!is_plain(&other), "{at}");
        }
    }

    #[test]
    fn a_name_is_no_longer_than_names_are() {
        let mut query = QUERY[..12].to_vec();
        for _ in 0..3 {
            query.push(63);
            query.extend([7; 63]);
        }
        query.extend([0, 0, 1, 0, 1]);
        let name = Question::parse(&query).unwrap().name;
        assert_eq!(name.chars().count(), 253);
        assert!(name.ends_with('…'));
    }

    #[test]
    fn cut_off_and_endless_questions_are_not_answered() {
        for length in 0..QUERY.len() {
            assert_eq!(Question::parse(&QUERY[..length]), None);
        }
        let mut endless = QUERY[..12].to_vec();
        endless.extend(b"\x3fa".iter().cycle().take(4096));
        assert_eq!(Question::parse(&endless), None);
    }
}
