//! What the payload tries to reach, and who may talk to it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use countersign_sandbox::{Attempt, Error, Network, Protocol, Readiness, Sandbox};

use crate::world::{PATIENCE, Test, printed, run, sandbox};

pub(crate) const ALL: &[Test] = &[
    ("a_quiet_payload_reports_nothing", quiet),
    ("a_connection_attempt_is_seen_and_refused_at_once", tcp),
    ("a_datagram_is_seen", udp),
    ("a_ping_is_seen", ping),
    ("a_name_is_seen_and_an_address_is_told_by_the_name_it_was_handed_out_for", names),
    ("any_name_server_is_ours", other_name_server),
    ("a_datagram_of_udp_lite_from_the_name_servers_port_is_seen", udp_lite),
    ("a_question_to_a_name_server_at_loopback_is_seen", loopback_name_server),
    ("data_behind_a_question_is_seen_as_a_datagram", smuggled),
    ("a_plain_question_to_the_given_name_server_is_no_datagram", plain_question),
    ("attempts_beyond_those_that_are_listed_are_counted", too_many),
    ("many_attempts_are_all_accounted_for", many),
    ("without_a_sinkhole_nothing_is_reachable", none),
    ("sockets_readiness_and_connections_work_as_for_a_real_service", service),
    ("connecting_to_nobody_is_refused", nobody_listens),
    ("a_door_leads_to_whom_the_caller_likes_and_nothing_beside_it_does", doors),
    ("an_address_that_is_not_the_sandboxs_cannot_be_listened_on", foreign_listen),
];

fn attempts(sandbox: Sandbox) -> Vec<Attempt> {
    let (ended, output) = run(sandbox.network(Network::Sinkhole));
    assert_eq!(ended.unaccounted, 0, "{output}");
    ended.attempts
}

fn find<'a>(attempts: &'a [Attempt], protocol: Protocol, to: &str) -> &'a Attempt {
    let to: SocketAddr = to.parse().unwrap();
    let found = attempts.iter().find(|attempt| {
        attempt.protocol == protocol
            && attempt.destination == Some(to.ip())
            && attempt.port == Some(to.port())
    });
    found.unwrap_or_else(|| panic!("no {protocol:?} to {to} in {attempts:?}"))
}

fn quiet() {
    assert_eq!(attempts(sandbox(["self-talk"])), []);
}

fn tcp() {
    let words = ["tcp", "1.2.3.4:443", "1.2.3.4:443", "[2001:db8::1]:22"];
    let output = printed(sandbox(words).network(Network::Sinkhole));
    assert_eq!(output.matches("ECONNREFUSED").count(), 3, "{output}");
    let attempts = attempts(sandbox(words));
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(find(&attempts, Protocol::Tcp, "1.2.3.4:443").count, 2);
    let v6 = find(&attempts, Protocol::Tcp, "[2001:db8::1]:22");
    assert!(v6.after < PATIENCE && v6.name.is_none());
}

fn udp() {
    let attempts = attempts(sandbox(["udp", "8.8.4.4:123", "239.1.2.3:5353", "[2001:db8::2]:9"]));
    for to in ["8.8.4.4:123", "239.1.2.3:5353", "[2001:db8::2]:9"] {
        assert_eq!(find(&attempts, Protocol::Udp, to).count, 1);
    }
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    // A broadcast has nobody to go to: seen, or counted as unaccounted, but never missed.
    let (ended, _) = run(sandbox(["udp", "255.255.255.255:67"]).network(Network::Sinkhole));
    assert_eq!(ended.attempts.len() as u64 + ended.unaccounted, 1, "{ended:?}");
}

fn ping() {
    let attempts = attempts(sandbox(["ping", "192.0.2.7:0"]));
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!((attempts[0].protocol, attempts[0].port), (Protocol::Icmp, None));
    assert_eq!(attempts[0].destination, Some(IpAddr::from([192, 0, 2, 7])));
}

