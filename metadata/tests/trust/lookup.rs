//! The walk to one target of any repository: its order, and what ends it.

use countersign_metadata::Sha256;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{BadTarget, FoundTarget, Source, SourceError, Trust, TrustError};
use serde_json::{Value, json};

use crate::key::TestKey;
use crate::refresh;
use crate::simulator::{PAST, Role, Simulator, ids, keys_of, now};

/// A delegation to be: from, to, paths, terminating.
type Edge<'a> = (&'a str, &'a str, &'a str, bool);

/// A repository of these delegations, every role signed by key 5 and 6, and published.
fn delegating(edges: &[Edge<'_>]) -> Simulator {
    let mut simulator = Simulator::new();
    simulator.products.clear();
    simulator.targets.signed["delegations"] = Value::Null;
    for (from, to, paths, terminating) in edges {
        if !simulator.products.contains_key(*to) {
            let signed = simulator.targets.signed.clone();
            let mut role = Role { signed, signers: Vec::new() };
            role.signed["delegations"] = Value::Null;
            role.sign_with([5, 6].map(TestKey::new));
            simulator.products.insert((*to).to_owned(), role);
        }
        delegate(&mut simulator, from, &delegation(to, paths, *terminating, 5));
    }
    // The snapshot moves on with what is in it.
    simulator.bump();
    simulator
}

fn delegation(to: &str, paths: &str, terminating: bool, key: u8) -> Value {
    json!({
        "name": to, "keyids": ids([&TestKey::new(key)]), "threshold": 1, "paths": [paths],
        "terminating": terminating,
    })
}

fn role<'a>(simulator: &'a mut Simulator, name: &str) -> &'a mut Value {
    match name {
        "targets" => &mut simulator.targets.signed,
        name => &mut simulator.products.get_mut(name).unwrap().signed,
    }
}

fn delegate(simulator: &mut Simulator, from: &str, delegation: &Value) {
    let keys = keys_of(&[5, 6, 7].map(TestKey::new));
    let delegations = &mut role(simulator, from)["delegations"];
    if delegations.is_null() {
        *delegations = json!({ "keys": keys, "roles": [] });
    }
    delegations["roles"].as_array_mut().unwrap().push(delegation.clone());
}

fn list(simulator: &mut Simulator, name: &str, path: &str, bytes: &[u8]) {
    role(simulator, name)["targets"][path] =
        json!({ "length": bytes.len(), "hashes": { "sha256": Sha256::of(bytes) } });
    simulator.publish();
}

fn find(simulator: &mut Simulator, path: &str) -> Result<Option<FoundTarget>, TrustError> {
    let mut trust = refresh(simulator)?;
    simulator.log.clear();
    trust.target(path, now(), simulator)
}

/// The roles asked for in a search that finds nothing.
fn visits(edges: &[Edge<'_>], path: &str) -> Vec<String> {
    let mut simulator = delegating(edges);
    assert!(find(&mut simulator, path).unwrap().is_none());
    let role = |path: &String| {
        let name = path.strip_prefix("metadata/1.")?.strip_suffix(".json")?;
        Some(name.to_owned())
    };
    simulator.log.iter().map(|path| role(path).unwrap()).collect()
}

#[test]
fn roles_are_searched_depth_first_and_in_order_and_a_terminating_one_is_the_last() {
    let graph = [("targets", "a", "*", false), ("targets", "b", "*", false)];
    let with = |more: &[Edge<'static>]| [graph.as_slice(), more].concat();
    assert_eq!(
        visits(&with(&[("a", "c", "*", false), ("c", "d", "*", false)]), "x"),
        ["a", "c", "d", "b"]
    );
    assert_eq!(visits(&with(&[("a", "c", "*", true), ("a", "d", "*", false)]), "x"), ["a", "c"]);
    assert_eq!(visits(&with(&[("a", "c", "*.py", false)]), "x"), ["a", "b"]);
    let mut simulator = delegating(&graph);
    list(&mut simulator, "b", "x", b"by b");
    list(&mut simulator, "a", "x", b"by a");
    let found = find(&mut simulator, "x").unwrap().unwrap();
    assert_eq!((found.role(), found.path()), ("a", "x"));
    found.check(b"by a").unwrap();
}

#[test]
fn delegation_loops_end_and_so_does_a_chain_without_end() {
    let ring = [
        ("targets", "b", "*", false),
        ("b", "c", "*", false),
        ("c", "d", "*", false),
        ("d", "b", "*", false),
    ];
    assert_eq!(visits(&ring, "x"), ["b", "c", "d"]);
    let names: Vec<_> = (0..=limit::ROLES + 1).map(|n| format!("r{n}")).collect();
    let mut edges = vec![("targets", names[0].as_str(), "*", false)];
    edges.extend(names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str(), "*", false)));
    let error = find(&mut delegating(&edges), "x").unwrap_err();
    assert!(matches!(error, TrustError::TooManyRoles { limit: limit::ROLES, .. }), "{error:?}");
}

