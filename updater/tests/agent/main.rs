//! The agent with everything real: a signed repository, the shadow, a supervisor, a node with state, a client that
//! writes all the while.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests whose main() is ours")]

mod areas;
#[path = "../common/clients.rs"]
mod clients;
#[path = "../../src/fixture/mod.rs"]
mod fixture;
mod matrix;
mod node;
mod renewed;
mod untouched;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use countersign_metadata::Sha256;
use countersign_updater::agent;
use countersign_updater::machine::state::Restarted;
use countersign_updater::machine::{Effect, Ledger, State};
use countersign_updater::supervise::Phase;
use countersign_updater::swap::{Lease, LeaseError};
use libtest_mimic::{Arguments, Trial};

use clients::Clients;
use node::Node;

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    if let Some(exit) = node::die_if_asked() {
        return exit;
    }
    let tests: [(&str, fn()); 37] = [
        ("a_release_is_swapped_in_under_load_and_every_acknowledged_write_is_there", swaps),
        ("a_release_that_crashes_is_rolled_back_with_every_write", crashes),
        ("a_release_that_is_sick_only_in_the_live_node_is_rolled_back", sick),
        ("a_migration_that_fails_live_is_reversed_and_the_old_version_runs", migration_fails),
        ("a_barred_way_back_restores_the_snapshot_and_keeps_the_newer_state_aside", barred),
        ("a_delay_survives_restarts_and_apply_ends_it", held),
        ("a_release_waits_until_the_operator_applies_it", manual),
        ("a_release_waits_until_what_it_asks_for_was_accepted_and_no_hold_stands", asks),
        ("a_committed_release_is_rolled_back_with_every_write_and_forgiven", recalled),
        ("a_release_is_taken_with_the_next_restart_of_the_node", on_restart),
        ("keyholders_cancel_a_release_that_waits_and_spread_it_over_a_longer_time", rolled_out),
        ("a_disk_that_fills_in_mid_swap_does_not_keep_the_node_down", full),
        ("a_staged_release_that_was_changed_during_its_delay_is_staged_again", changed_in_store),
        ("nothing_is_swapped_in_while_the_old_version_cannot_be_gone_back_to", no_way_back),
        ("a_migration_that_leaves_a_daemon_behind_leaves_no_lock_behind", daemon),
        ("a_journal_moved_aside_in_mid_migration_starts_and_overwrites_nothing", journal_aside),
        ("a_release_that_cannot_be_fetched_ends_an_apply", unfetchable),
        ("what_is_refused_has_its_exit_code", exits),
        ("a_dead_holder_of_the_lease_blocks_nobody_for_longer_than_it_lasts", dead_holder),
        ("an_updater_that_is_replaced_under_load_fails_no_request", renewed::under_load),
        ("an_updater_that_is_broken_goes_back_and_the_node_never_knows", renewed::broken),
        ("an_updater_killed_between_any_steps_of_its_own_update_goes_on", renewed::killed),
        ("an_agent_killed_at_any_step_of_the_swap_ends_in_the_new_version", killed_forward),
        ("an_agent_killed_at_any_step_of_the_roll_back_ends_in_the_old_version", killed_backward),
        ("no_write_is_lost_when_the_binary_is_broken", matrix::broken_binary),
        ("no_write_is_lost_when_the_migration_is_broken", matrix::bad_migration),
        ("the_newer_writes_are_kept_aside_when_the_way_back_is_broken", matrix::bad_way_back),
        ("no_write_is_lost_when_health_is_bad", matrix::bad_health),
        ("no_write_is_lost_when_health_is_bad_late", matrix::late_bad_health),
        ("no_write_is_lost_when_it_crashes", matrix::crash),
        (
            "two_areas_go_opposite_ways_and_a_kill_in_each_migration_is_survived",
            areas::opposite_directions_with_a_kill_in_each,
        ),
        (
            "a_kill_in_each_migration_back_and_forth_is_survived",
            areas::the_way_back_with_a_kill_in_each,
        ),
        (
            "a_version_that_reads_the_old_schema_migrates_nothing_forward",
            areas::read_without_a_migration,
        ),
        (
            "a_snapshot_that_the_old_version_cannot_open_stops_the_swap",
            areas::a_snapshot_is_opened_before_it_counts,
        ),
        (
            "what_is_secret_is_in_no_shadow_and_an_identity_is_made_up",
            areas::secrets_stay_out_of_the_shadow,
        ),
        (
            "nothing_in_a_data_directory_is_deleted_by_a_swap_or_a_roll_back",
            untouched::nothing_is_deleted,
        ),
        ("a_second_updater_is_refused", second),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn swaps() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    let clients = Clients::start(node.address, 3);
    clients.wait_for(50);
    node.publish("2.0.0", 2, "");
    let state = node.run();
    assert!(matches!(state, State::Committed { .. }), "{state:?}");
    assert_eq!(node.current().version.to_string(), "2.0.0");
    clients.wait_for(50);
    node.keeps_all(clients);
    assert_eq!(node.current().state, 1, "the data directory is the same one");
    assert!(node.home.snapshot(1).join("manifest.json").exists());
    // Nothing more to do: the next life of the agent changes nothing.
    assert_eq!(node.run(), state);
    supervisor.terminate();
}

