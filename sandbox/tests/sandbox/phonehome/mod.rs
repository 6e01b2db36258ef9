//! The phone-home suite: every way to reach somebody is reported with its true destination, or refused and reported.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use countersign_sandbox::{
    Attempt, Clock, Ended, Exit, Machine, Mount, Network, Protocol, Sandbox, TELLTALES,
};

use crate::world::{PATIENCE, Test, run, with_libraries};

pub(crate) const ALL: &[Test] = &[
    ("phone_home_by_a_blocking_connect", || tcp("tcp", V4)),
    ("phone_home_by_a_connect_that_does_not_block", || tcp("nonblocking", V4)),
    ("phone_home_over_ipv6", || tcp("tcp", V6)),
    ("phone_home_over_ipv6_without_blocking", || tcp("nonblocking", V6)),
    ("phone_home_by_mptcp", mptcp),
    ("phone_home_by_a_segment_with_content", || tcp("fastopen", V4)),
    ("phone_home_by_a_connect_that_waits_for_content", || tcp("fastopen-connect", V4)),
    ("phone_home_by_send", || udp("send", V4)),
    ("phone_home_by_write", || udp("write", V4)),
    ("phone_home_by_sendto", || udp("sendto", V4)),
    ("phone_home_by_sendto_over_ipv6", || udp("sendto", V6)),
    ("phone_home_by_sendmsg", || udp("sendmsg", V4)),
    ("phone_home_by_sendmmsg", sendmmsg),
    ("phone_home_by_multicast", || udp("multicast", ("239.1.2.3", 5353))),
    ("phone_home_by_multicast_over_ipv6", || udp("multicast", ("ff02::fb", 5353))),
    ("phone_home_by_broadcast", || udp("broadcast", ("255.255.255.255", 67))),
    ("phone_home_by_name", getaddrinfo),
    ("phone_home_by_a_question_made_by_hand", || dns("dns")),
    ("phone_home_by_a_question_over_tcp", || dns("dns-tcp")),
    ("phone_home_by_dns_over_https", dns_over_https),
    ("phone_home_by_a_static_program_without_a_library", bare),
    ("phone_home_by_splice", || carried("splice", "spliced secret")),
    ("phone_home_by_vmsplice", || carried("vmsplice", "gifted secret")),
    ("phone_home_by_sendfile", || carried("sendfile", "countersign")),
    ("phone_home_by_io_uring_is_refused_and_reported", io_uring),
    ("phone_home_by_raw_packet_vsock_and_netlink_is_refused_and_reported", families),
    ("phone_home_by_a_unix_socket_that_is_not_its_own", unix),
    ("phone_home_and_kill_oneself_at_once", suicide),
    ("phone_home_thousands_of_times", thousands),
    ("phone_home_by_a_helper_that_left_home", daemon),
    ("phone_home_late_but_inside_the_window", late),
    ("phone_home_only_where_it_looks_real", if_real),
    ("all_that_tells_of_the_sandbox_is_listed", telltales),
    ("a_payload_that_phones_nobody_is_reported_with_nothing", quiet),
    ("the_first_bytes_of_datagrams_and_connections_are_kept_where_asked_for", first_bytes),
    ("attempts_without_any_network_are_reported_too", no_network),
    ("attempts_under_another_clock_are_attributed_too", another_clock),
];

const V4: (&str, u16) = ("203.0.113.7", 4444);
const V6: (&str, u16) = ("2001:db8::7", 4444);

/// Compiles the programs once, and returns where they are.
fn programs() -> &'static PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("phone-home-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        for (name, source, words) in [
            ("calls", include_str!("calls.c"), &["-w"][..]),
            (
                "bare",
                include_str!("bare.c"),
                &["-static", "-nostdlib", "-fno-stack-protector", "-Wl,--build-id=none"][..],
            ),
        ] {
            let file = place.join(format!("{name}.c"));
            std::fs::write(&file, source).unwrap();
            let mut cc = Command::new("cc");
            cc.arg("-O1").args(words).arg("-o").arg(place.join(name)).arg(&file);
            let made = cc.output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        place
    })
}

/// Removes what was compiled.
pub(crate) fn clean_up() {
    let place = std::env::temp_dir().join(format!("phone-home-{}", std::process::id()));
    // Not there if no test of this suite ran.
    _ = std::fs::remove_dir_all(place);
}

fn program(name: &str, words: &[&str]) -> Sandbox {
    untold(name, words).attribute()
}

fn plain(words: &[&str]) -> Sandbox {
    untold("calls", words).network(Network::Sinkhole)
}

fn untold(name: &str, words: &[&str]) -> Sandbox {
    let inside = format!("/{name}");
    let mut command = vec![OsString::from(&inside)];
    command.extend(words.iter().map(OsString::from));
    with_libraries(Sandbox::new(command))
        .mount(Mount::ReadOnly { from: programs().join(name), to: inside.into() })
}