#[test]
fn a_star_never_matches_a_slash_and_a_path_falls_to_the_prefix_of_its_digest() {
    for (pattern, path, matches) in [
        ("*", "x", true),
        ("*", "a/x", false),
        ("a/*/*", "a/b/x", true),
        ("a/*", "a/b/x", false),
        ("foo-?.tgz", "foo-1.tgz", true),
        ("foo-?.tgz", "foo-10.tgz", false),
        ("README.md", "README.MD", false),
    ] {
        let found = visits(&[("targets", "a", pattern, false)], path);
        assert_eq!(!found.is_empty(), matches, "{pattern} {path}");
    }
    let digest = Sha256::of(b"a/b/x").to_string();
    for (prefix, matches) in [(&digest[..3], true), ("zz", false)] {
        let mut simulator = delegating(&[("targets", "a", "-", false)]);
        let delegation = &mut simulator.targets.signed["delegations"]["roles"][0];
        delegation.as_object_mut().unwrap().remove("paths");
        delegation["path_hash_prefixes"] = json!([prefix]);
        list(&mut simulator, "a", "a/b/x", b"x");
        assert_eq!(find(&mut simulator, "a/b/x").unwrap().is_some(), matches);
    }
}

#[test]
fn a_broken_expired_or_missing_delegated_role_ends_only_its_own_branch() {
    type Break = fn(&mut Simulator);
    let breaks: [(&str, Break); 5] = [
        ("missing", |s| {
            s.files.remove(&layout::metadata("a", 1));
        }),
        ("unlisted", |s| {
            s.snapshot.signed["meta"].as_object_mut().unwrap().remove("a.json");
            s.publish_snapshot();
        }),
        ("garbage", |s| s.put("a", 1, b"{".to_vec())),
        ("expired", |s| {
            role(s, "a")["expires"] = PAST.into();
            s.publish();
        }),
        ("unsigned", |s| {
            s.products.get_mut("a").unwrap().sign_with([TestKey::new(7)]);
            s.publish();
        }),
    ];
    for (name, break_it) in breaks {
        for terminating in [false, true] {
            let mut simulator =
                delegating(&[("targets", "a", "*", terminating), ("targets", "b", "*", false)]);
            list(&mut simulator, "b", "x", b"by b");
            break_it(&mut simulator);
            let answer = find(&mut simulator, "x");
            match terminating {
                false => assert_eq!(answer.unwrap().unwrap().role(), "b", "{name}"),
                true => assert!(answer.unwrap_err().to_string().len() > 1, "{name}"),
            }
            if !terminating {
                assert!(find(&mut simulator, "y").is_err(), "{name}: not found, and why");
            }
        }
    }
}

#[test]
fn a_mirror_that_is_silent_about_a_role_does_not_give_the_next_one_its_say() {
    struct Silent<'a>(&'a mut Simulator);
    impl Source for Silent<'_> {
        fn fetch(&mut self, path: &str, max: u64) -> Result<Option<Vec<u8>>, SourceError> {
            if path == "metadata/1.a.json" {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            self.0.fetch(path, max)
        }
    }
    let mut simulator = delegating(&[("targets", "a", "*", false), ("targets", "b", "*", false)]);
    list(&mut simulator, "b", "x", b"by b");
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.target("x", now(), &mut Silent(&mut simulator)).unwrap_err();
    assert!(matches!(error, TrustError::Unreachable { retry: true, .. }), "{error:?}");
}

#[test]
fn a_role_is_checked_against_the_delegation_by_which_it_is_reached() {
    let mut simulator =
        delegating(&[("targets", "a", "a/*", false), ("targets", "b", "b/*", false)]);
    delegate(&mut simulator, "a", &delegation("release", "a/*", false, 5));
    delegate(&mut simulator, "b", &delegation("release", "b/*", false, 7));
    let signed = simulator.products["a"].signed.clone();
    let mut release = Role { signed, signers: Vec::new() };
    release.signed["delegations"] = Value::Null;
    release.sign_with([TestKey::new(5)]);
    simulator.products.insert("release".to_owned(), release);
    for path in ["a/x", "b/x"] {
        list(&mut simulator, "release", path, b"x");
    }
    let mut trust = refresh(&mut simulator).unwrap();
    assert!(trust.target("a/x", now(), &mut simulator).unwrap().is_some());
    let error = trust.target("b/x", now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::NotEnoughSignatures { found: 0, .. }), "{error:?}");
    assert!(trust.target("a/x", now(), &mut simulator).unwrap().is_some());
}

