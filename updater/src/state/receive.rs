//! Takes in a snapshot that comes from elsewhere: written beside the others, named by one rename when it is whole.

use std::fs;
use std::path::Path;

use super::StateError;
use super::snapshot::{partial, remove};
use crate::Home;
use crate::durable::{self, OnDisk};

/// Takes it in under `number`, which no generation may have yet: an earlier try is all that is ever replaced. `fill`
/// writes `manifest.json` and `tree/` into the directory that it is given.
///
/// # Errors
/// A generation has this number, `fill` fails, or the disk does.
pub fn receive<E: From<StateError>>(
    home: &Home,
    number: u64,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if home.generation(number).exists() {
        return Err(StateError::Taken(number).into());
    }
    let disk = |error: durable::DiskError| E::from(StateError::from(error));
    let (dir, complete) = (partial(home, number), home.snapshot(number));
    remove(home, &dir)?;
    durable::make_dir(&dir).map_err(disk)?;
    fill(&dir)?;
    durable::sync_file_system(&dir).map_err(disk)?;
    remove(home, &complete)?;
    fs::rename(&dir, &complete).on_disk("name", &complete).map_err(disk)?;
    durable::sync_dir(&home.snapshots()).map_err(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_appears_whole_and_in_nobodys_place() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let fill = |content: &'static str| {
            move |dir: &Path| {
                fs::write(dir.join("manifest.json"), content)
                    .on_disk("write", dir)
                    .map_err(StateError::from)
            }
        };
        receive(&home, 2, fill("one")).unwrap();
        let failed: Result<(), StateError> = receive(&home, 2, |_| Err(StateError::NoSnapshot(2)));
        assert!(failed.is_err());
        let manifest = home.snapshot(2).join("manifest.json");
        assert_eq!(fs::read(&manifest).unwrap(), b"one", "a try that failed changes nothing");
        receive(&home, 2, fill("two")).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), b"two");
        fs::create_dir(home.generation(2)).unwrap();
        assert!(matches!(receive(&home, 2, fill("three")), Err(StateError::Taken(2))));
        assert_eq!(fs::read(&manifest).unwrap(), b"two");
    }
}