fn calls(words: &[&str]) -> Sandbox {
    program("calls", words).network(Network::Sinkhole)
}

fn ended(sandbox: Sandbox) -> (Ended, String) {
    let (ended, output) = run(sandbox);
    assert_eq!(ended.unaccounted, 0, "{ended:?} {output}");
    (ended, output)
}

fn attempts(words: &[&str]) -> Vec<Attempt> {
    ended(calls(words)).0.attempts
}

/// The one attempt there is; it has this destination, and names the program that did it.
fn only(attempts: &[Attempt], protocol: Protocol, to: (&str, u16)) -> Attempt {
    let [attempt] = attempts else { panic!("not one attempt: {attempts:#?}") };
    is(attempt, protocol, to);
    attempt.clone()
}

fn is(attempt: &Attempt, protocol: Protocol, (host, port): (&str, u16)) {
    assert_eq!(attempt.protocol, protocol, "{attempt:?}");
    assert_eq!(attempt.destination, Some(host.parse().unwrap()), "{attempt:?}");
    assert_eq!(attempt.port, Some(port), "{attempt:?}");
    by(attempt, "calls", "/calls");
}

fn by(attempt: &Attempt, command: &str, program: &str) {
    let [process] = attempt.processes.as_slice() else { panic!("by whom? {attempt:?}") };
    assert_eq!((process.command.as_str(), process.program.as_deref()), (command, Some(program)));
    assert!(process.pid > 1, "{attempt:?}");
}

fn tcp(verb: &str, to: (&str, u16)) {
    only(&attempts(&[verb, to.0, &to.1.to_string()]), Protocol::Tcp, to);
}

fn udp(verb: &str, to: (&str, u16)) {
    let attempts = attempts(&[verb, to.0, &to.1.to_string()]);
    assert_eq!(only(&attempts, Protocol::Udp, to).count, 1);
}

fn mptcp() {
    let (ended, output) = ended(calls(&["mptcp", V4.0, "4444"]));
    if output.contains("EPROTONOSUPPORT") || output.contains("ENOPROTOOPT") {
        assert_eq!(ended.attempts, []);
    } else {
        only(&ended.attempts, Protocol::Tcp, V4);
    }
}

fn sendmmsg() {
    let attempts = attempts(&["sendmmsg", V4.0, "4444"]);
    assert_eq!(attempts.len(), 2, "{attempts:#?}");
    is(&attempts[0], Protocol::Udp, V4);
    is(&attempts[1], Protocol::Udp, (V4.0, 4445));
}

fn getaddrinfo() {
    let attempts = attempts(&["getaddrinfo", "updates.example.com"]);
    let dns = attempts.iter().find(|attempt| attempt.protocol == Protocol::Dns).unwrap();
    is(dns, Protocol::Dns, ("198.18.0.53", 53));
    let tcp = attempts.iter().find(|attempt| attempt.protocol == Protocol::Tcp).unwrap();
    assert_eq!(tcp.port, Some(443));
    by(tcp, "calls", "/calls");
    for attempt in &attempts {
        assert_eq!(attempt.name.as_deref(), Some("updates.example.com"), "{attempts:#?}");
    }
}

fn dns(verb: &str) {
    let attempts = attempts(&[verb, "9.9.9.9", "53", "secret.example.org"]);
    let asked = attempts.iter().find(|attempt| attempt.protocol == Protocol::Dns).unwrap();
    is(asked, Protocol::Dns, ("9.9.9.9", 53));
    assert_eq!(asked.name.as_deref(), Some("secret.example.org"));
    assert_eq!(attempts.len(), 2, "the carrier too: {attempts:#?}");
}

fn dns_over_https() {
    only(&attempts(&["https", "1.1.1.1", "443"]), Protocol::Tcp, ("1.1.1.1", 443));
    let (ended, _) = ended(calls(&["https", "1.1.1.1", "443"]).first_bytes(3));
    let attempt = only(&ended.attempts, Protocol::Tcp, ("1.1.1.1", 443));
    assert_eq!(attempt.server_name.as_deref(), Some("dns.example.org"));
    assert_eq!(attempt.first_bytes, [22, 3, 1]);
}

fn bare() {
    let (ended, _) = ended(program("bare", &[]).network(Network::Sinkhole));
    assert_eq!(ended.exit, Exit::Code(0));
    let [attempt] = ended.attempts.as_slice() else { panic!("{ended:?}") };
    let to = (attempt.destination.unwrap().to_string(), attempt.port);
    assert_eq!((attempt.protocol, to), (Protocol::Tcp, ("203.0.113.80".into(), Some(80))));
    by(attempt, "bare", "/bare");
}

