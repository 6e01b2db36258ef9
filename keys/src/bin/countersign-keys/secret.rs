//! The keyholder's key: found in a file, an agent or a token, and opened with a password from a terminal, a file or
//! a descriptor.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use countersign_console::{Exit, Failure, Hint, Progress};
use countersign_keys::agent::{self, Wanted};
use countersign_keys::keyfile::BadKeyFile;
use countersign_keys::pkcs8::{BEGIN, PemKey};
use countersign_keys::store::{self, StoreError};
use countersign_keys::token::{self, SCHEME, TokenError, TokenUri};
use countersign_keys::{KeyFile, Password, SecretKey};
use zeroize::Zeroizing;

use crate::input::{failed, public};

/// Where a password comes from when nobody types it.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct PasswordSource {
    /// Read the password (or PIN) from the first line of this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password (or PIN) from the first line of this open descriptor
    #[arg(long, value_name = "N")]
    password_fd: Option<u32>,
}

/// A key and its password.
#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// Your secret key: a file (minisign, or PEM PKCS#8), ssh-agent:NAME.pub, ssh-agent:SHA256:…, or
    /// pkcs11:token=…;object=…?module-path=…
    #[arg(long, value_name = "KEY", env = "COUNTERSIGN_KEY")]
    key: Place,
    /// Its public half, for a key in an agent or a token: must be the same key; the pinned root lies beside it
    #[arg(long, value_name = "NAME.pub")]
    public: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordSource,
}

/// Where a secret key is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a file.
    File(PathBuf),
    /// In the agent, named by its public file or its fingerprint.
    Agent(String),
    /// In a token.
    Token(String),
}

const AGENT: &str = "ssh-agent:";
const FINGERPRINT: &str = "SHA256:";

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix(AGENT) {
            Some(name) => Self::Agent(name.to_owned()),
            None if text.starts_with(SCHEME) => Self::Token(text.to_owned()),
            None => Self::File(text.into()),
        })
    }
}

impl Place {
    /// The file that it is named by.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Agent(name) if !name.starts_with(FINGERPRINT) => Some(Path::new(name)),
            Self::Agent(_) | Self::Token(_) => None,
        }
    }
}

impl KeyArgs {
    /// Opens the key. Asks for the password on the terminal where the key is sealed and no other source is given.
    pub(crate) fn open(&self) -> Result<SecretKey, Failure> {
        let mut key = match &self.key {
            Place::File(path) => self.file(path),
            Place::Agent(name) => in_agent(name),
            Place::Token(uri) => self.in_token(uri),
        }?;
        if let Some(path) = &self.public {
            let found = public(path)?;
            if found.key != *key.public() {
                let what = format!("{} is not the public half of this key", path.display());
                return Err(Failure::new(Exit::Secret, what).hint("name the right one of the two"));
            }
            if !found.label().is_empty() {
                key = key.labelled(found.label());
            }
        }
        let stem = self.beside().and_then(Path::file_stem).and_then(|s| s.to_str());
        let stem = stem.unwrap_or_default();
        Ok(if key.label().is_empty() { key.labelled(stem) } else { key })
    }

    /// The file beside which its pinned root lies, if it has any.
    pub(crate) fn beside(&self) -> Option<&Path> {
        self.public.as_deref().or(self.key.file())
    }

    fn file(&self, path: &Path) -> Result<SecretKey, Failure> {
        let content = store::read_secret(path).map_err(|error| match error {
            StoreError::Missing(_) => {
                Failure::new(Exit::Secret, format!("there is no key file {}", path.display()))
                    .hint("make one with: countersign-keys generate NAME")
            }
            other => failed(other),
        })?;
        let bad = |error| bad_file(path, &error);
        let text = std::str::from_utf8(&content).map_err(|_| bad(BadKeyFile::NotMinisign))?;
        if text.contains(BEGIN) {
            let file = PemKey::parse(text).map_err(bad)?;
            let password = self.password_for(file.is_sealed(), path)?;
            let _progress = spinner(password.as_ref());
            return file.open(password.as_ref()).map_err(bad);
        }
        let file = KeyFile::parse(text).map_err(bad)?;
        let password = self.password_for(file.is_sealed(), path)?;
        let _progress = spinner(password.as_ref());
        file.open(password.as_ref()).map_err(bad)
    }

