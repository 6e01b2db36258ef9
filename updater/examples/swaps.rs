//! Swaps two versions of a node again and again below a real supervisor, while somebody else keeps it under load.
//!
//! ```text
//! swaps SUPERVISOR DIR ADDRESS PROGRAM_A PROGRAM_B queue|overlap COUNT
//! ```
//!
//! Prints `ready` once the node serves, waits for a line on standard input, makes COUNT swaps, half a second apart, and
//! prints one line of JSON: how long each of them took. Ends everything at the next line.

#![expect(clippy::print_stdout, reason = "a measuring program")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_metadata::{NodeSpec, Sha256};
use countersign_updater::Home;
use countersign_updater::generation::{Generation, Launch, switch_to};
use countersign_updater::supervise::{Client, Phase, Request};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const READY: u64 = 60_000;

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [supervisor, dir, address, a, b, mode, count] = &words[..] else {
        return Err("swaps SUPERVISOR DIR ADDRESS PROGRAM_A PROGRAM_B queue|overlap COUNT".into());
    };
    let home = Home::create(Path::new(dir))?;
    fs::create_dir_all(home.state(1))?;
    for (number, program) in [(1, a), (2, b)] {
        generation(&home, number, program, address, mode == "overlap")?.write(&home)?;
    }
    home.finish("product = \"node\"\nrepositories = [\"file:///nowhere\"]\n")?;
    switch_to(&home, 1)?;
    let mut child = Command::new(supervisor).arg("supervise").arg(home.path()).spawn()?;
    let client = Client::new(&home);
    wait(|| client.status().is_ok_and(|status| status.phase == Phase::Ready))?;
    println!("ready");
    stdout().flush()?;
    stdin().read_line(&mut String::new())?;

    let mut took = Vec::new();
    for swap in 0..count.parse::<u64>()? {
        pause(Duration::from_millis(500));
        let began = Instant::now();
        let to = 2 - swap % 2;
        if mode == "overlap" {
            switch_to(&home, to)?;
            client.ask(Request::HandOver { ready_ms: READY })?;
            took.push(began.elapsed().as_millis());
            wait(|| client.status().is_ok_and(|status| status.draining == 0))?;
        } else {
            client.ask(Request::Stop { hold_ms: READY })?;
            switch_to(&home, to)?;
            client.ask(Request::Start { ready_ms: READY })?;
            took.push(began.elapsed().as_millis());
        }
        let now = client.status()?;
        if (now.generation, now.crashes) != (to, 0) {
            return Err(format!("{now:?}").into());
        }
    }
    println!("{}", serde_json::json!({ "swaps": took.len(), "took-ms": took }));
    stdout().flush()?;
    stdin().read_line(&mut String::new())?;
    // It may be gone before it has answered.
    let _ended = client.ask(Request::Shutdown);
    child.wait()?;
    Ok(())
}

fn generation(
    home: &Home,
    number: u64,
    program: &str,
    address: &str,
    overlap: bool,
) -> Fallible<Generation> {
    let binary = Sha256::of(program.as_bytes());
    let bin = home.stored(&binary).join("tree/bin");
    fs::create_dir_all(&bin)?;
    fs::copy(program, bin.join("node"))?;
    let node: NodeSpec = serde_json::from_value(serde_json::json!({
        "command": ["bin/node", "serve", "--state", "{state}"],
        "listen": { "http": address }, "overlap": overlap,
    }))?;
    node.check()?;
    Ok(Generation {
        number,
        product: "node".parse()?,
        version: format!("{number}.0.0").parse()?,
        binary,
        state: 1,
        areas: BTreeMap::new(),
        held: BTreeMap::new(),
        protocol: None,
        launch: Launch::new(&node, &BTreeMap::new()),
    })
}

fn wait(mut condition: impl FnMut() -> bool) -> Fallible<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        if Instant::now() > deadline {
            return Err("it did not happen within a minute".into());
        }
        pause(Duration::from_millis(5));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a pause between two swaps, a deadline elsewhere")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
