//! A client and a repository whose files are fuzzed, but signed by the right keys: what lies behind the signatures.
//!
//! ```text
//! == 2.root        metadata/2.root.json: this `signed` object, signed by all holders
//! == timestamp     metadata/timestamp.json, likewise
//! == raw demo      the newest version of the role, exactly as it stands
//! == later         what follows is published after the first refresh
//! ```
//! What is not there is served from the corpus file `honest`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use countersign_metadata::layout;
use countersign_metadata::trust::{Releases, Source, SourceError, Trust, VerifiedTarget};
use jiff::Timestamp;

use crate::holder::Holder;
use crate::parts::parts;
use crate::published::published;

/// As many as every threshold needs, no more: signatures are what a run spends its time on.
static HOLDERS: LazyLock<[Holder; 3]> = LazyLock::new(|| [1, 2, 9].map(Holder::new));
static HONEST: LazyLock<Site> = LazyLock::new(|| {
    let mut site = Site::default();
    site.publish(&parts(include_bytes!("../corpus/refresh/honest")));
    site
});

#[derive(Clone, Default)]
struct Site(BTreeMap<String, Vec<u8>>);

impl Source for Site {
    fn fetch(&mut self, path: &str, _max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(path).cloned())
    }
}

impl Site {
    fn publish(&mut self, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let (name, bytes) = match name.strip_prefix("raw ") {
                Some(name) => (name, bytes.to_vec()),
                None => (*name, published(bytes, &*HOLDERS)),
            };
            self.0.insert(format!("metadata/{name}.json"), bytes);
        }
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let _releases = client(bytes);
}

/// How many releases the client believes in at the end.
pub(crate) fn client(bytes: &[u8]) -> usize {
    let now: Timestamp = "2026-11-20T00:00:00Z".parse().expect("a time");
    let files = parts(bytes);
    let split = files.iter().position(|(name, _)| *name == "later").unwrap_or(files.len());
    let mut site = HONEST.clone();
    site.publish(&files[..split]);
    let Some(root) = site.0.get("metadata/1.root.json").cloned() else { return 0 };
    let Ok(mut trust) = Trust::from_root(&root) else { return 0 };
    let mut releases = visit(&mut trust, &mut site, now);
    if let Some(later) = files.get(split + 1..) {
        let before = trust.root().version();
        site.publish(later);
        releases = visit(&mut trust, &mut site, now);
        assert!(trust.root().version() >= before);
    }
    restart(&root, &trust, now);
    releases
}

fn visit(trust: &mut Trust, site: &mut Site, now: Timestamp) -> usize {
    let mut releases = 0;
    let _reason = trust.refresh(now, site);
    let _names = trust.keys();
    for product in trust.products() {
        let platform = "linux-x86_64".parse().expect("a platform");
        let newest = trust.newest(&product, &platform, now, site);
        newest.ok().flatten().iter().for_each(check);
        let Ok(Releases { verified, .. }) = trust.releases(&product, now, site) else { continue };
        verified.iter().for_each(check);
        releases += verified.len();
    }
    releases
}

/// What is kept is read again, and is as new as it was.
fn restart(root: &[u8], trust: &Trust, now: Timestamp) {
    let kept = trust.kept();
    let restored = Trust::restore(root, &kept, now).expect("the root is trusted");
    assert_eq!(restored.root().version(), trust.root().version());
    let timestamp = |t: &Trust| t.roles().into_iter().find(|r| r.role == "timestamp");
    // A new root that is of no use (expired, too few keys) leaves none in memory; the kept one still is a floor.
    if let Some(state) = timestamp(trust) {
        assert_eq!(timestamp(&restored), Some(state));
    }
}

fn check(target: &VerifiedTarget) {
    let path = target.path();
    assert_eq!(target.release().target_path(), path);
    assert!(!path.starts_with('/') && !path.contains("..") && path.split('/').count() == 3);
    assert_eq!(target.served_at(), layout::target(path, target.sha256()));
    assert!(target.threshold() >= 1 && target.signers().len() >= target.threshold());
}
