//! What is answered: the routes, and the state that they share.

use std::fmt::Write;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::commit::Pending;
use crate::failure::Outcome;
use crate::http::{Request, Response};
use crate::state::{Area, Change, Counters, Entry, Log, MAX_KEY, Stored, Values};
use crate::{peer, release};

/// What the workers read and the committer writes.
pub(crate) struct Shared {
    values: RwLock<Values>,
    counters: Mutex<Counters>,
}

impl Shared {
    pub(crate) fn new(values: Values, counters: Counters) -> Self {
        Self { values: RwLock::new(values), counters: Mutex::new(counters) }
    }

    /// Makes a batch that is on disk visible, and hands back whom to tell.
    pub(crate) fn apply(&self, batch: Vec<Pending>) -> Vec<SyncSender<()>> {
        let mut counters = self.counters();
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        batch
            .into_iter()
            .map(|write| {
                counters.count(&write.entry.key);
                values.apply(write.entry);
                write.done
            })
            .collect()
    }

    /// Writes the counters; a copy of them, so that nobody waits for the disk.
    pub(crate) fn save(&self, log: &Log) -> Outcome<()> {
        let counters = self.counters().clone();
        log.save(&counters)
    }

    fn get(&self, key: &str) -> Option<Stored> {
        self.counters().reads += 1;
        self.values.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers requests.
pub(crate) struct Api<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) committer: Sender<Pending>,
}

impl Api<'_> {
    pub(crate) fn answer(&self, request: Request) -> Response {
        let method = request.method.as_str();
        if let Some(key) = request.path.strip_prefix("/kv/") {
            if !is_key(key) {
                return Response::text(
                    400,
                    "a key is 1 to 256 letters, digits, '.', ':', '_' and '-'",
                );
            }
            let key = key.to_owned();
            return match method {
                "GET" => self.read(&key),
                "PUT" => self.write(key, Change::Put(request.body)),
                "DELETE" => self.write(key, Change::Delete),
                _ => Response::text(405, "a key takes GET, PUT and DELETE"),
            };
        }
        if let Some(what) = request.path.strip_prefix("/peer/").filter(|what| *what != "hello") {
            return self.exchange(what, &request);
        }
        match (method, request.path.as_str()) {
            ("GET", "/peer/hello") => Response::text(200, &peer::hello()),
            ("GET", "/node/version") => Response::json(version()),
            ("GET", "/stats") => Response::json(self.stats()),
            (_, "/node/version" | "/stats") => Response::text(405, "this takes GET"),
            _ => Response::text(404, "there are /kv/KEY, /node/version, /stats and /peer"),
        }
    }

    fn read(&self, key: &str) -> Response {
        let Some(stored) = self.shared.get(key) else {
            return Response::text(404, "no such key");
        };
        let mut value = stored.value;
        release::on_read(&mut value);
        let mut response = Response::bytes(value);
        if stored.written_at > 0 {
            response.headers.push(("Written-At-Unix-Ms", stored.written_at.to_string()));
        }
        response
    }

    /// Answers 200 only when the change is on disk.
    fn write(&self, key: String, change: Change) -> Response {
        let (done, on_disk) = sync_channel(1);
        let entry = Entry { key, change, written_at: 0 };
        let sent = self.committer.send(Pending { entry, done });
        match sent.ok().and_then(|()| on_disk.recv().ok()) {
            Some(()) => Response::text(200, "written"),
            None => Response::text(500, "not written: the node is stopping on an error"),
        }
    }

    /// What a peer gives is written, and what is there then is the answer.
    fn exchange(&self, protocol: &str, request: &Request) -> Response {
        let (protocol, given) = match peer::asked(protocol, request) {
            Ok(asked) => asked,
            Err(response) => return response,
        };
        if !is_key(&given.key) {
            return Response::text(400, "not a key");
        }
        let written = self.write(given.key.clone(), Change::Put(given.value));
        match self.shared.get(&given.key) {
            Some(stored) if written.status == 200 => {
                let answer = peer::Message { key: given.key, value: stored.value };
                Response::bytes(answer.write(protocol))
            }
            _ => written,
        }
    }

    fn stats(&self) -> String {
        let keys = self.shared.values.read().unwrap_or_else(PoisonError::into_inner).len();
        let counters = self.shared.counters();
        let mut writes = String::new();
        for (part, count) in &counters.writes {
            let comma = if writes.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _infallible = write!(writes, "{comma}\"{part}\":{count}");
        }
        format!(
            "{{\"keys\":{keys},\"records\":{},\"reads\":{},\"writes\":{{{writes}}},\
             \"schemas\":{{\"values\":{},\"counters\":{}}}}}",
            counters.records,
            counters.reads,
            Area::Values.known(),
            Area::Counters.known(),
        )
    }
}

/// Keys need no escaping anywhere: not in a path, not in JSON, not in the counters' file.
fn is_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:_-".contains(&b);
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(plain)
}

/// `digest` is what the supervisor says that it runs, if it says so; the node cannot know it by itself.
fn version() -> String {
    let digest = std::env::var("COUNTERSIGN_DIGEST").unwrap_or_default();
    let hex = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    let digest = if hex { format!(",\"digest\":\"{digest}\"") } else { String::new() };
    let (version, [oldest, newest]) = (release::VERSION, release::PROTOCOL);
    format!(
        "{{\"product\":\"examplenode\",\"version\":\"{version}\"{digest},\"protocol\":[{oldest},{newest}]}}"
    )
}
