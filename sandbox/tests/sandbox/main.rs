//! What a payload can and cannot do, tried by payloads: this program again, inside.
//!
//! Run as root, it also runs itself as a plain user. `INSIDE` as first argument makes it a payload.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is a test, but not below #[test], where these would be allowed"
)]

mod files;
mod inside;
mod layers;
mod life;
mod limits;
mod lower;
mod masks;
mod network;
mod notices;
mod phonehome;
mod seen;
mod walls;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, verb, rest @ ..] = words.as_slice()
        && first == world::INSIDE
    {
        return inside::run(verb, rest);
    }
    let mut trials = Vec::new();
    let all = [
        walls::ALL,
        files::ALL,
        layers::ALL,
        seen::ALL,
        masks::ALL,
        limits::ALL,
        lower::ALL,
        network::ALL,
        notices::ALL,
        phonehome::ALL,
        life::ALL,
    ];
    for (name, test) in all.into_iter().flatten() {
        trials.push(Trial::test(*name, || {
            test();
            Ok(())
        }));
    }
    if world::is_root() {
        trials.push(Trial::test("all_of_this_holds_for_a_plain_user_too", || {
            world::run_as_plain_user();
            Ok(())
        }));
    }
    // A measurement, for `.ci/full phonehome`: prints a table.
    let cost = Trial::test("what_a_told_call_costs", || {
        phonehome::cost();
        Ok(())
    });
    trials.push(cost.with_ignored_flag(true));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    phonehome::clean_up();
    conclusion.exit_code()
}