#[test]
fn role_names_that_escape_stay_one_segment_and_the_top_level_ones_are_refused() {
    for (name, file) in [("../a", "..%2Fa.json"), ("/a", "%2Fa.json"), ("?", "%3F.json")] {
        let mut simulator = delegating(&[("targets", name, "*", false)]);
        list(&mut simulator, name, "x", b"x");
        let mut trust = refresh(&mut simulator).unwrap();
        assert!(trust.target("x", now(), &mut simulator).unwrap().is_some(), "{name}");
        assert!(trust.kept().contains_key(file), "{name}");
        assert_eq!(simulator.log.last().unwrap(), &format!("metadata/1.{file}"));
    }
    let long = "é".repeat(40);
    for name in ["snapshot", "root", "targets", "", &long] {
        let mut simulator = delegating(&[]);
        delegate(&mut simulator, "targets", &delegation(name, "*", false, 5));
        simulator.publish();
        assert!(find(&mut simulator, "x").is_err(), "{name}");
    }
}

#[test]
fn delegations_that_mean_two_things_are_refused() {
    let mut simulator = delegating(&[("targets", "a", "*", false)]);
    delegate(&mut simulator, "targets", &delegation("a", "b/*", false, 7));
    list(&mut simulator, "a", "x", b"x");
    let error = find(&mut simulator, "x").unwrap_err();
    assert!(matches!(error, TrustError::Malformed { .. }), "{error:?}");
    let mut simulator = delegating(&[("targets", "a", "*", false)]);
    simulator.targets.signed["delegations"]["succinct_roles"] = json!({ "bit_length": 2 });
    simulator.publish();
    assert!(matches!(find(&mut simulator, "x").unwrap_err(), TrustError::Malformed { .. }));
}

#[test]
fn a_target_is_its_length_and_every_digest_that_is_known() {
    let sha512 =
        |bytes: &[u8]| hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, bytes));
    let sha256 = |bytes: &[u8]| Sha256::of(bytes).to_string();
    let found = |hashes: Value| {
        let mut simulator = delegating(&[]);
        simulator.targets.signed["targets"]["d/x"] = json!({ "length": 2, "hashes": hashes });
        simulator.publish();
        find(&mut simulator, "d/x").map(Option::unwrap)
    };
    let target = found(json!({ "sha512": sha512(b"ab") })).unwrap();
    assert_eq!(target.served_at(), format!("targets/d/{}.x", sha512(b"ab")));
    target.check(b"ab").unwrap();
    assert!(matches!(target.check(b"ba"), Err(BadTarget::Digest { .. })));
    assert!(matches!(target.check(b"abc"), Err(BadTarget::Length { wanted: 2, found: 3, .. })));
    let both = found(json!({ "sha256": sha256(b"ab"), "sha512": sha512(b"ba") })).unwrap();
    assert_eq!(both.served_at(), format!("targets/d/{}.x", sha256(b"ab")));
    assert!(both.check(b"ab").is_err() && both.check(b"ba").is_err());
    for bad in
        [json!({}), json!({ "md5": "00" }), json!({ "sha256": "../../x", "sha512": sha512(b"") })]
    {
        assert!(matches!(found(bad).unwrap_err(), TrustError::Malformed { .. }));
    }
}

#[test]
fn nothing_is_found_before_a_refresh_or_after_its_time() {
    let mut simulator = delegating(&[]);
    list(&mut simulator, "targets", "x", b"x");
    let mut trust = refresh(&mut simulator).unwrap();
    assert!(trust.target("x", now(), &mut simulator).unwrap().is_some());
    let later = "2028-01-01T00:00:00Z".parse().unwrap();
    assert!(trust.target("x", later, &mut simulator).is_err());
    let root = simulator.files[&layout::metadata("root", 1)].clone();
    let mut fresh = Trust::from_root(&root).unwrap();
    assert!(matches!(fresh.target("x", now(), &mut simulator), Err(TrustError::NotRefreshed)));
}
