//! The supervisor as systemd starts it: sockets passed on, readiness and life signs told.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_updater::supervise::Phase;

use crate::clients::{CAP, until};
use crate::tiny::{Supervisor, Tiny, get};

/// systemd's own way to pass sockets on, outside of systemd: it opens them, and starts the program at the first connection.
fn activated(
    tiny: &Tiny,
    name: &str,
    listen: SocketAddr,
    notify: &Path,
    said: &Path,
) -> Supervisor {
    let child = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(listen.to_string())
        .arg(format!("--fdname={name}"))
        .arg(format!("--setenv=NOTIFY_SOCKET={}", notify.display()))
        .arg("--setenv=WATCHDOG_USEC=200000")
        .args(tiny.words_of_command(&["--log", "json"]))
        .stdout(File::create(said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd is not installed: .ci/install");
    Supervisor(child)
}

fn reasons(said: &Path) -> Vec<String> {
    let lines = BufReader::new(File::open(said).unwrap()).lines().map(Result::unwrap);
    let reason = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["time"].is_string() && line["level"] == "info", "{line}");
        line["reason"].as_str().unwrap().to_owned()
    };
    lines.map(reason).collect()
}

#[test]
fn a_socket_that_systemd_passes_on_is_used_and_systemd_hears_of_readiness_and_life() {
    let tiny = Tiny::new(&[]);
    let dir = tempfile::tempdir().unwrap();
    let (notify, said) = (dir.path().join("notify"), dir.path().join("said"));
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(CAP)).unwrap();
    let mut supervisor = activated(&tiny, "http", tiny.address, &notify, &said);
    // This connection is what starts it, and it waits in the socket until the node answers.
    until(|| get(tiny.address).is_ok());
    tiny.until_status(|status| status.phase == Phase::Ready);
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.iter().any(|text| text == "WATCHDOG=1") {
        let length = systemd.recv(&mut buffer).unwrap();
        heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    assert_eq!(heard.iter().filter(|text| *text == "READY=1").count(), 1, "{heard:?}");
    assert!(heard.iter().any(|text| text.starts_with("STATUS=")), "{heard:?}");
    let told = reasons(&said);
    assert!(told.iter().any(|line| line == "socket http comes from systemd"), "{told:?}");
    supervisor.terminate();
}

#[test]
fn a_socket_that_does_not_fit_is_closed_and_the_supervisor_opens_its_own() {
    let tiny = Tiny::new(&[]);
    let dir = tempfile::tempdir().unwrap();
    let (notify, said) = (dir.path().join("nobody"), dir.path().join("said"));
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut supervisor = activated(&tiny, "http", other, &notify, &said);
    // It starts at the first connection, which nobody will answer.
    until(|| {
        let _starts_it = std::net::TcpStream::connect_timeout(&other, Duration::from_secs(1));
        tiny.client().status().is_ok_and(|status| status.phase == Phase::Ready)
    });
    get(tiny.address).unwrap();
    let told = reasons(&said);
    assert!(told.iter().any(|line| line.contains("where the node wants")), "{told:?}");
    supervisor.terminate();
}
