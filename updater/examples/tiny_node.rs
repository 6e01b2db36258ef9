//! A node small enough for the supervisor's tests: takes its socket from the supervisor, keeps what it is sent.
//!
//! `PUT /WORD` appends the word to `STATE/words` and answers when it is on the disk; `GET /node/version` answers 200.
//! A byte in `STATE/starts` for each start. Behaviours by flag: `--exit` (at once), `--crash-on-word`, `--never-ready`, `--deaf` (ignores TERM), `--with-child`, `--churn` (writes one
//! number after the other into twenty files, in order, so that a copy shows whether it is one moment), `--echo` (sends back
//! what it is sent, notes in `STATE/resets` what ended abruptly, and ends so itself at a first byte `R`).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use listenfd::ListenFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::SIGTERM;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().collect();
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let state = PathBuf::from(args.get(1).ok_or("tiny_node STATE [FLAGS]")?);
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&told))?;
    let words = OpenOptions::new().append(true).create(true).open(state.join("words"))?;
    let words = Arc::new(Mutex::new(words));
    if flag("--with-child") {
        Command::new("sleep").arg("600").spawn()?;
    }
    OpenOptions::new().append(true).create(true).open(state.join("starts"))?.write_all(b".")?;
    if flag("--exit") {
        std::process::exit(3);
    }
    // LISTEN_PID is checked in here: a listener that was passed to somebody else is not taken.
    let listener = ListenFd::from_env().take_tcp_listener(0)?.ok_or("no LISTEN_FDS for me")?;
    listener.set_nonblocking(true)?;
    if !flag("--never-ready") {
        let socket = std::env::var_os("NOTIFY_SOCKET").ok_or("no NOTIFY_SOCKET")?;
        UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    }
    if flag("--churn") {
        let state = state.clone();
        std::thread::spawn(move || churn(&state).is_ok());
    }
    if flag("--echo") {
        listener.set_nonblocking(false)?;
        let state = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || echo(&stream, &state).is_ok());
            }
        });
        while !told.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        return Ok(());
    }
    let crash = flag("--crash-on-word");
    let busy = Arc::new(AtomicUsize::new(0));
    while flag("--deaf") || !told.load(Ordering::SeqCst) {
        serve(&listener, &words, &busy, crash)?;
    }
    // Whoever was accepted is answered; whoever queues in the socket belongs to the next process.
    while busy.load(Ordering::SeqCst) > 0 {
        std::thread::yield_now();
    }
    Ok(())
}

fn churn(state: &Path) -> Fallible<()> {
    let files: Vec<File> = (0..20)
        .map(|n| {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(state.join(format!("churn-{n:02}")))
        })
        .collect::<Result<_, _>>()?;
    for number in 0u64.. {
        for file in &files {
            file.write_all_at(format!("{number:020}").as_bytes(), 0)?;
        }
    }
    Ok(())
}

fn echo(stream: &TcpStream, state: &Path) -> Fallible<()> {
    let mut first = [0];
    let copied = (&mut &*stream).read(&mut first).and_then(|read| {
        if read > 0 && first == *b"R" {
            let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &now)?;
            return Ok(());
        }
        (&mut &*stream).write_all(&first[..read])?;
        std::io::copy(&mut &*stream, &mut &*stream)?;
        stream.shutdown(Shutdown::Write)
    });
    if copied.is_err() {
        let mut resets = OpenOptions::new().append(true).create(true).open(state.join("resets"))?;
        resets.write_all(b".")?;
    }
    Ok(())
}

fn serve(
    listener: &TcpListener,
    words: &Arc<Mutex<File>>,
    busy: &Arc<AtomicUsize>,
    crash: bool,
) -> Fallible<()> {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let _interrupted = poll(&mut waiting, PollTimeout::from(20u16));
    while let Ok((stream, _)) = listener.accept() {
        busy.fetch_add(1, Ordering::SeqCst);
        let (words, busy) = (Arc::clone(words), Arc::clone(busy));
        std::thread::spawn(move || {
            let _broken = answer(&stream, &words, crash);
            busy.fetch_sub(1, Ordering::SeqCst);
        });
    }
    Ok(())
}

fn answer(stream: &TcpStream, words: &Mutex<File>, crash: bool) -> Fallible<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(8 << 10));
    reader.read_line(&mut line)?;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {
        head.clear();
    }
    let mut parts = line.split(' ');
    if let (Some("PUT"), Some(path)) = (parts.next(), parts.next()) {
        if crash {
            std::process::abort();
        }
        let mut words = words.lock().map_err(|_| "poisoned")?;
        words.write_all(format!("{}\n", path.trim_start_matches('/')).as_bytes())?;
        words.sync_all()?;
    }
    (&mut &*stream)
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    Ok(())
}
