//! Errors in sentences, with exit codes and hints.

use countersign_console::{Exit, Failure};
use countersign_keyless::instance::InstanceError;
use countersign_keyless::service::ServiceError;
use countersign_metadata::sigstore::Error;

pub(crate) fn instance(error: &InstanceError) -> Failure {
    let hint = match error {
        InstanceError::OtherRekor { .. } => {
            "the instance's signing configuration says which version its log speaks"
        }
        InstanceError::NotSecure { .. } => "give the https address of the service",
        InstanceError::NoTime(_) => "name one that the trusted root lists",
        InstanceError::Root { .. } => {
            "get trusted_root.json from the instance's own TUF repository"
        }
        _ => "countersign-keyless --help shows what such a file holds",
    };
    Failure::caused(Exit::Input, "the instance cannot be used", error).hint(hint)
}

pub(crate) fn service(error: &ServiceError) -> Failure {
    let (exit, hint) = match error {
        ServiceError::Refused { status: 409, .. } => {
            (Exit::Verdict, "the log has this very signature already")
        }
        ServiceError::Refused { status: 400..=403, .. } => (
            Exit::Untrusted,
            "a token is good for minutes: get a fresh one, made for this instance",
        ),
        ServiceError::Address(_) => (Exit::Input, "give an http or https address"),
        _ => (Exit::Network, "nothing was written; try again"),
    };
    Failure::caused(exit, "no signature", error).hint(hint)
}

pub(crate) fn answer(who: &str, error: &Error) -> Failure {
    let what = format!("what {who} answered is not believed");
    Failure::caused(Exit::Untrusted, what, error)
        .hint("nothing was written; is trusted-root that of this instance, and up to date?")
}

pub(crate) fn statement(what: impl std::fmt::Display, error: &Error) -> Failure {
    let hint = match error {
        Error::SpeaksForAnother { .. } => {
            "let countersign-builder rebuild --keyless write it: it gets its name when it is signed"
        }
        Error::Unsupported(_) => "only ECDSA keys on P-256 have a place in a log",
        _ => "give the statement as countersign-builder wrote it, or countersign-keys signed it",
    };
    Failure::caused(Exit::Untrusted, what, error).hint(hint)
}