    fn password_for(&self, sealed: bool, path: &Path) -> Result<Option<Password>, Failure> {
        if !sealed {
            return Ok(None);
        }
        let given = self.password.read()?;
        given.map_or_else(|| ask(&format!("Password of {}: ", path.display())), Ok).map(Some)
    }

    fn in_token(&self, uri: &str) -> Result<SecretKey, Failure> {
        let uri: TokenUri = uri
            .parse()
            .or_fail(Exit::Usage, format!("{uri:?} names no key in a token"))
            .map_err(|f: Failure| {
                f.hint("pkcs11:token=LABEL;object=KEY?module-path=/path/to/library.so")
            })?;
        let given = self.password.read()?;
        let pin = given.map_or_else(|| ask("PIN of the token: "), Ok)?;
        token::open(&uri, &pin).map_err(|error| {
            let hint = match error {
                TokenError::WrongPin => "mind that tokens lock after a few wrong PINs",
                TokenError::Locked => "its security officer can unlock it",
                _ => "pkcs11-tool --module LIBRARY --list-objects --login shows what is there",
            };
            Failure::caused(Exit::Secret, "the key in the token cannot be used", &error).hint(hint)
        })
    }
}

/// A derivation takes seconds: somebody should see that it goes on.
fn spinner(password: Option<&Password>) -> Option<Progress> {
    password.map(|_| Progress::spinner("deriving from the password"))
}

fn bad_file(path: &Path, error: &BadKeyFile) -> Failure {
    let hint = match error {
        BadKeyFile::NotMinisign => "give the secret key file NAME.key, not its public half",
        BadKeyFile::WrongPassword => "try again; nobody can recover a forgotten password",
        BadKeyFile::Corrupt => "take it from your backup",
        BadKeyFile::OtherPem(label) if label.contains("OPENSSH") => {
            "add it to your agent (ssh-add) and give --key ssh-agent:NAME.pub"
        }
        BadKeyFile::OtherPem(_) => "openssl pkcs8 -topk8 -in FILE -out NAME.key makes PKCS#8 of it",
        _ => "countersign-keys generate, minisign -G and openssl genpkey make keys that work here",
    };
    let what = format!("the key {} cannot be opened", path.display());
    Failure::caused(Exit::Secret, what, error).hint(hint)
}

fn in_agent(name: &str) -> Result<SecretKey, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the name of a socket is no secret")]
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|s| !s.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Secret, "there is no SSH agent (SSH_AUTH_SOCK is not set)")
            .hint("start one with: eval $(ssh-agent)")
    })?;
    let wanted = if name.starts_with(FINGERPRINT) {
        Wanted::Fingerprint(name.to_owned())
    } else {
        Wanted::Key(public(Path::new(name))?.key)
    };
    agent::open(Path::new(&socket), &wanted).map_err(|error| {
        Failure::caused(Exit::Secret, "the key in the SSH agent cannot be used", &error)
            .hint("ssh-add adds a key, ssh-add -l shows which are there")
    })
}

impl PasswordSource {
    /// The password, if a source is named.
    pub(crate) fn read(&self) -> Result<Option<Password>, Failure> {
        let path = match (&self.password_file, self.password_fd) {
            (Some(path), _) => path.clone(),
            (None, Some(descriptor)) => PathBuf::from(format!("/proc/self/fd/{descriptor}")),
            (None, None) => return Ok(None),
        };
        first_line(&path).map(Some)
    }
}

fn first_line(path: &Path) -> Result<Password, Failure> {
    let content = store::read_secret(path).map_err(|error| match error {
        StoreError::Missing(path) => {
            Failure::new(Exit::Secret, format!("there is no password in {}", path.display()))
                .hint("name a file or an open descriptor that holds it")
        }
        other => failed(other),
    })?;
    Password::from_file(&content).ok_or_else(|| {
        Failure::new(Exit::Secret, format!("the first line of {} is no password", path.display()))
            .hint("it must hold 1 to 1024 bytes")
    })
}

/// Asks for a password on the terminal.
pub(crate) fn ask(prompt: &str) -> Result<Password, Failure> {
    let typed = rpassword::prompt_password(prompt).map_err(|_| {
        Failure::new(Exit::Secret, "a password is needed, and there is no terminal to ask on")
            .hint("give it with --password-file FILE or --password-fd N")
    })?;
    Password::new(Zeroizing::new(typed)).ok_or_else(|| {
        Failure::new(Exit::Secret, "no password was typed").hint("it must hold 1 to 1024 bytes")
    })
}
