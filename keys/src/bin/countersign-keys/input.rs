//! Requests, roots and answers on their way in and out, and refusals told to a person.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint};
use countersign_keys::Refused;
use countersign_keys::label::public_label;
use countersign_keys::pin::PinnedRoot;
use countersign_keys::raw::BadRaw;
use countersign_keys::store::{self, Overwrite, StoreError};
use countersign_metadata::PublicKey;
use countersign_metadata::layout::limit;
use countersign_metadata::request::{RequestSubject, SigningRequest};
use serde::Serialize;

/// Reads a request from a file, or from standard input when `path` is absent or `-`.
pub(crate) fn request(path: Option<&Path>) -> Result<SigningRequest, Failure> {
    let hint = "give the file NAME.request.json that the repository manager drafted";
    let path = path.filter(|p| *p != Path::new("-"));
    let (bytes, name) = match path {
        Some(path) => (store::read(path, limit::REQUEST).map_err(|e| failed(e).hint(hint))?, path),
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(Exit::Usage, "no request is given").hint(hint));
        }
        None => {
            let name = Path::new("standard input");
            (store::read_from(std::io::stdin(), name, limit::REQUEST).map_err(failed)?, name)
        }
    };
    serde_json::from_slice(&bytes)
        .or_fail(Exit::Input, format!("{} is not a signing request", name.display()))
        .map_err(|failure| failure.hint(hint))
}

/// Reads a request for one role; of a renewal, which has many, the one that is named.
pub(crate) fn one_request(
    path: Option<&Path>,
    role: Option<&str>,
) -> Result<SigningRequest, Failure> {
    let request = request(path)?;
    let (RequestSubject::Renewal(renewal), Some(role)) = (&request.subject, role) else {
        return Ok(request);
    };
    let found = renewal.files.iter().find(|renewed| renewed.role == role);
    let renewed = found.ok_or_else(|| {
        let roles: Vec<_> = renewal.files.iter().map(|f| f.role.as_str()).collect();
        Failure::new(Exit::Input, "the renewal has no such role")
            .hint(format!("there are: {}", roles.join(", ")))
    })?;
    renewal.request(renewed).or_fail(Exit::Input, "the renewal is malformed")
}

/// The root to judge from: the one given, or the one beside the key.
pub(crate) fn pinned(
    root: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<PinnedRoot>, Failure> {
    match (root, key) {
        (Some(path), _) => root_file(path).map(Some),
        (None, Some(key)) => PinnedRoot::beside(key).map_err(failed),
        (None, None) => Ok(None),
    }
}

/// A published root, signed to its own threshold.
pub(crate) fn root_file(path: &Path) -> Result<PinnedRoot, Failure> {
    let bytes = store::read(path, limit::ROOT).map_err(failed)?;
    PinnedRoot::published(bytes).map_err(refused)
}

/// A public key file of any tool.
pub(crate) struct PublicFile {
    pub(crate) key: PublicKey,
    label: String,
}

impl PublicFile {
    /// The label in it, or else the name of the file.
    pub(crate) fn label_or_name(&self, path: &Path) -> String {
        let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned());
        Some(&self.label).filter(|l| !l.is_empty()).cloned().or_else(stem).unwrap_or_default()
    }

    /// The label in it; may be empty.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

/// Reads a public key file: minisign, signify, OpenSSH, PEM, or DER of SPKI.
pub(crate) fn public(path: &Path) -> Result<PublicFile, Failure> {
    let bytes = store::read(path, 4096).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    // DER begins with a SEQUENCE, whose tag is the digit 0; no text form does.
    let key = match bytes.first() {
        Some(0x30) => PublicKey::from_spki(&bytes),
        _ => PublicKey::from_file_text(&text),
    };
    let key = key
        .or_fail(Exit::Input, format!("{} holds no public key", path.display()))
        .map_err(|f| f.hint("give NAME.pub, the public half, not NAME.key"))?;
    Ok(PublicFile { key, label: public_label(&text) })
}

/// Whoever signs a first root stands by it. That the signature is out already counts more than the pin.
pub(crate) fn keep_pin(root: Option<&PinnedRoot>, beside: Option<&Path>) {
    let Some(root) = root else { return };
    let Some(key) = beside else {
        return tell(
            "This first root is not pinned: there is no file to pin it beside (--public NAME.pub names one).",
        );
    };
    if PinnedRoot::beside(key).is_ok_and(|old| old.is_some()) {
        return;
    }
    match root.save(key, Overwrite::Never) {
        Ok(path) => tell(&format!("Pinned this first root: {}", path.display())),
        Err(error) => tell(&format!(
            "This first root is not pinned: {error}. Pin the published one yourself (countersign-keys pin)."
        )),
    }
}

/// Writes a JSON document to a file, or to standard output. It is the whole output of its verb.
pub(crate) fn answer(to: Option<&PathBuf>, document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .or_fail(Exit::Host, "cannot write the answer as JSON")?;
    text.push('\n');
    match to {
        Some(path) => {
            store::write(path, text.as_bytes(), 0o644, Overwrite::Replace).map_err(failed)
        }
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .or_fail(Exit::Host, "cannot write to standard output"),
    }
}

/// Says something to a person while standard output belongs to a program.
pub(crate) fn tell(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _nobody_listens = writeln!(stderr, "{text}");
}

/// Asks on the terminal, which standard input need not be.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.map_err(|_| {
        Failure::new(Exit::Usage, "there is no terminal to ask for your consent on")
            .hint("run it from a terminal, or say --yes where nobody is to be asked")
    })?;
    let mut line = String::new();
    write!(terminal, "{question} Type yes: ")
        .and_then(|()| BufReader::new(&terminal).read_line(&mut line))
        .or_fail(Exit::Host, "cannot ask on the terminal")?;
    Ok(line.trim() == "yes")
}