fn names() {
    let attempts = attempts(sandbox(["tcp", "updates.example.com:443"]));
    let asked = attempts.iter().find(|attempt| attempt.protocol == Protocol::Dns).unwrap();
    assert_eq!(asked.name.as_deref(), Some("updates.example.com"));
    assert_eq!(asked.port, Some(53));
    let tried = attempts.iter().find(|attempt| attempt.protocol == Protocol::Tcp).unwrap();
    assert_eq!((tried.name.as_deref(), tried.port), (Some("updates.example.com"), Some(443)));

    let output = printed(sandbox(["resolve", "a.example", "localhost"]).network(Network::Sinkhole));
    assert!(output.contains("198.18.1.0:443"), "{output}");
    assert!(output.contains("127.0.0.1:443"), "{output}");
}

fn other_name_server() {
    let attempts = attempts(sandbox(["dns", "9.9.9.9:53", "telemetry.example.org"]));
    let asked = find(&attempts, Protocol::Dns, "9.9.9.9:53");
    assert_eq!((asked.name.as_deref(), asked.count), (Some("telemetry.example.org"), 2));
    let output = printed(sandbox(["dns", "9.9.9.9:53", "x.org"]).network(Network::Sinkhole));
    assert_eq!(output, "datagram [198, 18, 1, 0]\nstream [198, 18, 1, 0]\n");
}

fn udp_lite() {
    let output = printed(sandbox(["udp-lite", "8.8.8.8:9999"]).network(Network::Sinkhole));
    if output.contains("EPROTONOSUPPORT") {
        // A kernel without it has no such hole.
        return;
    }
    let attempts = attempts(sandbox(["udp-lite", "8.8.8.8:9999"]));
    assert_eq!(find(&attempts, Protocol::Other(136), "8.8.8.8:9999").count, 1);
}

fn loopback_name_server() {
    for server in ["127.0.0.53:53", "127.0.0.1:53"] {
        let attempts = attempts(sandbox(["dns", server, "secret.example.com"]));
        let asked = find(&attempts, Protocol::Dns, server);
        assert_eq!((asked.name.as_deref(), asked.count), (Some("secret.example.com"), 2));
    }
    if std::path::Path::new("/proc/self/net/if_inet6").exists() {
        let attempts = attempts(sandbox(["ask", "[::1]:53", "secret.example.com", ""]));
        let asked = find(&attempts, Protocol::Dns, "[::1]:53");
        assert_eq!(asked.name.as_deref(), Some("secret.example.com"));
    }
}

fn smuggled() {
    for (server, behind) in [("198.18.0.53:53", "secrets"), ("6.6.6.6:53", "")] {
        let attempts = attempts(sandbox(["ask", server, "updates.example.org", behind]));
        assert_eq!(find(&attempts, Protocol::Dns, server).count, 1);
        assert_eq!(find(&attempts, Protocol::Udp, server).name, None);
    }
    // More than the eye looks at of one packet.
    let long = "x".repeat(2000);
    let attempts = attempts(sandbox(["ask", "198.18.0.53:53", "a.example", &long]));
    assert_eq!(find(&attempts, Protocol::Udp, "198.18.0.53:53").count, 1);
}

fn plain_question() {
    let attempts = attempts(sandbox(["ask", "198.18.0.53:53", "updates.example.org", ""]));
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0].protocol, Protocol::Dns);
    // So does the system's own resolver.
    let attempts = self::attempts(sandbox(["resolve", "updates.example.org"]));
    assert!(attempts.iter().all(|attempt| attempt.protocol == Protocol::Dns), "{attempts:?}");
}

fn too_many() {
    let to: Vec<String> = (0..600).map(|port| format!("203.0.113.9:{}", 1000 + port)).collect();
    let mut words = vec!["/test".into(), "inside".into(), "tcp".into()];
    words.extend(to.iter().map(Into::into));
    let (ended, _) =
        run(crate::world::with_libraries(Sandbox::new(words)).network(Network::Sinkhole));
    assert_eq!((ended.attempts.len(), ended.unaccounted), (512, 88));
}

