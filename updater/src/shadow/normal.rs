//! Which answers are the same: the release's own word ([`Same`]), within limits.

use countersign_metadata::node::{Same, compiled};
use regex_lite::Regex;
use serde_json::Value;

use super::replies::Reply;

/// What stands for whatever a declared pattern matched.
const PLACEHOLDER: &str = "\u{fffd}";

/// What is compared of answers. Headers are not, unless they are named; JSON is compared by what it says.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    ignore: Vec<String>,
    replace: Vec<Regex>,
    headers: Vec<String>,
    skip: Vec<Regex>,
}

impl Normaliser {
    /// As a verified release declares it: its patterns are known to be patterns.
    pub(crate) fn new(same: &Same) -> Self {
        let patterns = |texts: &[String]| texts.iter().filter_map(|t| compiled(t).ok()).collect();
        Self {
            ignore: same.ignore.clone(),
            replace: patterns(&same.replace),
            headers: same.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            skip: patterns(&same.skip),
        }
    }

    /// Whether answers to this request are not compared. What is no HTTP request always is.
    pub(crate) fn skips(&self, request: &[u8]) -> bool {
        if self.skip.is_empty() {
            return false;
        }
        let asked = asked(request);
        self.skip.iter().any(|pattern| pattern.is_match(&asked))
    }

    /// Whether two answers say the same. Answers that never came are the same if they failed alike.
    pub(crate) fn same(&self, one: &Reply, other: &Reply) -> bool {
        one.failure == other.failure
            && one.status == other.status
            && self.headers.iter().all(|name| one.header(name) == other.header(name))
            && (one.body == other.body || self.body(&one.body) == self.body(&other.body))
    }

    /// A body without what is no part of it.
    fn body(&self, body: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(body) else { return body.to_vec() };
        let mut text = match self.json(text) {
            Some(json) => json,
            None => text.to_owned(),
        };
        for pattern in &self.replace {
            text = pattern.replace_all(&text, PLACEHOLDER).into_owned();
        }
        text.into_bytes()
    }

    /// An object or a list, with its keys in order.
    fn json(&self, text: &str) -> Option<String> {
        if !text.trim_start().starts_with(['{', '[']) {
            return None;
        }
        let mut value: Value = serde_json::from_str(text).ok()?;
        for pointer in &self.ignore {
            remove(&mut value, pointer);
        }
        value.sort_all_objects();
        Some(value.to_string())
    }
}

/// A request to a person: method and path of an HTTP request, else the first line. Bounded, and without what a terminal
/// would obey.
pub(crate) fn asked(request: &[u8]) -> String {
    let first = request.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(&first[..first.len().min(200)]);
    let line = line.split(" HTTP/1.").next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}

/// Removes what a pointer names. In a list it leaves a hole: the others keep their places.
fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => _ = members.remove(&name),
        Some(Value::Array(items)) => {
            if let Some(item) = name.parse().ok().and_then(|at: usize| items.get_mut(at)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normaliser(same: serde_json::Value) -> Normaliser {
        Normaliser::new(&serde_json::from_value(same).unwrap())
    }

    fn answer(text: &str) -> Reply {
        Reply::parse(text.as_bytes(), std::time::Duration::ZERO)
    }

    fn json(body: &str) -> Reply {
        answer(&format!("HTTP/1.1 200 OK\r\nDate: {}\r\n\r\n{body}", body.len()))
    }

    #[test]
    fn json_is_compared_by_what_it_says_and_other_bodies_by_their_bytes() {
        let plain = Normaliser::default();
        assert!(plain.same(&json(r#"{"a":1,"b":[2]}"#), &json(r#"{ "b": [2], "a": 1 }"#)));
        assert!(!plain.same(&json(r#"{"a":1}"#), &json(r#"{"a":2}"#)));
        assert!(!plain.same(&json("a 1"), &json("1 a")));
        let declared = serde_json::json!({
            "ignore": ["/up", "/x/1/at", "/~1"], "replace": ["[0-9]+ ms"]
        });
        let declared = normaliser(declared);
        let one = r#"{"up":1,"x":[0,{"at":5,"v":"3 ms"}],"/":1}"#;
        let other = r#"{"up":2,"x":[0,{"at":6,"v":"4 ms"}]}"#;
        assert!(declared.same(&json(one), &json(other)));
        assert!(!declared.same(&json(one), &json(&other.replace('0', "1"))));
        assert!(declared.same(&json("took 12 ms"), &json("took 9 ms")));
        assert!(!declared.same(&json("took 12 ms"), &json("took 12 s")));
    }

    #[test]
    fn headers_count_where_they_are_named_and_the_status_always() {
        let with = |kind: &str| answer(&format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n"));
        assert!(Normaliser::default().same(&with("a"), &with("b")));
        let typed = normaliser(serde_json::json!({ "headers": ["Content-Type"] }));
        assert!(!typed.same(&with("a"), &with("b")));
        assert!(typed.same(&with("a"), &with("a")));
        assert!(!typed.same(&with("a"), &answer("HTTP/1.1 404 No\r\nContent-Type: a\r\n\r\n")));
    }

    #[test]
    fn requests_are_skipped_by_method_and_path() {
        let skips = normaliser(serde_json::json!({ "skip": ["^GET /stats$"] }));
        assert!(skips.skips(b"GET /stats HTTP/1.1\r\nHost: node\r\n\r\n"));
        assert!(!skips.skips(b"GET /stats/all HTTP/1.1\r\n\r\n"));
        assert_eq!(asked(b"put x\x1b[2J 3\r\nbody"), "put x[2J 3");
    }
}