/// A file that cannot be used, told with what to do about it.
pub(crate) fn failed(error: StoreError) -> Failure {
    let (exit, hint) = match &error {
        StoreError::Missing(_) => (Exit::Input, None),
        StoreError::Exposed { path, .. } => {
            (Exit::Secret, Some(format!("chmod 600 {}", path.display())))
        }
        StoreError::TooLong { .. } => (Exit::Input, None),
        StoreError::Exists(_) => (Exit::Input, Some("choose another name".to_owned())),
        StoreError::Io { .. } => (Exit::Host, None),
    };
    let failure = told(exit, &error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A refusal, told with what to do about it.
pub(crate) fn refused(error: Refused) -> Failure {
    let (exit, hint) = match &error {
        Refused::Format(_) => (Exit::Input, "use the countersign-keys of the same release"),
        Refused::Malformed { .. } => (Exit::Input, "ask for the request once more"),
        Refused::Unexplained { .. } => (Exit::Untrusted, "a newer countersign-keys may know it"),
        Refused::NoPinnedRoot(_) => (
            Exit::Input,
            "pin the first root that you have compared with the others (countersign-keys pin), or give --root",
        ),
        Refused::OtherFirstRoot(_) => (
            Exit::Untrusted,
            "one key serves one repository; if the ceremony began anew, move NAME.root.json away",
        ),
        Refused::NotSigned { .. } => {
            (Exit::Untrusted, "if its keyholders have changed, give an older root with --root")
        }
        Refused::OtherRoot(_) | Refused::OtherLast => {
            (Exit::Untrusted, "somebody shows you another history: talk to the other keyholders")
        }
        Refused::OtherIdentity(_) => {
            (Exit::Untrusted, "make the statement in the name of your own key (its RW… line)")
        }
        Refused::Behind { .. } | Refused::NotNext { .. } => {
            (Exit::Untrusted, "ask for a new draft of what is published now")
        }
        Refused::NotASigner(_) => (Exit::Untrusted, "countersign-keys review shows whose keys are"),
        Refused::NotRebuilt(_) => (
            Exit::Untrusted,
            "rebuild it, sign the verdict (countersign-keys attest) and give it with --rebuilt; or say --without-rebuild",
        ),
        Refused::Verdict { .. } => {
            (Exit::Untrusted, "rebuild this very release on your machine and sign that verdict")
        }
        Refused::Signing(_) => {
            (Exit::Secret, "unlock the agent or token that holds the key, and try again")
        }
        Refused::Raw(BadRaw::Prehashed) => (Exit::Untrusted, "sign with minisign -S -l"),
        Refused::Raw(_) => (
            Exit::Untrusted,
            "sign the bytes that export-message writes with a tool that its --help names",
        ),
        Refused::NotWaived => (
            Exit::Untrusted,
            "let the same key sign what export-message --waiver writes, and give it with --waiver",
        ),
        Refused::SeveralReleases(_) => {
            (Exit::Untrusted, "draft one release at a time, or say --without-rebuild")
        }
        Refused::ManyRoles => (Exit::Usage, "say which with --role"),
        Refused::NotCanonical(_) | Refused::Rollback { .. } | Refused::NotDelegated(_) => {
            (Exit::Untrusted, "do not sign it by other means: talk to the repository manager")
        }
    };
    told(exit, &error).hint(hint)
}

/// The error's own sentence, then its sources.
fn told(exit: Exit, error: &(dyn std::error::Error + 'static)) -> Failure {
    match error.source() {
        Some(source) => Failure::caused(exit, error, source),
        None => Failure::new(exit, error),
    }
}
