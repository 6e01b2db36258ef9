//! What an honest repository gives, and how little of it is fetched.

use countersign_metadata::trust::{Source, SourceError, Trust, TrustError};
use jiff::Timestamp;

use crate::refresh;
use crate::simulator::{LATER, Simulator, now, product};

#[test]
fn an_honest_repository_yields_its_releases_and_who_signed_them() {
    let mut simulator = Simulator::new();
    let mut trust = refresh(&mut simulator).unwrap();
    let releases = trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    assert!(releases.refused.is_empty());
    let [target] = releases.verified.as_slice() else { panic!("{releases:?}") };
    assert_eq!(target.path(), "demo/1.0.0/demo-1.0.0-linux-x86_64.tar.zst");
    assert_eq!((target.threshold(), target.role_version(), target.length()), (2, 1, 11));
    assert!(target.served_at().starts_with("targets/demo/1.0.0/"));
    let alice = target.signers().iter().find(|s| s.label() == "alice").unwrap();
    assert_eq!(target.signers().len(), 2);
    assert_eq!(alice.key().number(), [1; 8], "the number that stock minisign needs");
    assert_eq!(trust.products(), [product("demo"), product("other")]);
    let unknown = trust.releases(&product("nothing"), now(), &mut simulator).unwrap_err();
    assert!(matches!(unknown, TrustError::UnknownProduct(_)));
}

#[test]
fn nothing_is_downloaded_again_that_is_still_current() {
    let mut simulator = Simulator::new();
    let kept = simulator.client().kept();
    let root = kept["root.json"].clone();
    simulator.log.clear();
    let mut trust = Trust::restore(&root, &kept, now()).unwrap();
    trust.refresh(now(), &mut simulator).unwrap();
    trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    assert_eq!(simulator.log, ["metadata/2.root.json", "metadata/timestamp.json"]);
}

#[test]
fn kept_files_answer_without_any_source_as_long_as_they_are_fresh() {
    let kept = Simulator::new().client().kept();
    let mut nowhere = Simulator::new();
    nowhere.files.clear();
    let mut trust = Trust::restore(&kept["root.json"], &kept, now()).unwrap();
    assert_eq!(trust.releases(&product("demo"), now(), &mut nowhere).unwrap().verified.len(), 1);
    let late: Timestamp = LATER.parse().unwrap();
    let mut trust = Trust::restore(&kept["root.json"], &kept, late).unwrap();
    assert!(trust.releases(&product("demo"), late, &mut nowhere).is_err());
}

#[test]
fn a_source_that_fails_says_whether_trying_again_helps() {
    struct Broken(bool);
    impl Source for Broken {
        fn fetch(&mut self, _: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
            let error = std::io::Error::other("the cable is out");
            if self.0 { Err(error.into()) } else { Err(SourceError::permanent(error)) }
        }
    }
    for retry in [true, false] {
        let mut trust = Trust::from_root(&Simulator::new().root.bytes()).unwrap();
        let error = trust.refresh(now(), &mut Broken(retry)).unwrap_err();
        assert_eq!(error.retry(), retry);
        assert_eq!(error.to_string(), "cannot fetch metadata/2.root.json");
    }
}
