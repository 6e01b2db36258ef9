//! Mirrors that lie, break off, dawdle or never end: each client comes to a clear end in time, and keeps nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign_metadata::Sha256;

use crate::interrupted::of_mark;
use crate::project::{own_home, ran};
use crate::sources::recipe;

/// What a mirror does to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    Garbage,
    Truncates,
    Stalls,
    StallsInside,
    Trickles,
    RedirectsToFile,
    RedirectsToItself,
    RedirectsToEndless,
    Endless,
    SaysTooLong,
    Fails,
}

const TRICKS: [Trick; 11] = [
    Trick::Garbage,
    Trick::Truncates,
    Trick::Stalls,
    Trick::StallsInside,
    Trick::Trickles,
    Trick::RedirectsToFile,
    Trick::RedirectsToItself,
    Trick::RedirectsToEndless,
    Trick::Endless,
    Trick::SaysTooLong,
    Trick::Fails,
];

/// Listens until the test ends; its address.
fn mirror(trick: Trick) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let own = base.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let own = own.clone();
            std::thread::spawn(move || {
                let _hung_up = answer(stream, trick, &own);
            });
        }
    });
    base
}

fn answer(mut stream: TcpStream, trick: Trick, own: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let is_endless = request.starts_with("GET /endless");
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    match trick {
        Trick::Garbage => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nConnection: close\r\n\r\n",
            )?;
            stream.write_all(&noise)
        }
        Trick::Truncates => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\nConnection: close\r\n\r\n",
            )?;
            stream.write_all(&noise)
        }
        Trick::Stalls => stall(&stream),
        Trick::StallsInside => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")?;
            stream.write_all(&noise)?;
            stall(&stream)
        }
        Trick::Trickles => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")?;
            loop {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Trick::RedirectsToFile => redirect(&mut stream, "file:///etc/passwd"),
        Trick::RedirectsToItself => redirect(&mut stream, own),
        Trick::RedirectsToEndless if !is_endless => {
            redirect(&mut stream, &format!("{own}/endless"))
        }
        Trick::Endless | Trick::RedirectsToEndless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            // Without an end, but not so fast that the machine has no room for other tests.
            loop {
                stream.write_all(&noise)?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Trick::SaysTooLong => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")?;
            stall(&stream)
        }
        Trick::Fails => stream.write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
    }
}

