//! The same story with the updater killed (SIGKILL) before and after each effect: it always ends with version 1 or
//! version 2 running on its data.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Mutex;

use countersign_tests::site::Site;
use countersign_tests::world::{World, serve, text};
use countersign_tests::{programs, wait};
use countersign_updater::generation::Generation;
use countersign_updater::machine::Effect;
use countersign_updater::machine::facts::Leave;
use countersign_updater::{Home, agent};

/// What has to be published for an effect to happen at all.
#[derive(Clone, Copy, Debug)]
enum Scene {
    /// 2.0.0: verified, shadowed, swapped, committed.
    Forward,
    /// 2.1.0: migrates as 2.0.0 does, then crashes under load; its migration runs back.
    Crash,
    /// 2.2.0: crashes as well, and its backward migration fails, so that the snapshot is restored.
    CrashWithoutWayBack,
    /// 2.0.0 is held for long, and overtaken.
    Overtaken,
    /// The operator has ordered something; then as [`Scene::Forward`].
    Ordered,
    /// 2.0.0 was committed, and the operator wants 1.0.0 back.
    Recalled,
    /// 2.3.0 and 2.4.0 may run at once: one is handed over to the other.
    Beside,
}

/// Exhaustive on purpose: a new effect does not compile until somebody says where it happens.
fn scene(effect: Effect) -> Scene {
    match effect {
        Effect::Announce
        | Effect::Fetch
        | Effect::Stage
        | Effect::CopyState
        | Effect::Shadow
        | Effect::DrawHold
        | Effect::Lease
        | Effect::CopyAhead
        | Effect::Stop
        | Effect::Snapshot
        | Effect::Migrate
        | Effect::Switch
        | Effect::Start
        | Effect::Conclude => Scene::Forward,
        Effect::Condemn | Effect::MigrateBack | Effect::SwitchBack => Scene::Crash,
        Effect::Restore => Scene::CrashWithoutWayBack,
        Effect::Withdraw => Scene::Overtaken,
        Effect::Order => Scene::Ordered,
        Effect::Recall => Scene::Recalled,
        Effect::HandOver => Scene::Beside,
    }
}

/// The repository at three moments of its life, each served by itself.
struct Stages {
    world: World,
    servers: Vec<Child>,
    urls: Vec<String>,
}

impl Stages {
    fn new() -> Self {
        let world = World::new();
        let mut this = Self { world, servers: Vec::new(), urls: Vec::new() };
        this.world.release("1.0.0");
        this.world.release("2.0.0");
        this.keep("forward");
        this.world.release("2.1.0");
        this.keep("crash");
        this.world.release("2.2.0");
        this.keep("crash-without-way-back");
        this.world.release("2.3.0");
        this.world.release("2.4.0");
        this.keep("beside");
        this
    }

    fn keep(&mut self, name: &str) {
        let copy = self.world.at(name);
        programs::must("cp", ["-r", &text(&self.world.at("repo/public")), &text(&copy)]);
        let (server, url) = serve(&copy);
        self.servers.push(server);
        self.urls.push(url);
    }

    fn url(&self, scene: Scene) -> &str {
        match scene {
            Scene::Forward | Scene::Overtaken | Scene::Ordered | Scene::Recalled => &self.urls[0],
            Scene::Crash => &self.urls[1],
            Scene::CrashWithoutWayBack => &self.urls[2],
            Scene::Beside => &self.urls[3],
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _gone = server.kill();
            let _gone = server.wait();
        }
    }
}