fn many() {
    let to: Vec<String> = (0..500).map(|port| format!("203.0.113.9:{}", 1000 + port)).collect();
    let mut words = vec!["/test".into(), "inside".into(), "tcp".into()];
    words.extend(to.iter().map(Into::into));
    let (ended, _) =
        run(crate::world::with_libraries(Sandbox::new(words)).network(Network::Sinkhole));
    assert_eq!((ended.attempts.len(), ended.unaccounted), (500, 0));
    assert!(ended.attempts.is_sorted_by_key(|attempt| attempt.after));
}

fn none() {
    let (ended, output) = run(sandbox(["tcp", "1.2.3.4:443", "127.0.0.1:9"]));
    assert_eq!(output, "1.2.3.4:443: Some(ENETUNREACH)\n127.0.0.1:9: Some(ECONNREFUSED)\n");
    assert_eq!((ended.attempts, ended.unaccounted), (Vec::new(), 0));
}

fn service() {
    for network in [Network::None, Network::Sinkhole] {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let mut running = sandbox(["serve"])
            .network(network)
            .listen(vec![("web".to_owned(), address)])
            .notify()
            .spawn()
            .unwrap();
        assert_eq!(running.wait_ready(Instant::now() + PATIENCE).unwrap(), Readiness::Ready);
        for _ in 0..20 {
            let mut stream = running.connect(address).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "web hello");
        }
        assert_eq!(running.attempts(), []);
        assert_eq!(running.has_exited(), None);
        running.terminate(PATIENCE).unwrap();
        let ended = running.wait().unwrap();
        assert_eq!((ended.attempts, ended.unaccounted), (Vec::new(), 0));
    }
}

fn doors() {
    let door: SocketAddr = "198.19.0.2:7000".parse().unwrap();
    let here = sandbox(["hang"]).network(Network::Sinkhole).door(door).spawn().unwrap();
    let web: SocketAddr = "127.0.0.1:80".parse().unwrap();
    let serve = sandbox(["serve"]).network(Network::Sinkhole).notify();
    let mut there = serve.listen(vec![("web".to_owned(), web)]).spawn().unwrap();
    assert_eq!(there.wait_ready(Instant::now() + PATIENCE).unwrap(), Readiness::Ready);
    let listener = here.door(door).unwrap();
    let mut neighbour = here.connect(door).unwrap();
    let (mut from, mut to) = (listener.accept().unwrap().0, there.connect(web).unwrap());
    neighbour.write_all(b"hello").unwrap();
    let mut five = [0; 5];
    from.read_exact(&mut five).unwrap();
    to.write_all(&five).unwrap();
    let mut answer = String::new();
    to.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "web hello");
    // A door is given out once, and closed for good.
    assert!(matches!(here.door(door), Err(Error::Network { .. })));
    drop(listener);
    assert!(matches!(here.connect(door), Err(Error::Network { .. })));
    // Whoever goes through it makes no attempt; the port beside it is the world.
    let words = ["tcp", "198.19.0.2:7000", "198.19.0.2:7001"];
    let attempts = attempts(sandbox(words).door(door));
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(find(&attempts, Protocol::Tcp, "198.19.0.2:7001").count, 1);
    let datagram = self::attempts(sandbox(["udp", "198.19.0.2:7000"]).door(door));
    assert_eq!(datagram.len(), 1, "{datagram:?}");
}

fn nobody_listens() {
    let mut running = sandbox(["hang"]).network(Network::Sinkhole).spawn().unwrap();
    for address in ["127.0.0.1:81", "10.9.8.7:81"] {
        let refused = running.connect(address.parse().unwrap());
        assert!(matches!(refused, Err(Error::Network { .. })), "{refused:?}");
    }
    assert_eq!(running.attempts(), []);
    running.terminate(PATIENCE).unwrap();
    let refused = running.connect("127.0.0.1:81".parse().unwrap());
    assert!(matches!(refused, Err(Error::Network { .. })), "{refused:?}");
}

fn foreign_listen() {
    let address = SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 80);
    let sandbox = || sandbox(["exit", "0"]).listen(vec![("x".to_owned(), address)]);
    assert!(
        matches!(sandbox().run(), Err(Error::Network { address, .. }) if address == "192.0.2.1:80")
    );
    // In a sinkhole every address is the sandbox's.
    sandbox().network(Network::Sinkhole).run().unwrap();
}
