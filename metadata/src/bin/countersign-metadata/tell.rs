//! Authoring errors in sentences, with exit codes and hints.

use countersign_console::{Exit, Failure};
use countersign_metadata::authoring::AuthoringError;
use countersign_metadata::trust::TrustError;

/// Tells an authoring error.
pub(crate) fn authoring(what: impl std::fmt::Display, error: &AuthoringError) -> Failure {
    use AuthoringError as E;
    let (exit, hint) = match error {
        E::Published(TrustError::Unreachable { .. }) => (Exit::Host, None),
        E::Published(_) | E::ClientRefuses { source: TrustError::Expired { .. }, .. } => (
            Exit::Untrusted,
            Some("nothing was changed; look at `countersign-metadata status` for what has expired"),
        ),
        E::ClientRefuses { .. } | E::ReleaseRefused { .. } => (
            Exit::Untrusted,
            Some("timestamp.json was not replaced: clients still see the state before"),
        ),
        E::Plan(_) => (Exit::Usage, None),
        E::UnknownProduct(_) => {
            (Exit::Input, Some("products are given at `countersign-metadata init --product NAME`"))
        }
        E::AlreadyReleased { .. } => (Exit::Input, Some("give the new build a new version")),
        E::Revoked { .. } => (Exit::Input, Some("give the new build a new version")),
        E::NoSuchRelease { .. } => {
            (Exit::Input, Some("`countersign-metadata status --json` lists the releases"))
        }
        E::NoChange => (
            Exit::Input,
            Some("it is so already; `rotate --renew` drafts everything anew all the same"),
        ),
        E::NotLoaded { .. } => (Exit::Host, None),
        E::NoCircle { .. } => (Exit::Input, Some("draft such a repository's roles by hand")),
        E::Unwritable { .. } => (Exit::Input, Some("keep notes and other texts on one line")),
        E::Release(_) | E::Rollout(_) | E::Request { .. } => (Exit::Input, None),
        E::Incomplete { .. } => (
            Exit::Verdict,
            Some(
                "`countersign-metadata status` says who can still sign and which file to send them",
            ),
        ),
        E::Superseded { .. } => (
            Exit::Verdict,
            Some("its role has moved on; a release: `draft --release REPO/drafts/NNNN-NAME`"),
        ),
        E::Signer { source, .. } if source.downcast_ref::<std::io::Error>().is_some() => {
            (Exit::Host, Some("--signer gives the command that signs; is it installed?"))
        }
        E::Signer { .. } => (
            Exit::Secret,
            Some(
                "--signer gives the command that signs, for example 'countersign-keys sign --yes \
                 --key online.key', the first time with --trust-first-root",
            ),
        ),
        E::WrongSigner { .. } => (
            Exit::Secret,
            Some("snapshot and timestamp are signed by the key given with `init --online`"),
        ),
    };
    let failure = Failure::caused(exit, what, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