fn crashes() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    node.publish("2.0.0", 2, "crash-on-write");
    let writer = Clients::start(node.address, 1);
    let undone = node.rolled_back();
    let acknowledged = writer.stop().0;
    // In probation, or, where a write queued already, before it was ready.
    let told = undone.reason.contains("crashed") || undone.reason.contains("SIGKILL");
    assert!(told, "{}", undone.reason);
    assert_eq!((undone.restored, &undone.restarted), (None, &Some(Restarted::Ready)));
    let words = node.words();
    assert!(words.contains(&"before".to_owned()));
    assert!(acknowledged.iter().all(|word| words.contains(word)), "an acknowledged write is gone");
    assert_eq!(node.run().name(), "RolledBack", "it is known bad");
    supervisor.terminate();
}

fn sick() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    node.publish("2.0.0", 1, "sick-live");
    let undone = node.rolled_back();
    assert!(undone.reason.contains("503"), "{}", undone.reason);
    clients::put(node.address, "after").unwrap();
    supervisor.terminate();
}

fn migration_fails() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    let clients = Clients::start(node.address, 2);
    clients.wait_for(20);
    node.publish("2.0.0", 2, "forward-fails-live");
    let undone = node.rolled_back();
    assert!(undone.reason.contains("migration of values"), "{}", undone.reason);
    assert_eq!(undone.restored, None);
    clients.wait_for(20);
    node.keeps_all(clients);
    supervisor.terminate();
}

fn barred() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    node.publish("2.0.0", 2, "back-fails sick-live");
    let undone = node.rolled_back();
    assert_eq!((undone.restored, undone.kept_aside), (Some(2), Some(1)));
    assert!(undone.stuck.unwrap().contains("migration"), "the reason is kept");
    assert_eq!(node.words(), ["before"]);
    assert!(node.home.state(1).join("words").exists(), "the newer state is kept aside");
    clients::put(node.address, "after").unwrap();
    assert_eq!(node.words(), ["before", "after"]);
    supervisor.terminate();
}

fn held() {
    let mut node = Node::with("delay = \"1h..9h\"\n");
    let mut supervisor = node.supervise();
    node.publish("2.0.0", 1, "");
    assert_eq!(node.program(&["run", "--once"]), 0);
    let State::Held { hold, .. } = node.state() else { panic!("{:?}", node.state()) };
    assert!((3_600_000..=32_400_000).contains(&hold.delay_ms));
    assert_eq!(node.program(&["run", "--once"]), 0);
    let State::Held { hold: again, .. } = node.state() else { panic!("{:?}", node.state()) };
    assert_eq!(hold, again, "a restart neither shortens nor re-rolls it");
    assert_eq!(node.program(&["apply"]), 0);
    assert_eq!(node.state().name(), "Committed");
    assert_eq!(node.program(&["apply"]), 1, "there is nothing to take");
    supervisor.terminate();
}

fn manual() {
    let mut node = Node::with("delay = \"0s..300ms\"\nmode = \"manual\"\n");
    let mut supervisor = node.supervise();
    node.publish("2.0.0", 1, "");
    assert_eq!(node.program(&["run", "--until-idle"]), 0);
    assert_eq!(node.state().name(), "Held");
    assert_eq!(node.program(&["apply"]), 0);
    assert_eq!(node.state().name(), "Committed");
    supervisor.terminate();
}

