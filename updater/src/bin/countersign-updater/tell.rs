//! The library's errors, told to a person: exit code, sentence, hint.

use std::path::Path;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::trust::TrustError;
use countersign_updater::config::ConfigError;
use countersign_updater::durable::DiskError;
use countersign_updater::fetch::FetchError;
use countersign_updater::generation::{Generation, GenerationError};
use countersign_updater::home::HomeError;
use countersign_updater::machine::{Ledger, journal};
use countersign_updater::net::NetError;
use countersign_updater::selfupdate::{self, Role};
use countersign_updater::shadow::ShadowError;
use countersign_updater::stage::StageError;
use countersign_updater::trust_store::{TrustStoreError, chain};
use countersign_updater::{Config, Home};

/// Opens a node directory to look at it.
pub(crate) fn open(node: &Path) -> Result<Home, Failure> {
    Home::open(node).map_err(|error| home(&error))
}

/// Opens a node directory as its owner: files of another user's would be in the owner's way for ever.
pub(crate) fn open_to_write(node: &Path) -> Result<Home, Failure> {
    Home::open_to_write(node).map_err(|error| home(&error))
}

/// Becomes the updater that the node directory names, if this is not the one.
pub(crate) fn become_current(home: &Home, role: Role, out: Out) -> Result<(), Failure> {
    let told = selfupdate::become_current(home, role).map_err(|error| disk(&error))?;
    if let Some(told) = told {
        out.say(told);
    }
    Ok(())
}

/// Opens a node directory to look at it, and reads its configuration.
pub(crate) fn open_with_config(node: &Path) -> Result<(Home, Config), Failure> {
    with_config(open(node)?)
}

/// Reads the configuration of a node.
pub(crate) fn with_config(home: Home) -> Result<(Home, Config), Failure> {
    let config = Config::load(&home).map_err(|error| config(&error))?;
    Ok((home, config))
}

/// The sum of the journal.
pub(crate) fn ledger(home: &Home) -> Result<Ledger, Failure> {
    let records = journal::read(&home.journal())
        .map_err(|error| Failure::caused(Exit::Input, "the journal cannot be read", &error))?;
    Ok(Ledger::of(&records.records))
}

/// The generation that runs.
pub(crate) fn running(home: &Home) -> Result<Generation, Failure> {
    let running = Generation::current(home).map_err(|error| generation(&error))?;
    running.ok_or_else(|| {
        Failure::new(Exit::Input, "nothing is installed in this node directory").hint(
            "`current` is gone: point it to the generation that should run, below generations/",
        )
    })
}

pub(crate) fn home(error: &HomeError) -> Failure {
    let (exit, hint) = match error {
        HomeError::NotInstalled(_) => (
            Exit::Input,
            "install one: countersign-updater install --repository URL --root ROOT --product NAME NODE",
        ),
        HomeError::Unfinished(_) => (
            Exit::Input,
            "run the same `countersign-updater install` once more: it goes on where it was",
        ),
        HomeError::Installed(_) => (
            Exit::Input,
            "it updates itself: countersign-updater run NODE; a second node needs a directory of its own",
        ),
        HomeError::Occupied(_) => {
            (Exit::Input, "name a directory that is empty or not there yet; nothing was touched")
        }
        HomeError::NotText(_) => (Exit::Input, "use a path of UTF-8 text"),
        HomeError::BadSeed(_) => (
            Exit::Secret,
            "the seed decides when this node updates; restore the file from a backup of the node directory",
        ),
        HomeError::NotOwner { owner, .. } => {
            return Failure::caused(Exit::Host, "cannot write the node directory", error)
                .hint(format!("run it as its owner: sudo -u '{owner}' countersign-updater …"));
        }
        HomeError::Disk(error) => return disk(error),
    };
    Failure::caused(exit, "cannot use the node directory", error).hint(hint)
}

pub(crate) fn disk(error: &DiskError) -> Failure {
    let failure = Failure::caused(Exit::Host, "the disk does not do what it must", error);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            failure.hint("run as the user who owns the node directory")
        }
        std::io::ErrorKind::StorageFull => failure.hint("make space; nothing was lost"),
        _ => failure,
    }
}