/// Refused at once, nothing can be carried; taken, what is carried is seen.
fn carried(verb: &str, content: &str) {
    let words = [verb, V4.0, "4444"];
    only(&attempts(&words), Protocol::Tcp, V4);
    let (ended, output) = ended(calls(&words).first_bytes(64));
    let attempt = only(&ended.attempts, Protocol::Tcp, V4);
    let seen = String::from_utf8_lossy(&attempt.first_bytes);
    assert!(seen.starts_with(content), "{seen:?} {output}");
}

fn io_uring() {
    let (ended, output) = ended(calls(&["uring"]));
    assert_eq!(output, "io_uring_setup: ENOSYS\nio_uring_enter: ENOSYS\n");
    let [attempt] = ended.attempts.as_slice() else { panic!("{ended:?}") };
    assert_eq!((attempt.protocol, attempt.destination), (Protocol::IoUring, None));
    by(attempt, "calls", "/calls");
}

fn families() {
    for (family, kind, number, protocol, error) in [
        (libc::AF_INET, libc::SOCK_RAW, 1, Some(Protocol::Raw), "EPERM"),
        (libc::AF_INET6, libc::SOCK_RAW, 58, Some(Protocol::Raw), "EPERM"),
        (libc::AF_PACKET, libc::SOCK_RAW, 768, Some(Protocol::Packet), "EAFNOSUPPORT"),
        (libc::AF_INET, 10, 768, Some(Protocol::Packet), "EPERM"),
        (libc::AF_VSOCK, libc::SOCK_STREAM, 0, Some(Protocol::Vsock), "EAFNOSUPPORT"),
        (libc::AF_NETLINK, libc::SOCK_RAW, 16, Some(Protocol::Netlink), "EAFNOSUPPORT"),
        (libc::AF_BLUETOOTH, libc::SOCK_STREAM, 3, Some(Protocol::Family(31)), "EAFNOSUPPORT"),
        // A question about one's own interfaces reaches nobody.
        (libc::AF_NETLINK, libc::SOCK_RAW, 0, None, "EAFNOSUPPORT"),
    ] {
        let words = ["family".to_owned(), family.to_string(), kind.to_string(), number.to_string()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (ended, output) = ended(calls(&words));
        assert_eq!(output, format!("socket: {error}\n"));
        let told: Vec<Protocol> = ended.attempts.iter().map(|one| one.protocol).collect();
        assert_eq!(told, protocol.into_iter().collect::<Vec<_>>());
        ended.attempts.iter().for_each(|attempt| by(attempt, "calls", "/calls"));
    }
}

fn unix() {
    for (verb, name) in [
        ("unix", "/run/docker.sock"),
        ("unix", "@/tmp/.X11-unix/X0"),
        ("unix-datagram", "/dev/log"),
    ] {
        let (ended, _) = ended(calls(&[verb, name]));
        let [attempt] = ended.attempts.as_slice() else { panic!("{ended:?}") };
        assert_eq!((attempt.protocol, attempt.name.as_deref()), (Protocol::Unix, Some(name)));
        by(attempt, "calls", "/calls");
    }
    let (ended, output) = ended(calls(&["unix-own"]));
    assert_eq!(output.matches("\nconnect: ok").count(), 2, "{output}");
    assert_eq!(ended.attempts, []);
    // The C library asks after a cache of names before it looks for itself.
    assert_eq!(attempts(&["unix", "/var/run/nscd/socket"]), []);
}

fn suicide() {
    for verb in ["suicide", "suicide-nonblocking"] {
        let (ended, _) = ended(calls(&[verb, V4.0, "4444"]));
        assert_eq!(ended.exit, Exit::Signal(libc::SIGKILL));
        only(&ended.attempts, Protocol::Tcp, V4);
    }
}

fn thousands() {
    for (verb, protocol) in [("many", Protocol::Tcp), ("many-datagrams", Protocol::Udp)] {
        let attempts = attempts(&[verb, V4.0, "4444", "5000"]);
        assert_eq!(only(&attempts, protocol, V4).count, 5000);
    }
}

fn daemon() {
    let attempts = attempts(&["daemon", V4.0, "4444"]);
    let [attempt] = attempts.as_slice() else { panic!("{attempts:?}") };
    // Executed through /proc/self/exe: its name is the link's, its program is told all the same.
    by(attempt, "exe", "/calls");
}

fn late() {
    let limits = countersign_sandbox::Limits { wall: Some(PATIENCE), ..Default::default() };
    let (ended, _) = ended(calls(&["late", V4.0, "4444", "300"]).limits(limits));
    let attempt = only(&ended.attempts, Protocol::Tcp, V4);
    // The eye may be late, never early.
    assert!(attempt.after >= Duration::from_millis(300) && attempt.after < PATIENCE);
}

fn if_real() {
    let (ended, output) = ended(calls(&["if-real", V4.0, "4444"]));
    assert_eq!(output, "this is no real machine\n");
    // What it looked at to find out is reported, as everything is.
    assert!(!ended.attempts.iter().any(|attempt| attempt.port == Some(V4.1)), "{ended:?}");
    assert!(ended.attempts.iter().any(|attempt| attempt.port == Some(9)), "{ended:?}");
}

fn telltales() {
    let (_, output) = ended(calls(&["traits"]));
    let listed: Vec<&str> = TELLTALES.iter().map(|(name, _)| *name).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), listed);
}