#[test]
fn an_updater_killed_before_or_after_any_effect_ends_with_a_version_running_on_its_data() {
    let stages = Stages::new();
    let moments =
        Effect::ALL.iter().flat_map(|&e| [("before", e, scene(e)), ("after", e, scene(e))]);
    // The commit point has no stopped node before it there.
    let beside = [("before", Effect::Switch), ("after", Effect::Switch)];
    let beside = beside.map(|(when, effect)| (when, effect, Scene::Beside));
    let moments = Mutex::new(moments.chain(beside).collect::<Vec<_>>().into_iter());
    let cuts = Mutex::new(0);
    // The runs wait far more than they compute: eight nodes at a time keep two cores busy.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((when, effect, scene)) = moments.lock().unwrap().next() else {
                        return;
                    };
                    killed(&stages, when, effect, scene);
                    *cuts.lock().unwrap() += 1;
                }
            });
        }
    });
    let cuts = cuts.into_inner().unwrap();
    assert_eq!(cuts, 2 * Effect::ALL.len() + 2);
    println!("{cuts} cuts, every node runs a verified version on its own data");
}

fn killed(stages: &Stages, when: &str, effect: Effect, scene: Scene) {
    let moment = format!("{when}:{effect}");
    let delay = if matches!(scene, Scene::Overtaken) { "1h..2h" } else { "0s..1s" };
    let first = if matches!(scene, Scene::Beside) { "2.3.0" } else { "1.0.0" };
    let site = Site::install(stages.url(scene), &stages.world.root(), first, delay, "1s");
    let client = site.client(50);
    match scene {
        Scene::Overtaken => overtake(stages, &site),
        Scene::Ordered => order(&site),
        Scene::Recalled => recall(&site),
        _ => {}
    }

    let ended = site.run_until_killed(&moment);
    assert_eq!(ended.signal(), Some(9), "the agent never came to {moment}");
    let said = site.run();

    // 1 says that a release was refused or rolled back, as these scenes want it.
    assert!([0, 1].contains(&said.exit), "after {moment}: {}{}", said.out, said.err);
    let version = wait::until("a version answers", || site.version());
    let wanted: &[&str] = match scene {
        Scene::Forward | Scene::Ordered => &["2.0.0"],
        // The crashing releases are known bad now; 2.0.0 is still to be had.
        Scene::Crash | Scene::CrashWithoutWayBack => &["1.0.0", "2.0.0"],
        Scene::Overtaken | Scene::Recalled => &["1.0.0"],
        Scene::Beside => &["2.4.0"],
    };
    assert!(wanted.contains(&version.as_str()), "{version} runs after {moment}: {}", said.out);
    match scene {
        // The one announced case: the newer writes are in the copy that was kept aside.
        Scene::CrashWithoutWayBack => {
            client.stop().unwrap();
            assert!(site.node().join("state/1").is_dir(), "the newer state is gone after {moment}");
        }
        _ => drop(site.settle(client)),
    }
}

/// An order that no agent has taken down yet, in the file in which the operator's verbs leave it.
fn order(site: &Site) {
    let order = r#"{"id":"1","wanted":"hold","version":"9.9.9","reason":"it is not for us"}"#;
    std::fs::write(site.node().join("run/order-1.json"), order).unwrap();
}

/// Commits 2.0.0, then asks for what ran before.
fn recall(site: &Site) {
    let said = site.run();
    assert_eq!(site.version().as_deref(), Some("2.0.0"), "{}{}", said.out, said.err);
    let home = Home::open(&site.node()).unwrap();
    let running = Generation::current(&home).unwrap().unwrap();
    let (artifact, version) = (running.binary, running.version);
    let leave = Leave { artifact, version, reason: "it is slow".to_owned() };
    agent::ask_to_leave(&home, &leave).unwrap();
}

/// Brings the node to Held with 2.0.0, then lets the mirror show a newer release.
fn overtake(stages: &Stages, site: &Site) {
    let held = programs::run("countersign-updater", ["run", &text(&site.node()), "--once"]);
    assert_eq!(held.exit, 0, "{}{}", held.out, held.err);
    assert!(site.status().to_string().contains("Held"), "{}", site.status());
    let config = site.node().join("countersign-updater.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&stages.urls[0], &stages.urls[1]).replace("1h..2h", "0s..1s");
    // Announced again it would keep its first hold-off, and the journey would take an hour.
    std::fs::write(&config, text + "\n[policy]\nskip = [\"2.0.0\"]\n").unwrap();
}
