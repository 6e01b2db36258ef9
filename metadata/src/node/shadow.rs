//! `[node.shadow]`: what a release says about its own run in the shadow: requests, and which answers are the same.
//!
//! ```toml
//! [node.shadow]
//! udp = [5353]                 # UDP ports, whose datagrams may be mirrored
//! rate = 50                    # rounds of the script in a second, at most
//! errors = "ERROR|panicked"    # lines of output that count as errors
//!
//! [[node.shadow.requests]]     # asked one after the other, over and over, until the window is over
//! listen = "http"
//! method = "PUT"
//! path = "/kv/shadow.{n}"      # {n} is the number of the round, modulo 1000
//! body = "value {n}"
//! expect = 200                 # any other status refuses the release
//!
//! [[node.shadow.requests]]     # a protocol of one's own
//! listen = "wire"
//! send = "stats\r\n"
//! until = "\r\n"               # the answer ends with this
//!
//! [node.shadow.same]
//! ignore = ["/uptime"]         # JSON pointers that are no part of an answer
//! replace = ["[0-9]+ ms"]      # regular expressions: what they match is the same
//! headers = ["content-type"]   # compared; other headers are not
//! skip = ["^GET /metrics"]     # requests whose answers are not compared, by method and path
//! ```

use serde::{Deserialize, Serialize};

use super::{BadNode, MeetSpec, check};

/// What a release says about its run in the shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShadowSpec {
    /// The script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Scripted>,
    /// How often in a second the script is begun, at most; 1 to 1000.
    #[serde(default = "fifty")]
    pub rate: u32,
    /// A regular expression: lines of output that it matches are errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<String>,
    /// Which answers of two versions are the same.
    #[serde(default)]
    pub same: Same,
    /// UDP ports of the node, whose datagrams may be mirrored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp: Vec<u16>,
    /// An exchange with the version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meet: Option<MeetSpec>,
}

impl Default for ShadowSpec {
    fn default() -> Self {
        Self {
            requests: Vec::new(),
            rate: fifty(),
            errors: None,
            same: Same::default(),
            udp: Vec::new(),
            meet: None,
        }
    }
}

/// One request of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scripted {
    /// Over HTTP.
    Http(HttpRequest),
    /// In a protocol of the node's own, over TCP.
    Raw(RawRequest),
}

impl Scripted {
    /// The listening socket that it asks.
    pub fn socket(&self) -> &str {
        match self {
            Self::Http(HttpRequest { listen, .. }) | Self::Raw(RawRequest { listen, .. }) => listen,
        }
    }
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// Which listening socket, by name.
    pub listen: String,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// The path, beginning with `/`; `{n}` is the number of the round.
    pub path: String,
    /// The body; `{n}` is the number of the round.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The status that the answer must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u16>,
}

/// Bytes that are sent, and where their answer ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRequest {
    /// Which listening socket, by name.
    pub listen: String,
    /// What is sent; `{n}` is the number of the round.
    pub send: String,
    /// The answer ends with this, or with the connection.
    pub until: String,
}

/// Which answers of two versions are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Same {
    /// JSON pointers (RFC 6901): what is there in a JSON body is no part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Regular expressions: what they match in a body is the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<String>,
    /// Headers that are compared; others are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Regular expressions: requests whose method and path they match are not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

fn fifty() -> u32 {
    50
}

fn get() -> String {
    "GET".to_owned()
}

/// Most requests in a script, and most entries in each list.
const MANY: usize = 64;

/// Largest compiled pattern, in bytes: an answer is searched in time proportional to this and to its length.
const PATTERN: usize = 16 << 10;

/// Longest path, and longest body, in bytes.
const LONGEST: (usize, usize) = (1024, 16 << 10);

