//! `mortal-agent NODE WHEN:EFFECT`: the updater's own agent, which kills itself (SIGKILL) before or after an effect.

use std::process::ExitCode;
use std::time::Duration;

use countersign_updater::Home;
use countersign_updater::agent::{self, Options};
use countersign_updater::machine::{Effect, Until, Witness};

#[expect(clippy::print_stderr, reason = "a program tells why it failed")]
fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [node, moment] = args.as_slice() else {
        eprintln!("usage: mortal-agent NODE WHEN:EFFECT");
        return ExitCode::from(2);
    };
    let home = match Home::open(node.as_ref()) {
        Ok(home) => home,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(3);
        }
    };
    let options = Options { until: Until::Idle, poll: Duration::from_millis(100) };
    match agent::run(&home, options, &mut Mortal(moment.clone())) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Mortal(String);

impl Mortal {
    fn meet(&self, when: &str, effect: Effect) {
        if self.0 == format!("{when}:{effect}") {
            let _never = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
            std::process::abort();
        }
    }
}

impl Witness for Mortal {
    fn before(&mut self, effect: Effect) {
        self.meet("before", effect);
    }

    fn after(&mut self, effect: Effect) {
        self.meet("after", effect);
    }
}