fn redirect(stream: &mut TcpStream, to: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

/// Until the other side goes away.
fn stall(mut stream: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Which client asks; the source that makes it.
const CLIENTS: [(&str, &str); 6] = [
    ("/thing.tar.gz", ""),
    ("npm:thing@1.0.0", "kind = \"package\"\npackage = \"npm:thing@1.0.0\""),
    ("pypi:thing==1.0", "kind = \"package\"\npackage = \"pypi:thing==1.0\""),
    ("crates:thing@1.0.0", "kind = \"package\"\npackage = \"crates:thing@1.0.0\""),
    (
        "debian:thing=1.0-1",
        "kind = \"debian\"\npackage = \"thing=1.0-1\"\nsha256 = { \"thing_1.0-1.dsc\" = \"DIGEST\" }",
    ),
    ("aaaaaaaaaa", "kind = \"git\"\nurl = \"URL\"\ncommit = \"COMMIT\""),
];

fn asks(client: usize, trick: Trick) {
    let base = mirror(trick);
    let (named, source) = CLIENTS[client];
    let source = match source {
        "" => format!(
            "kind = \"archive\"\nurl = \"{base}{named}\"\nsha256 = \"{}\"",
            Sha256::of(b"good")
        ),
        source => source
            .replace("URL", &format!("{base}/x.git"))
            .replace("COMMIT", &"a".repeat(40))
            .replace("DIGEST", &"b".repeat(64)),
    };
    let (dir, home) = (tempfile::tempdir().unwrap(), own_home());
    let at = |name: &str| home.path().join(name);
    let text = recipe(&source, "tools = [\"c\"]", "steps = [\"true\"]", "");
    fs::write(dir.path().join("countersign.toml"), text).unwrap();
    for made in ["cargo", "none"] {
        fs::create_dir_all(at(made)).unwrap();
    }
    fs::write(at("sources.list"), format!("deb-src {base} stable main\ndeb {base} stable main\n"))
        .unwrap();
    let none = at("none");
    let apt = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"{}\";\nDir::Etc::parts \"{}\";\n",
        at("sources.list").display(),
        none.display(),
        none.display()
    );
    fs::write(at("apt.conf"), apt).unwrap();
    let cargo = format!(
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+{base}/index/\"\n"
    );
    fs::write(at("cargo/config.toml"), cargo).unwrap();
    // The cap is for a builder that hangs: it is far beyond what is asked for.
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "300", env!("CARGO_BIN_EXE_countersign-builder")]);
    // A client that has to start before it asks is given time to.
    let seconds = if client == 0 { "2" } else { "5" };
    command.args(["lock", ".", "--fetch-seconds", seconds]).current_dir(dir.path());
    command.env("XDG_CACHE_HOME", at("cache")).env("TMPDIR", at("tmp"));
    command.env("npm_config_registry", format!("{base}/")).env("npm_config_cache", at("npm"));
    command.env("PIP_INDEX_URL", format!("{base}/simple")).env("CARGO_HOME", at("cargo"));
    command.env("APT_CONFIG", at("apt.conf")).env("no_proxy", "127.0.0.1");
    let ran = ran(&mut command);
    let who = format!("{trick:?} to {named}: {}: {}", ran.code, ran.err);
    assert!(matches!(ran.code, 3 | 5 | 6), "{who}");
    let is_named = ran.err.contains(named) || ran.err.contains("pip did not deliver its index");
    assert!(is_named && ran.err.contains("error"), "{who}");
    assert!(!ran.err.contains("panicked") && !ran.err.contains("root:x:0"), "{who}");
    assert!(!dir.path().join("countersign.lock").exists(), "{who}");
    let left = |path: &Path| -> Vec<_> {
        fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(left(&at("tmp")).is_empty(), "{who}: {:?}", left(&at("tmp")));
    let inputs = at("cache/countersign/inputs");
    let kept = left(&inputs);
    // What came whole is what its digest says, and not what was asked for: nothing will ever use it.
    for name in &kept {
        let bytes = fs::read(inputs.join(name)).unwrap();
        assert_eq!(Sha256::of(&bytes).to_string(), name.to_string_lossy(), "{who}");
    }
    assert!(kept.is_empty(), "{who}: {kept:?}");
}

#[test]
fn a_client_that_waits_for_a_mirror_dies_with_a_builder_that_is_killed() {
    let base = mirror(Trick::Stalls);
    let (dir, home) = (tempfile::tempdir().unwrap(), own_home());
    let source = CLIENTS[3].1;
    let text = recipe(source, "tools = [\"c\"]", "steps = [\"true\"]", "");
    fs::write(dir.path().join("countersign.toml"), text).unwrap();
    fs::write(
        home.path().join("config.toml"),
        format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+{base}/index/\"\n"),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-builder"));
    command.args(["lock", "."]).current_dir(dir.path());
    command.env("XDG_CACHE_HOME", home.path().join("cache")).env("CARGO_HOME", home.path());
    command.env("COUNTERSIGN_TEST_HOME", home.path());
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mark = format!("COUNTERSIGN_TEST_HOME={}", home.path().display());
    let end = Instant::now() + Duration::from_secs(120);
    // The builder, and cargo (rustup's, which becomes the real one).
    while of_mark(&mark) < 2 {
        assert!(Instant::now() < end && run.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    while of_mark(&mark) > 0 {
        assert!(Instant::now() < end, "a client is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_whole() -> bool {
    std::env::var_os("COUNTERSIGN_INTERRUPT").is_some()
}

#[test]
fn our_own_downloads_end_in_time_whatever_a_mirror_does_and_keep_nothing() {
    std::thread::scope(|scope| {
        for trick in TRICKS {
            scope.spawn(move || asks(0, trick));
        }
    });
}

#[test]
fn each_client_ends_in_time_whatever_a_mirror_does_and_keeps_nothing() {
    let tricks: &[Trick] = if is_whole() { &TRICKS } else { &[Trick::Trickles] };
    for trick in tricks {
        std::thread::scope(|scope| {
            for client in 1..CLIENTS.len() {
                scope.spawn(move || asks(client, *trick));
            }
        });
    }
}
