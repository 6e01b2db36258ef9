//! Every way out that we know, tried: nothing gets through, for root and for a plain user.
//!
//! Run as root, it also runs itself as a plain user. `escape table` makes the same attempts in bubblewrap's sandbox and in
//! none, and prints them side by side (`benches/escape.sh`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is a test, but not below #[test], where these would be allowed"
)]

mod attempts;
mod live;
mod table;
mod walls;

use std::process::ExitCode;
use std::sync::Arc;

use attempts::{Given, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use walls::{Walls, World};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("attempt") => attempt(&words),
        Some("live") => {
            live::live(words[1].as_ref());
            ExitCode::SUCCESS
        }
        Some("who") => {
            let (real, effective) = (nix::unistd::getuid(), nix::unistd::geteuid());
            if real == effective {
                println!("same")
            } else {
                println!("{effective}")
            }
            ExitCode::SUCCESS
        }
        Some("hang") => loop {
            std::thread::park();
        },
        Some("collect") => {
            table::collect();
            ExitCode::SUCCESS
        }
        Some("table") => table::table(),
        _ => test(),
    }
}

/// Makes one attempt, here.
fn attempt(words: &[String]) -> ExitCode {
    let attempt = attempts::all().find(|one| one.name == words[1]).unwrap();
    let (code, why) = match (attempt.run)(&Given::read(words)) {
        Outcome::Blocked(why) => (walls::BLOCKED, why),
        Outcome::Through(why) => (walls::THROUGH, why),
        Outcome::NotHere(why) => (walls::NOT_HERE, why),
    };
    println!("{why}");
    ExitCode::from(u8::try_from(code).unwrap())
}

fn test() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let world = Arc::new(World::new());
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&world)));
    let mut world = Arc::into_inner(world).unwrap();
    assert!(world.live_is_alive(), "an attempt ended the live node");
    conclusion.exit_code()
}

fn trials(world: Option<&Arc<World>>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = attempts::all()
        .map(|attempt| {
            let world = world.cloned();
            let (name, group) = (format!("{}_is_blocked", attempt.name), attempt.group);
            Trial::test(name, move || {
                let Some(world) = &world else { return Ok(()) };
                match world.make(&attempt, Walls::Ours) {
                    Outcome::Through(what) => Err(Failed::from(what)),
                    Outcome::Blocked(_) | Outcome::NotHere(_) => Ok(()),
                }
            })
            .with_kind(group)
        })
        .collect();
    if nix::unistd::geteuid().is_root() {
        trials.push(Trial::test("all_of_it_is_blocked_for_a_plain_user_too", || {
            table::as_plain_user(|command| {
                let output = command.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                let good = output.status.success() && text.contains("0 failed");
                if good { Ok(()) } else { Err(Failed::from(text.into_owned())) }
            })
        }));
    }
    trials
}