fn asks() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    let asks = serde_json::json!({ "open-port": "Open UDP port 5151", "quota": "Ask for 2 GiB" });
    node.publish_asking("2.0.0", 1, asks);
    let (exit, said) = node.tell("run", &["--until-idle"]);
    assert!(exit == 0 && said.contains("asks of you: Open UDP port 5151"), "{said}");
    assert_eq!(node.tell("apply", &[]).0, 1, "nobody but the operator can say that it was done");
    let (_, said) = node.tell("status", &[]);
    assert!(said.contains("asked       Open UDP port 5151 (open-port)"), "{said}");
    assert!(said.contains("then do what it asks for"), "{said}");
    let (exit, said) = node.tell("accept", &["2.0.0", "close-port"]);
    assert!(exit == 3 && said.contains("open-port, quota"), "{said}");
    assert_eq!(node.tell("accept", &["2.0.0", "open-port"]).0, 0);
    node.run();
    assert_eq!(node.state().name(), "Held");

    let (exit, said) = node.tell("hold", &["--for", "1h", "--reason", "the auditors are here"]);
    assert!(exit == 0 && said.contains("the auditors are here"), "{said}");
    assert_eq!(node.tell("accept", &["2.0.0"]).0, 0);
    assert_eq!(node.tell("run", &["--once"]).0, 0);
    assert_eq!(node.state().name(), "Held");
    let (exit, said) = node.tell("apply", &[]);
    assert!(exit == 1 && said.contains("release NODE"), "{said}");
    let (_, said) = node.tell("status", &[]);
    assert!(said.contains("no swap begins: the operator holds it since"), "{said}");
    assert_eq!(node.tell("release", &[]).0, 0);
    assert_eq!(node.tell("release", &[]).0, 3, "nothing is held any more");
    assert_eq!(node.run().name(), "Committed");
    let (_, said) = node.tell("history", &["--json"]);
    for line in ["has done what 2.0.0 asks for: open-port", "the operator holds everything until"] {
        assert!(said.contains(line), "{said}");
    }
    supervisor.terminate();
}

fn recalled() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    let (exit, said) = node.tell("rollback", &[]);
    assert!(exit == 1 && said.contains("does not know what ran before"), "{said}");
    node.publish("2.0.0", 2, "");
    assert_eq!(node.run().name(), "Committed");
    let clients = Clients::start(node.address, 2);
    clients.wait_for(50);
    let (exit, said) = node.tell("rollback", &["--reason", "it is slow"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("2.0.0 gives way to 1.0.0"), "{said}");
    assert!(said.contains("values from schema 2 to 1"), "{said}");
    let State::RolledBack { undo, .. } = node.state() else { panic!("{:?}", node.state()) };
    assert_eq!(undo.reason, "the operator rolled it back: it is slow");
    assert_eq!(node.current().version.to_string(), "1.0.0");
    clients.wait_for(20);
    node.keeps_all(clients);
    // It stays so until it is forgiven.
    assert_eq!(node.run().name(), "RolledBack");
    let (_, said) = node.tell("explain", &[]);
    assert!(said.contains("known bad: the operator rolled it back: it is slow"), "{said}");
    assert_eq!(node.tell("forgive", &["3.0.0"]).0, 3);
    assert_eq!(node.tell("forgive", &["2.0.0"]).0, 0);
    assert_eq!(node.run().name(), "Committed");
    assert_eq!(node.current().version.to_string(), "2.0.0");
    supervisor.terminate();
}

fn on_restart() {
    let mut node = Node::with("delay = \"0s..100ms\"\nmode = \"on-restart\"\n");
    let mut supervisor = node.supervise();
    node.publish("2.0.0", 1, "");
    assert_eq!(node.run().name(), "Held");
    let (_, said) = node.tell("status", &[]);
    assert!(said.contains("next restart after that"), "{said}");
    let pid = node.status().pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).unwrap();
    clients::until(|| {
        let status = node.status();
        status.phase == Phase::Ready && status.pid != Some(pid)
    });
    assert_eq!(node.run().name(), "Committed");
    supervisor.terminate();
}

