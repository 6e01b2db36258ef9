//! One live connection, taken apart into requests and the replies that they got.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::http::{self, Found, NotCompared};
use crate::shadow::replies::Reply;
use crate::supervise::tee::wire::{Way, What};

/// Requests that may wait for their replies.
const PIPELINED: usize = 256;

/// A request that a live client sent, and what the live node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) request: Vec<u8>,
    pub(super) is_head: bool,
    pub(super) reply: Reply,
}

/// A connection as far as it was copied.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) socket: String,
    asked: Vec<u8>,
    answered: Vec<u8>,
    /// Requests without a reply yet: the bytes, whether it was `HEAD`, when it was whole.
    waiting: VecDeque<(Vec<u8>, bool, Duration)>,
    given_up: Option<NotCompared>,
    /// Both ways have ended, or nothing more of it is taken.
    over: bool,
}

impl Talk {
    pub(super) fn new(socket: String) -> Self {
        Self {
            socket,
            asked: Vec::new(),
            answered: Vec::new(),
            waiting: VecDeque::new(),
            given_up: None,
            over: false,
        }
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.given_up.is_some()
    }

    /// Why nothing more of it is compared, if so.
    pub(super) fn given_up(&self) -> Option<NotCompared> {
        self.given_up
    }

    /// Takes in what was copied at that time, and gives what became whole by it.
    pub(super) fn hear(&mut self, what: &What, at: Duration) -> Vec<Said> {
        let mut said = Vec::new();
        if self.given_up.is_some() {
            return said;
        }
        match what {
            What::Bytes(Way::ToNode, bytes) => {
                self.asked.extend_from_slice(bytes);
                self.requests(at);
            }
            What::Bytes(Way::ToClient, bytes) => self.answered.extend_from_slice(bytes),
            What::Gone | What::Lost => self.give_up(NotCompared::Broken),
            _ => {}
        }
        let is_end = matches!(what, What::End(Way::ToClient));
        self.over = is_end;
        self.replies(at, is_end, &mut said);
        said
    }

    fn requests(&mut self, at: Duration) {
        while !self.asked.is_empty() && self.given_up.is_none() {
            match http::request(&self.asked) {
                Found::Whole(message) if self.waiting.len() < PIPELINED => {
                    let rest = self.asked.split_off(message.length);
                    let request = std::mem::replace(&mut self.asked, rest);
                    self.waiting.push_back((request, message.is_head, at));
                }
                Found::Whole(_) => self.give_up(NotCompared::TooLong),
                Found::Other(why) => self.give_up(why),
                Found::Partial | Found::UntilEnd => break,
            }
        }
    }

    fn replies(&mut self, at: Duration, is_end: bool, said: &mut Vec<Said>) {
        while !self.answered.is_empty() && self.given_up.is_none() {
            let Some((_, is_head, _)) = self.waiting.front() else {
                // Whoever speaks before it is asked speaks something else.
                return self.give_up(NotCompared::NotHttp);
            };
            let length = match http::reply(&self.answered, *is_head) {
                Found::Whole(message) if message.status < 200 => {
                    self.answered.drain(..message.length);
                    continue;
                }
                Found::Whole(message) => message.length,
                Found::UntilEnd if is_end => self.answered.len(),
                Found::Other(why) => return self.give_up(why),
                Found::UntilEnd if self.answered.len() > http::LONGEST => {
                    return self.give_up(NotCompared::TooLong);
                }
                _ => break,
            };
            let rest = self.answered.split_off(length);
            let answer = std::mem::replace(&mut self.answered, rest);
            if let Some((request, is_head, asked)) = self.waiting.pop_front() {
                let reply = Reply::parse(&answer, at.saturating_sub(asked));
                said.push(Said { request, is_head, reply });
            }
        }
    }

    fn give_up(&mut self, why: NotCompared) {
        self.given_up = Some(why);
        (self.asked, self.answered) = (Vec::new(), Vec::new());
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &[u8] = b"GET /a HTTP/1.1\r\nHost: n\r\n\r\n";

    fn feed(talk: &mut Talk, way: Way, bytes: &[u8], at: u64) -> Vec<Said> {
        talk.hear(&What::Bytes(way, bytes.to_vec()), Duration::from_millis(at))
    }

    #[test]
    fn pipelined_requests_meet_their_replies_however_the_bytes_are_cut() {
        let replies = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 404 No\r\n\
                        transfer-encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n";
        let mut talk = Talk::new("http".to_owned());
        for byte in [ASK, ASK].concat() {
            assert!(feed(&mut talk, Way::ToNode, &[byte], 1).is_empty());
        }
        let mut said = Vec::new();
        for byte in replies {
            said.extend(feed(&mut talk, Way::ToClient, &[*byte], 8));
        }
        let seen: Vec<_> = said.iter().map(|s| (s.reply.status, s.reply.body.as_slice())).collect();
        assert_eq!(seen, [(Some(200), b"x".as_slice()), (Some(404), b"y".as_slice())]);
        assert!(said.iter().all(|s| s.request == ASK && s.reply.took == Duration::from_millis(7)));
        assert_eq!(talk.given_up(), None);
    }

    #[test]
    fn a_reply_without_a_length_is_whole_when_the_node_has_said_its_last() {
        let mut talk = Talk::new("http".to_owned());
        feed(&mut talk, Way::ToNode, ASK, 0);
        assert!(feed(&mut talk, Way::ToClient, b"HTTP/1.0 200 OK\r\n\r\nall", 1).is_empty());
        let said = talk.hear(&What::End(Way::ToClient), Duration::from_millis(2));
        assert_eq!(said[0].reply.body, b"all");
    }

    #[test]
    fn what_is_no_http_or_broken_off_is_given_up_by_name() {
        for (way, bytes, why) in [
            (Way::ToNode, b"\x16\x03\x01\x02".as_slice(), NotCompared::Encrypted),
            (Way::ToNode, b"EHLO x\r\n", NotCompared::NotHttp),
            (Way::ToClient, b"220 mail\r\n", NotCompared::NotHttp),
        ] {
            let mut talk = Talk::new("x".to_owned());
            feed(&mut talk, way, bytes, 0);
            assert_eq!(talk.given_up(), Some(why));
        }
        let mut talk = Talk::new("x".to_owned());
        feed(&mut talk, Way::ToNode, ASK, 0);
        talk.hear(&What::Gone, Duration::ZERO);
        assert_eq!(talk.given_up(), Some(NotCompared::Broken));
    }
}