fn quiet() {
    for words in [
        &["quiet"][..],
        &["tcp", "127.0.0.1", "9"],
        &["sendto", "127.0.0.1", "9"],
        &["tcp", "::1", "9"],
        &["own-name", "8.8.8.8", "80"],
    ] {
        assert_eq!(attempts(words), [], "{words:?}");
    }
}

fn first_bytes() {
    let (ended, _) = ended(calls(&["sendto", V4.0, "4444"]).first_bytes(4));
    assert_eq!(only(&ended.attempts, Protocol::Udp, V4).first_bytes, b"secr");
    let (ended, _) = self::ended(calls(&["fastopen", V4.0, "4444"]).first_bytes(64));
    assert_eq!(only(&ended.attempts, Protocol::Tcp, V4).first_bytes, b"secret");
    let (ended, _) = self::ended(calls(&["fastopen-connect", V6.0, "4444"]).first_bytes(64));
    assert_eq!(only(&ended.attempts, Protocol::Tcp, V6).first_bytes, b"secret");
    // Unless asked for, nothing is taken and nothing kept.
    assert!(attempts(&["sendto", V4.0, "4444"])[0].first_bytes.is_empty());
}

fn no_network() {
    let tried = |words: &[&str]| ended(program("calls", words)).0.attempts;
    only(&tried(&["tcp", V4.0, "4444"]), Protocol::Tcp, V4);
    only(&tried(&["tcp", V6.0, "4444"]), Protocol::Tcp, V6);
    only(&tried(&["sendto", V4.0, "4444"]), Protocol::Udp, V4);
    only(&tried(&["sendmsg", V4.0, "4444"]), Protocol::Udp, V4);
    let many = tried(&["many", V4.0, "4444", "1000"]);
    assert_eq!(only(&many, Protocol::Tcp, V4).count, 1000);
    let asked = tried(&["getaddrinfo", "crates.example"]);
    assert_eq!(asked.len(), 1, "{asked:#?}");
    assert_eq!(asked[0].protocol, Protocol::Dns);
    assert_eq!(asked[0].name.as_deref(), Some("crates.example"));
    assert_eq!(tried(&["uring"])[0].protocol, Protocol::IoUring);
    assert_eq!(tried(&["tcp", "127.0.0.1", "9"]), []);
}

fn another_clock() {
    let machine = Machine { clock: Clock::Held(1_000_000_000), ..Machine::default() };
    let words = ["late", V4.0, "4444", "10"];
    let (ended, _) = ended(calls(&words).machine(machine.clone()));
    only(&ended.attempts, Protocol::Tcp, V4);
    let (ended, _) = self::ended(program("calls", &words).machine(machine));
    only(&ended.attempts, Protocol::Tcp, V4);
}

/// What a told call costs: the same calls, told and not, timed by the program that makes them.
pub(crate) fn cost() {
    println!("| calls | nobody is told, ns each | told, ns each | told and censused, ns each |");
    println!("|---|---|---|---|");
    for (what, words) in [
        ("socket, connect, close: to loopback", ["time-tcp", "127.0.0.1", "9", "20000"]),
        (
            "socket, connect, close: to one address of the sinkhole",
            ["time-tcp", V4.0, "9", "20000"],
        ),
        ("sendto: to loopback", ["time-udp", "127.0.0.1", "9", "50000"]),
        ("sendto: to one address of the sinkhole", ["time-udp", V4.0, "9", "50000"]),
        ("write to a file, which is never told", ["time-write", "", "", "50000"]),
    ] {
        let mut line = format!("| {what} |");
        for round in 0..3 {
            let mut best = u64::MAX;
            for _ in 0..3 {
                let mut sandbox = calls(&words);
                sandbox = match round {
                    0 => plain(&words),
                    1 => sandbox,
                    _ => sandbox.census(),
                };
                let (ended, output) = run(sandbox);
                assert_eq!(ended.exit, Exit::Code(0));
                best = best.min(output.trim().parse().unwrap());
            }
            line += &format!(" {best} |");
        }
        println!("{line}");
    }
}