fn rolled_out() {
    let (mut node, mut supervisor, artifact) = waiting();
    let State::Held { hold: first, .. } = node.state() else { panic!("{:?}", node.state()) };
    node.roll_out("2.0.0", serde_json::json!({ "cancelled": "it leaks" }));
    clients::until(|| {
        assert_eq!(node.program(&["run", "--once"]), 0);
        node.state() == State::Idle
    });
    let (_, said) = node.tell("explain", &[]);
    assert!(said.contains("cancelled its rollout: it leaks"), "{said}");
    node.roll_out("2.0.0", serde_json::json!({ "window-seconds": 604_800 }));
    assert_eq!(node.program(&["run", "--once"]), 0);
    let State::Held { hold: slower, .. } = node.state() else { panic!("{:?}", node.state()) };
    assert!(slower.delay_ms > first.delay_ms, "{first:?} {slower:?}");
    let left = slower.not_before.boot_ms - first.not_before.boot_ms;
    assert_eq!(
        left,
        slower.delay_ms - first.delay_ms,
        "the same draw, counted from the same instant"
    );
    let (_, said) = node.tell("explain", &["--offline"]);
    assert!(said.contains("nodes spread over 7 d"), "{said}");
    assert_eq!(Ledger::of(&node.records()).holds[&artifact], slower);
    supervisor.terminate();
}

fn full() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    let pid = node.status().pid;
    node.publish("2.0.0", 2, "");
    let mut agent = node.run_on_a_disk_that_fills();
    // Sooner than the hold runs out, and the agent is there all the while.
    clients::until(|| {
        let status = node.status();
        status.phase == Phase::Ready && status.pid != pid
    });
    assert_eq!(agent.try_wait().unwrap(), None);
    clients::put(node.address, "meanwhile").unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(node.run().name(), "Committed", "there is room again");
    assert_eq!(node.words(), ["before", "meanwhile"]);
    supervisor.terminate();
}

/// A node with version 2.0.0 in its delay.
fn waiting() -> (Node, node::Supervisor, Sha256) {
    let mut node = Node::with("delay = \"1h..9h\"\n");
    let supervisor = node.supervise();
    node.publish("2.0.0", 2, "");
    assert_eq!(node.program(&["run", "--once"]), 0);
    let artifact = node.state().candidate().unwrap().artifact;
    (node, supervisor, artifact)
}

fn changed_in_store() {
    let (node, mut supervisor, artifact) = waiting();
    let path = node.damage(&artifact);
    assert_eq!(node.program(&["apply"]), 0);
    assert_eq!(node.state().name(), "Committed");
    assert!(std::fs::read_to_string(path).unwrap().contains("perl"), "as it was signed");
    supervisor.terminate();
}

fn no_way_back() {
    let (node, mut supervisor, _) = waiting();
    node.damage(&node.current().binary);
    assert_eq!(node.program(&["apply"]), 1);
    assert_eq!(node.state().name(), "Held");
    let trouble = Ledger::of(&node.records()).trouble.unwrap();
    assert!(trouble.reason.contains("damaged"), "{}", trouble.reason);
    clients::put(node.address, "meanwhile").unwrap();
    supervisor.terminate();
}

fn daemon() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    node.publish("2.0.0", 2, "leaves-daemon-live");
    assert_eq!(node.run().name(), "Committed");
    // Its backward migration leaves one too.
    node.publish("3.0.0", 1, "leaves-daemon-live sick-live");
    node.rolled_back();
    assert_eq!(node.words(), ["before"]);
    supervisor.terminate();
}

fn dead_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lease.json");
    let mut node = Node::with(&format!(
        "delay = \"0s..300ms\"\n[swap]\nlease = \"{}\"\nlease-for = \"2s\"\n",
        path.display()
    ));
    let mut supervisor = node.supervise();
    let other = Lease::new(&path, "a node that died in mid-swap", Duration::from_secs(2));
    let now = || agent::now().unwrap();
    let fence = other.take(&now()).unwrap();
    node.publish("2.0.0", 2, "");
    // Held by somebody until it expires: the agent waits, and goes on by itself.
    assert_eq!(node.run().name(), "Committed");
    let leased = node.records().into_iter().find_map(|record| record.state.swap().cloned());
    assert!(leased.unwrap().fence > fence, "every grant has another number");
    // The one that comes back late is not the only one any more.
    assert!(matches!(other.renew(fence, &now()), Err(LeaseError::Lost { .. })));
    other.release(fence).unwrap();
    assert!(other.taken(&now()).unwrap().is_none(), "it was given back at the end of the swap");
    supervisor.terminate();
}