impl ShadowSpec {
    /// Checks what the types cannot say. `has_socket` knows the listening sockets.
    pub(super) fn check(&self, has_socket: impl Fn(&str) -> bool) -> Result<(), BadNode> {
        let same = &self.same;
        let lists = [&same.ignore, &same.replace, &same.headers, &same.skip];
        if self.requests.len() > MANY || lists.iter().any(|list| list.len() > MANY) {
            return Err(BadNode::Range("shadow: at most 64 requests, and 64 entries in a list"));
        }
        if !(1..=1000).contains(&self.rate) {
            return Err(BadNode::Range("shadow.rate is 1 to 1000 in a second"));
        }
        for pattern in self.errors.iter().chain(&same.replace).chain(&same.skip) {
            check::is_pattern(pattern)?;
            compiled(pattern)?;
        }
        if !same.ignore.iter().all(|pointer| pointer.starts_with('/') && pointer.len() <= 256) {
            return Err(BadNode::Range("shadow.same.ignore holds pointers that begin with /"));
        }
        if self.udp.contains(&0) || self.udp.len() > 16 {
            return Err(BadNode::Range("shadow.udp holds up to 16 ports from 1 to 65535"));
        }
        if !same.headers.iter().all(|name| is_token(name)) {
            return Err(BadNode::Range("shadow.same.headers holds names of headers"));
        }
        if let Some(meet) = &self.meet {
            meet.check(&has_socket)?;
        }
        for request in &self.requests {
            if !has_socket(request.socket()) {
                let name = request.socket().to_owned();
                return Err(BadNode::NoSuchSocket("shadow.requests".to_owned(), name));
            }
            request.check()?;
        }
        Ok(())
    }
}

impl Scripted {
    fn check(&self) -> Result<(), BadNode> {
        let (path, body) = LONGEST;
        match self {
            Self::Http(http) => {
                check::is_path(&http.path)?;
                if http.path.len() > path || http.body.len() > body {
                    return Err(BadNode::Range(
                        "shadow.requests: a path has at most 1024 bytes, a body 16384",
                    ));
                }
                if !is_token(&http.method) {
                    return Err(BadNode::Range("shadow.requests: a method is a word"));
                }
                if http.expect.is_some_and(|status| !(100..=599).contains(&status)) {
                    return Err(BadNode::Range("shadow.requests: expect is a status, 100 to 599"));
                }
                Ok(())
            }
            Self::Raw(raw) => {
                let fits = (1..=body).contains(&raw.send.len());
                match fits && (1..=64).contains(&raw.until.len()) {
                    true => Ok(()),
                    false => Err(BadNode::Range(
                        "shadow.requests: send has 1 to 16384 bytes, until 1 to 64",
                    )),
                }
            }
        }
    }
}

/// A pattern of this section as it is used: bounded in size.
///
/// # Errors
/// It is no regular expression, or a large one.
pub fn compiled(pattern: &str) -> Result<regex_lite::Regex, BadNode> {
    regex_lite::RegexBuilder::new(pattern)
        .size_limit(PATTERN)
        .build()
        .map_err(|error| BadNode::Pattern { line: pattern.to_owned(), reason: error.to_string() })
}

/// A name as HTTP has it, of plain characters.
fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(shadow: serde_json::Value) -> Result<(), String> {
        let spec: ShadowSpec = serde_json::from_value(shadow).map_err(|e| e.to_string())?;
        spec.check(|socket| socket == "http").map_err(|error| error.to_string())
    }

    #[test]
    fn a_script_says_what_it_asks_and_what_it_expects() {
        check(json!({})).unwrap();
        let request = |more: serde_json::Value| check(json!({ "requests": [more] }));
        request(json!({ "listen": "http", "path": "/kv/{n}", "expect": 200 })).unwrap();
        request(json!({ "listen": "http", "send": "stats\r\n", "until": "\r\n" })).unwrap();
        for (bad, wanted) in [
            (json!({ "listen": "p2p", "path": "/" }), "p2p"),
            (json!({ "listen": "http", "path": "x" }), "path"),
            (json!({ "listen": "http", "path": "/", "method": "GET /" }), "method"),
            (json!({ "listen": "http", "path": "/", "expect": 99 }), "expect"),
            (json!({ "listen": "http", "send": "", "until": "." }), "send"),
            (json!({ "listen": "http", "path": "/", "colour": 1 }), "did not match"),
        ] {
            let told = request(bad).unwrap_err();
            assert!(told.contains(wanted), "{told}");
        }
    }

    #[test]
    fn what_is_not_compared_is_bounded() {
        check(json!({ "same": { "ignore": ["/a/0"], "replace": ["x+"], "headers": ["etag"] } }))
            .unwrap();
        for bad in [
            json!({ "rate": 0 }),
            json!({ "errors": "(" }),
            json!({ "errors": "(x{100}){100}" }),
            json!({ "same": { "ignore": ["a"] } }),
            json!({ "same": { "replace": ["("] } }),
            json!({ "same": { "headers": ["a b"] } }),
            json!({ "same": { "skip": vec!["x"; 65] } }),
            json!({ "same": { "colour": [] } }),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
    }
}
