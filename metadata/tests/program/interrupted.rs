//! A publisher that dies at each write, and two publishers at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::site::Site;

pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

pub(crate) fn restore(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir_all(dir).unwrap();
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_publication_that_died_at_any_write_is_finished_by_running_it_again() {
    let site = Site::published();
    site.build("OUT", "1.0.0");
    site.draft("OUT");
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    let public = site.path("REPO/public");
    let before = files(&public);
    assert_eq!(site.publish(9).code, 0);
    let after = files(&public);

    let mut written: Vec<_> = after.keys().filter(|p| before.get(*p) != after.get(*p)).collect();
    let timestamp = public.join("metadata/timestamp.json");
    // The order of writing, as far as a reader can notice it: the timestamp comes last.
    written.sort_by_key(|path| (**path == timestamp, path.starts_with(public.join("metadata"))));
    assert!(written.len() > 6 && *written[written.len() - 1] == timestamp);
    for died_at in 0..written.len() {
        let mut left = before.clone();
        left.extend(written[..died_at].iter().map(|p| ((*p).clone(), after[*p].clone())));
        let torn = written[died_at];
        let part = format!(".{}.part", torn.file_name().unwrap().to_string_lossy());
        left.insert(torn.with_file_name(part), b"half a fi".to_vec());
        restore(&public, &left);

        assert!(site.client().unwrap().verified.is_empty(), "readers see the state before");
        let run = site.publish(9);
        assert_eq!(run.code, 0, "{died_at}: {}", run.json);
        assert_eq!(site.client().unwrap().verified.len(), 1);
        let snapshot = public.join("metadata/2.snapshot.json");
        if died_at + 1 == written.len() {
            assert_eq!(fs::read(&snapshot).unwrap(), after[&snapshot], "taken up, not replaced");
        }
        assert!(!files(&public).keys().any(|p| p.to_string_lossy().ends_with(".part")));
    }
}

#[test]
fn the_first_publication_can_be_finished_too() {
    let site = Site::new();
    site.init();
    site.sign("0001-init", &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    fs::remove_file(site.path("REPO/public/metadata/timestamp.json")).unwrap();
    assert_eq!(site.publish(9).code, 0);
    site.client().unwrap();
}

#[test]
fn the_second_of_two_publishers_is_told_to_wait() {
    let site = Site::new();
    site.init();
    site.sign("0001-init", &[1, 2]);
    let lock = File::create(site.path("REPO/.lock")).unwrap();
    lock.lock().unwrap();
    let run = site.publish(9);
    assert_eq!(run.code, 8, "{}", run.json);
    // Said aloud: a child of another test, forked this moment, may still hold the file open.
    lock.unlock().unwrap();
    assert_eq!(site.publish(9).code, 0);
}

#[test]
fn what_a_client_would_refuse_is_not_published() {
    let site = Site::published();
    let before = fs::read(site.path("REPO/public/metadata/timestamp.json")).unwrap();
    let targets = site.path("REPO/public/metadata/1.targets.json");
    fs::write(&targets, b"{}").unwrap();
    let signer = Site::signer(9);
    let run = site.run(&["refresh", "--repo", "REPO", "--signer", &signer]);
    assert_eq!(run.code, 6, "{}", run.json);
    assert_eq!(fs::read(site.path("REPO/public/metadata/timestamp.json")).unwrap(), before);
}
