//! What the tee costs all clients of a live node, and what shadows that misbehave cost them: pairs of runs of wrk, with and
//! without a release in the shadow, in turn.
//!
//! `TEE_RUNS` pairs of `TEE_NODE`, a node that answers `GET /node/version`. One line of JSON a pair, and one of medians.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Scene, perl};

/// How long wrk asks.
const ASKS: &str = "4s";

/// How long a release is watched: longer than that.
const WATCHED: Duration = Duration::from_secs(6);

pub(crate) fn runs() -> Option<usize> {
    std::env::var("TEE_RUNS").ok()?.parse().ok()
}

pub(crate) fn run() {
    let live = fs::read(std::env::var("TEE_NODE").unwrap()).unwrap();
    let alarm = |act: &str| format!("$SIG{{ALRM}} = sub {{ {act} }}; alarm 1;");
    let flood = "$SIG{PIPE} = 'IGNORE'; print $client \"HTTP/1.1 200 OK\\r\\n\\r\\n\"; \
                 while (print $client 'x' x 65536) {} close $client; next;";
    let shadows: [(&str, Vec<u8>, usize); 4] = [
        ("the same node", live.clone(), runs().unwrap()),
        ("frozen", perl("2.0.0", "", &alarm("kill 'STOP', $$")).into(), 3),
        ("dead", perl("2.0.0", "", &alarm("exit 3")).into(), 3),
        ("flooding", perl("2.0.0", flood, "").into(), 3),
    ];
    let wanted = std::env::var("TEE_SHADOW").ok();
    for (name, shadow, pairs) in shadows {
        if wanted.as_ref().is_none_or(|wanted| wanted == name) {
            measure(name, &live, &shadow, pairs);
        }
    }
}

fn measure(name: &str, live: &[u8], shadow: &[u8], pairs: usize) {
    let scene = Scene::new(live, shadow, WATCHED, "10%");
    wrk(&scene);
    let mut ratios: Vec<[f64; 2]> = Vec::new();
    let mut failed = 0;
    for pair in 0..pairs {
        let without = |failed: &mut u64| counted(wrk(&scene), failed);
        let with = |failed: &mut u64| {
            thread::scope(|scope| {
                let tried = scope.spawn(|| scene.try_it());
                scene.until_mirrored();
                let seen = counted(wrk(&scene), failed);
                (seen, tried.join().unwrap())
            })
        };
        // Whichever is first finds a machine that is as warm.
        let (none, (tee, report)) = if pair % 2 == 0 {
            (without(&mut failed), with(&mut failed))
        } else {
            let with = with(&mut failed);
            (without(&mut failed), with)
        };
        let ratio = |key: &str| tee[key].as_f64().unwrap() / none[key].as_f64().unwrap();
        ratios.push([ratio("p50-ms"), ratio("p99-ms")]);
        let mirrored = report.mirrored.unwrap();
        assert_eq!(mirrored.trouble, None);
        // A shadow that dies ends its window before much can go through the tee.
        assert!(name == "dead" || mirrored.connections > 0);
        say(&json!({ "shadow": name, "none": none, "tee": tee, "mirrored": mirrored }));
    }
    let median = |at: usize| {
        let mut all: Vec<f64> = ratios.iter().map(|ratio| ratio[at]).collect();
        all.sort_by(f64::total_cmp);
        (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
    };
    say(&json!({
        "shadow": name, "pairs": pairs, "failed": failed,
        "p50-ratio": median(0), "p99-ratio": median(1),
    }));
    assert_eq!(failed, 0, "live clients were not answered");
}

fn wrk(scene: &Scene) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/swaps.lua");
    let connections = std::env::var("TEE_CONNECTIONS").unwrap_or_else(|_| "8".to_owned());
    let output = Command::new("wrk")
        .args([
            "-t1",
            "-c",
            &connections,
            "-d",
            ASKS,
            "--timeout",
            "30s",
            "-H",
            "Connection: close",
            "-s",
        ])
        .arg(script)
        .arg(format!("http://{}/node/version", scene.address))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn counted(seen: Value, failed: &mut u64) -> Value {
    *failed += seen["failed"].as_u64().unwrap();
    seen
}

#[expect(clippy::print_stdout, reason = "what is measured")]
fn say(line: &Value) {
    println!("{line}");
}
