//! What an SSH agent answers, over a real socket: the input is all that it says, first to the question for its
//! keys, then to the request for a signature.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{LazyLock, Mutex};
use std::thread;

use countersign_keys::agent::{self, Wanted};
use countersign_keys::label::ssh_fingerprint;
use countersign_keys::sign::attest;
use countersign_metadata::PublicKey;

use crate::holder::Holder;

/// What the agent says from now on.
static SAYS: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static SOCKET: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("agent")).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _closed = stream.map(answer);
        }
    });
    folder
});
static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| {
    let p256 = include_str!("../corpus/signature/p256.pub").parse().expect("a key");
    [Holder::new(1).public, p256]
});
/// What each of them is asked to sign.
const STATEMENTS: [&[u8]; 2] = [
    include_bytes!("../corpus/signature/statement.json"),
    include_bytes!("../corpus/signature/statement-p256.json"),
];

pub(crate) fn run(bytes: &[u8]) {
    bytes.clone_into(&mut SAYS.lock().expect("no thread panics with it"));
    let socket = SOCKET.path().join("agent");
    for (key, statement) in KEYS.iter().zip(STATEMENTS) {
        for wanted in [Wanted::Key(*key), Wanted::Fingerprint(ssh_fingerprint(key))] {
            let Ok(secret) = agent::open(&socket, &wanted) else { continue };
            assert_eq!(secret.public(), key);
            if let Ok(envelope) = attest(statement, &secret) {
                assert_eq!(envelope.verify(key).expect("it was checked"), statement);
            }
        }
    }
}

/// One question a connection, as our side asks them. A signature comes after the first message of the input.
fn answer(mut stream: UnixStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut question)?;
    let says = SAYS.lock().map(|says| says.clone()).unwrap_or_default();
    let first = says.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let asked_to_sign = question.first() == Some(&13);
    let from = if asked_to_sign { first.saturating_add(4).min(says.len()) } else { 0 };
    stream.write_all(&says[from..])
}
