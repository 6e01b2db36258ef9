//! A live node below its supervisor, a release in the shadow, and live traffic mirrored from the one to the other: whatever the
//! shadow does, live clients are answered. With `TEE_RUNS=12`, what it costs them: `updater/benches/tee.sh`.

#![expect(clippy::unwrap_used, reason = "tests whose main() is ours")]

mod bench;
#[path = "../common/clients.rs"]
#[expect(dead_code, reason = "shared with tests that use more of it")]
mod clients;
#[path = "../../src/fixture/mod.rs"]
mod fixture;
mod scene;

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use countersign_updater::shadow::{Mirrored, Reason, Report, Verdict};
use libtest_mimic::{Arguments, Trial};

use scene::{Scene, perl};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let tests: [(&str, fn()); 7] = [
        ("what_live_clients_ask_is_asked_of_the_shadow_and_compared", compared),
        ("a_shadow_that_stands_still_holds_no_live_client_up", frozen),
        ("a_shadow_that_dies_holds_no_live_client_up", dead),
        ("a_shadow_that_floods_holds_no_live_client_up", flooding),
        ("datagrams_of_a_declared_port_are_sent_to_the_shadow_too", datagrams),
        ("without_a_supervisor_the_report_says_why_nothing_was_mirrored", alone),
        ("bench", bench::run),
    ];
    let trials = tests.into_iter().map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(name == "bench" && bench::runs().is_none())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

const WINDOW: Duration = Duration::from_secs(2);

/// A little later than it is ready.
const LATER: &str = "alarm 1;";

/// The release on trial while four clients ask the live node all the time; none of them fails.
fn tried(shadow: &str) -> Report {
    let scene = Scene::new(perl("1.0.0", "", "").as_bytes(), shadow.as_bytes(), WINDOW, "100%");
    let (report, failed) = scene.tried_under_load();
    assert_eq!(failed, Vec::<String>::new());
    report
}

fn mirrored(report: &Report) -> &Mirrored {
    let mirrored = report.mirrored.as_ref().unwrap();
    assert_eq!(mirrored.trouble, None, "{mirrored:?}");
    assert!(mirrored.connections > 10 && mirrored.exchanges > 0, "{mirrored:?}");
    mirrored
}

fn has(report: &Report, wanted: impl Fn(&Reason) -> bool) -> bool {
    matches!(&report.verdict, Verdict::Refused { reasons } if reasons.iter().any(wanted))
}

fn compared() {
    let report = tried(&perl("1.0.0", "", ""));
    assert_eq!(report.verdict, Verdict::Cleared, "{report:#?}");
    let seen = mirrored(&report);
    let answers = seen.answers.as_ref().unwrap();
    assert_eq!((answers.asked, answers.same), (seen.exchanges, seen.exchanges), "{seen:?}");
    assert!(seen.old.is_some());
    // It names its own version, and nothing else differs: that is enough.
    let report = tried(&perl("2.0.0", "", ""));
    assert!(has(&report, |reason| matches!(reason, Reason::OtherAnswers { .. })), "{report:#?}");
    let seen = mirrored(&report);
    assert!(seen.exchanges > 10 && seen.failed.is_empty(), "{seen:?}");
    assert_eq!((seen.differing_status, seen.differing_body), (0, seen.exchanges));
    assert!(seen.live.unwrap().p99_us > 0 && seen.shadow.unwrap().p99_us > 0);
    assert_eq!((seen.share, seen.dropped), (1_000_000, 0));
}

fn frozen() {
    let stop = format!("$SIG{{ALRM}} = sub {{ kill 'STOP', $$ }}; {LATER}");
    let report = tried(&perl("2.0.0", "", &stop));
    let seen = mirrored(&report);
    assert!(seen.failed["timed out"] > 0, "{seen:?}");
    assert!(has(&report, |reason| matches!(reason, Reason::DoesNotStop { .. })), "{report:#?}");
}

fn dead() {
    let report = tried(&perl("2.0.0", "", &format!("$SIG{{ALRM}} = sub {{ exit 3 }}; {LATER}")));
    mirrored(&report);
    assert!(has(&report, |reason| matches!(reason, Reason::EndedEarly { .. })), "{report:#?}");
    assert!(!has(&report, |reason| matches!(reason, Reason::UnaccountedTraffic { .. })));
}

fn flooding() {
    let flood = "$SIG{PIPE} = 'IGNORE'; print $client \"HTTP/1.1 200 OK\\r\\n\\r\\n\"; \
                 while (print $client 'x' x 65536) {} close $client; next;";
    let report = tried(&perl("2.0.0", flood, ""));
    let seen = mirrored(&report);
    assert!(seen.failed["too long"] > 0, "{seen:?}");
}

fn datagrams() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let echo = |word: &str| {
        format!(
            "if (fork() == 0) {{ socket(my $u, PF_INET, SOCK_DGRAM, 0); \
             bind($u, pack_sockaddr_in({port}, INADDR_LOOPBACK)) or die; \
             while (my $peer = recv($u, my $b, 65535, 0)) {{ send($u, \"{word} $b\", 0, $peer) }} exit }}"
        )
    };
    let (live, shadow) = (perl("1.0.0", "", &echo("got")), perl("2.0.0", "", &echo("had")));
    let scene = Scene::with_udp(live.as_bytes(), shadow.as_bytes(), WINDOW, port);
    let over = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(("127.0.0.1", port)).unwrap();
            socket.set_read_timeout(Some(clients::CAP)).unwrap();
            let mut answer = [0; 64];
            for word in (0..).map(|n: u32| n.to_string()) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                socket.send(word.as_bytes()).unwrap();
                let length = socket.recv(&mut answer).unwrap();
                assert_eq!(answer[..length], *format!("got {word}").as_bytes());
                clients::pause();
            }
        });
        let report = scene.try_it();
        over.store(true, Ordering::SeqCst);
        report
    });
    assert_eq!(report.verdict, Verdict::Cleared, "{report:#?}");
    let seen = &report.mirrored.as_ref().unwrap().udp[0];
    assert_eq!(seen.port, port);
    if !nix::unistd::geteuid().is_root() {
        return assert!(seen.trouble.as_ref().unwrap().contains("CAP_NET_RAW"), "{seen:?}");
    }
    assert!(seen.trouble.is_none() && seen.answered > 5 && seen.requests >= seen.answered);
    // A machine under load may be late for some; what came in time says that it is another version.
    assert!(seen.differing > 5, "{seen:?}");
    assert_eq!(seen.differing + seen.unanswered, seen.answered, "{seen:?}");
}

fn alone() {
    let scene = Scene::without_supervisor(perl("2.0.0", "", "").as_bytes(), WINDOW, "10%");
    let report = scene.try_it();
    assert_eq!(report.verdict, Verdict::Cleared, "{report:#?}");
    let seen = report.mirrored.unwrap();
    assert!(seen.trouble.unwrap().contains("no supervisor"), "no reason");
    assert_eq!(seen.connections, 0);
}