pub(crate) fn config(error: &ConfigError) -> Failure {
    Failure::caused(Exit::Input, "the configuration cannot be used", error)
        .hint("countersign-updater install writes a commented one; nothing was changed")
}

pub(crate) fn generation(error: &GenerationError) -> Failure {
    match error {
        GenerationError::Disk(error) => disk(error),
        error => Failure::caused(Exit::Input, "the node's generations cannot be used", error)
            .hint("look below generations/ and at `current`; countersign-updater history NODE says what happened"),
    }
}

pub(crate) fn trust(error: &TrustStoreError) -> Failure {
    let (exit, hint) = match error {
        TrustStoreError::Disk(error) => return disk(error),
        TrustStoreError::Generation(error) => return generation(error),
        _ if error.is_unreachable() => (
            Exit::Network,
            "check the address and that the mirror is up; a node keeps running what it runs",
        ),
        TrustStoreError::Root { .. } => {
            (Exit::Untrusted, "get the root file from a person you trust, not from the mirror")
        }
        _ => match error.last_answer() {
            Some(TrustError::UnknownProduct(_)) => (Exit::Input, "check --product and the address"),
            Some(TrustError::Expired { .. }) => (
                Exit::Untrusted,
                "nothing was trusted; its managers must refresh the repository, unless this machine's clock is wrong",
            ),
            Some(TrustError::NotEnoughSignatures { .. }) => (
                Exit::Untrusted,
                "nothing was trusted; more keyholders must sign, or the root file is another repository's",
            ),
            _ => (
                Exit::Untrusted,
                "nothing was trusted; the mirror lies or is stale, or the root file is another repository's",
            ),
        },
    };
    Failure::new(exit, chain(error)).hint(hint)
}

pub(crate) fn net(error: &NetError) -> Failure {
    Failure::caused(Exit::Network, "the mirror did not answer", error)
        .hint("check the address and that the mirror is up")
}

pub(crate) fn fetch(error: &FetchError) -> Failure {
    let (exit, hint) = match error {
        FetchError::Disk(error) => return disk(error),
        FetchError::Space { .. } => {
            (Exit::Host, "make space, or lower free-space in countersign-updater.toml")
        }
        _ if error.is_untrusted() => (
            Exit::Untrusted,
            "the mirror serves other bytes than were signed; name another mirror in `repositories`",
        ),
        FetchError::NoMirror { .. } => {
            (Exit::Network, "what came is kept; run the command again to go on from there")
        }
    };
    Failure::caused(exit, "the artifact could not be fetched", error).hint(hint)
}

pub(crate) fn stage(error: &StageError) -> Failure {
    match error {
        StageError::Disk(error) => disk(error),
        error => {
            let exit = if error.is_untrusted() { Exit::Untrusted } else { Exit::Host };
            Failure::caused(exit, "the artifact could not be staged", error)
        }
    }
}

pub(crate) fn shadow(error: &ShadowError) -> Failure {
    if let ShadowError::Sandbox(countersign_sandbox::Error::Program { .. }) = error {
        return Failure::caused(Exit::Input, "there is nothing to run", error)
            .hint("inside are this machine's /usr, /bin, /sbin and /lib, and nothing else of it");
    }
    let failure = Failure::caused(Exit::Host, "the shadow could not be had", error);
    match error {
        ShadowError::Sandbox(countersign_sandbox::Error::Missing { capability, .. })
            if ["overlay", "id-mapped mount"].contains(&capability.as_str()) =>
        {
            return failure.hint(
                "give a copy of the state that is yours alone, on ext4, xfs or btrfs; TMPDIR says where layers are made",
            );
        }
        ShadowError::Sandbox(countersign_sandbox::Error::Mount { .. }) => {
            return failure.hint(
                "a state is files, directories and links on one file system: stop what uses it, or give a copy",
            );
        }
        _ => {}
    }
    if error.is_missing_protection() {
        return failure
            .hint("countersign-updater doctor lists what this machine lacks, and what would help");
    }
    failure
}
