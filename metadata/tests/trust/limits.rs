//! Endless data, endless roots.

use countersign_metadata::layout;
use countersign_metadata::trust::{Source, SourceError, Trust, TrustError};
use serde_json::json;

use crate::refresh;
use crate::simulator::{Simulator, now};

/// Answers `path` with more than is allowed.
struct Endless<'a>(&'a mut Simulator, &'static str);

impl Source for Endless<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        if path == self.1 {
            return Ok(Some(vec![b' '; usize::try_from(max_bytes).unwrap() + 1]));
        }
        self.0.fetch(path, max_bytes)
    }
}

#[test]
fn endless_data_for_each_file() {
    let paths = [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ];
    for path in paths {
        let mut simulator = Simulator::new();
        let root = simulator.root.bytes();
        let mut trust = Trust::from_root(&root).unwrap();
        let error = trust.refresh(now(), &mut Endless(&mut simulator, path)).unwrap_err();
        assert!(matches!(&error, TrustError::TooLong { path: p, .. } if p == path), "{error:?}");
    }
}

#[test]
fn a_promised_length_beyond_all_limits_is_not_even_fetched() {
    let mut simulator = Simulator::new();
    simulator.timestamp.signed["meta"]["snapshot.json"]["length"] = json!(1_u64 << 40);
    simulator.files.insert(layout::TIMESTAMP.to_owned(), simulator.timestamp.bytes());
    let error = refresh(&mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::TooLong { .. }));
    assert!(!simulator.log.contains(&"metadata/1.snapshot.json".to_owned()));
}

#[test]
fn endless_roots() {
    struct Roots(Simulator);
    impl Source for Roots {
        fn fetch(&mut self, _: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
            self.0.root.set_version(self.0.root.version() + 1);
            Ok(Some(self.0.root.bytes()))
        }
    }
    let simulator = Simulator::new();
    let mut trust = Trust::from_root(&simulator.root.bytes()).unwrap();
    let error = trust.refresh(now(), &mut Roots(simulator)).unwrap_err();
    assert!(matches!(error, TrustError::TooManyRoots { .. }));
}