fn journal_aside() {
    let mut once = Node::new();
    let mut supervisor = once.supervise();
    once.publish("2.0.0", 2, "");
    once.run();
    supervisor.terminate();
    let migrate = once.records().iter().rposition(|r| r.effect == Effect::Migrate).unwrap();

    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    node.publish("2.0.0", 2, "");
    assert!(node.run_and_die(migrate));
    let manifest = node.home.snapshot(1).join("manifest.json");
    let snapshot = std::fs::read(&manifest).unwrap();
    let (journal, aside) = (node.home.journal(), node.home.path().join("aside"));
    std::fs::rename(&journal, &aside).unwrap();
    assert_eq!(node.run().name(), "Idle");
    assert_eq!(node.records(), [], "nothing was begun");
    assert_eq!(std::fs::read(&manifest).unwrap(), snapshot);
    assert_eq!(node.current().version.to_string(), "1.0.0");
    assert_ne!(node.status().phase, Phase::Ready);
    std::fs::rename(&aside, &journal).unwrap();
    assert_eq!(node.run().name(), "Committed");
    assert_eq!(node.words(), ["before"]);
    supervisor.terminate();
}

fn unfetchable() {
    let mut node = Node::with("delay = \"0s..300ms\"\nattempts = 1\n");
    let mut supervisor = node.supervise();
    node.publish("2.0.0", 1, "");
    node.hide_artifacts();
    assert_eq!(node.program(&["run", "--until-idle"]), 1);
    for tries in 2..4 {
        clients::until(|| {
            assert_eq!(node.program(&["apply"]), 1);
            let ledger = Ledger::of(&node.records());
            ledger.attempts.values().next().unwrap().count == tries
        });
    }
    supervisor.terminate();
}

fn exits() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    node.publish_signed_by_one("2.0.0");
    assert_eq!(node.program(&["run", "--until-idle"]), 6);
    node.publish("2.0.0", 1, "phones-home");
    assert_eq!(node.program(&["run", "--until-idle"]), 1);
    assert_eq!(node.state().name(), "Idle");
    assert_eq!(node.current().version.to_string(), "1.0.0");
    node.hide_repository();
    assert_eq!(node.program(&["run", "--until-idle"]), 5);
    assert_eq!(node.program(&["run", "--json", "--once"]), 5);
    supervisor.terminate();
}

/// Kills an agent at each of its moments, one life after the other, until one comes to its end.
fn killed(node: &Node, at: usize) -> State {
    let killed = node.run_and_die(at);
    assert!(killed, "it came to its end before moment {at}: {:#?}", node.records());
    node.run()
}

fn moments(node: &Node) -> usize {
    let effects = node.records().len() / 2;
    assert!(effects > 8);
    effects * 2
}

fn killed_forward() {
    let mut once = Node::new();
    let mut supervisor = once.supervise();
    once.publish("2.0.0", 2, "");
    once.run();
    let moments = moments(&once);
    supervisor.terminate();
    // The moments before the lease are cheap to repeat and touch nothing: the last ones are the swap.
    let swap = once.records().iter().position(|r| r.effect == Effect::Lease).unwrap();
    for at in swap..moments {
        let mut node = Node::new();
        let mut supervisor = node.supervise();
        let clients = Clients::start(node.address, 1);
        clients.wait_for(10);
        node.publish("2.0.0", 2, "");
        let state = killed(&node, at);
        assert!(matches!(state, State::Committed { .. }), "killed at {at}: {state:?}");
        clients.wait_for(10);
        node.keeps_all(clients);
        supervisor.terminate();
    }
}

fn second() {
    let node = Node::new();
    let mut supervisor = node.supervise();
    let mut first = std::process::Command::new(program())
        .arg("run")
        .arg(node.home.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lock = || std::fs::File::open(node.home.agent_lock());
    clients::until(|| lock().is_ok_and(|lock| lock.try_lock_shared().is_err()));
    assert_eq!(node.program(&["run", "--once"]), 8);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(node.program(&["run", "--once"]), 0);
    supervisor.terminate();
}

fn killed_backward() {
    let mut once = Node::new();
    let mut supervisor = once.supervise();
    once.publish("2.0.0", 2, "sick-live");
    once.run();
    let moments = moments(&once);
    supervisor.terminate();
    let condemned = once.records().iter().position(|r| r.effect == Effect::Condemn).unwrap();
    for at in condemned..moments {
        let mut node = Node::new();
        let mut supervisor = node.supervise();
        clients::put(node.address, "before").unwrap();
        node.publish("2.0.0", 2, "sick-live");
        let state = killed(&node, at);
        assert!(matches!(state, State::RolledBack { .. }), "killed at {at}: {state:?}");
        clients::put(node.address, "after").unwrap();
        assert_eq!(node.words(), ["before", "after"]);
        supervisor.terminate();
    }
}

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_countersign-updater"))
}
