//! The example node's releases, built once, and a state that one of them has written.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Keys that are there before the shadow.
const KEYS: u32 = 1000;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/node")
}

/// The program of a release, built where the last run has left it.
pub(crate) fn path(version: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-nodes");
    let (source, target) = (place.join(format!("source-{version}")), place.join(version));
    let program = target.join("release/examplenode");
    if !source.is_dir() {
        run(Command::new(examples().join("source")).arg(version).arg(&source));
    }
    // What is built already is looked at, and left.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]);
    run(build.arg(source.join("Cargo.toml")).arg("--target-dir").arg(&target));
    program
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

pub(crate) fn binary(version: &str) -> Vec<u8> {
    fs::read(path(version)).unwrap()
}

/// The `[node]` section of a release's recipe.
pub(crate) fn spec(version: &str) -> Value {
    let recipe = examples().join("releases").join(version).join("countersign.toml");
    let recipe: toml::Table = fs::read_to_string(recipe).unwrap().parse().unwrap();
    super::own(serde_json::to_value(&recipe["node"]).unwrap())
}

/// Lets a program write its keys into a new state, and ends it.
pub(crate) fn fill(program: &Path, state: &Path) {
    // Free a moment ago; nobody else on this machine asks for a port by its number.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut node = Command::new(program)
        .args(["serve", "--state"])
        .arg(state)
        .args(["--listen", &address.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = connected(address);
    for key in 0..KEYS {
        let value = format!("the value of key {key}");
        let length = value.len();
        let put = format!("PUT /kv/load.{key} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{value}");
        stream.write_all(put.as_bytes()).unwrap();
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{key}");
    }
    drop(stream);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(node.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(node.wait().unwrap().success());
}

fn connected(address: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            return stream;
        }
        std::thread::yield_now();
    }
}
