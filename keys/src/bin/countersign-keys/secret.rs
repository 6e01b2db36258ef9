//! The keyholder's key: found, unsealed with a password from a terminal, a file or a descriptor.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Progress};
use countersign_keys::keyfile::BadKeyFile;
use countersign_keys::store::{self, StoreError};
use countersign_keys::{KeyFile, Password, SecretKey};
use zeroize::Zeroizing;

use crate::input::failed;

/// Where a password comes from when nobody types it.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct PasswordSource {
    /// Read the password from the first line of this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of this open descriptor
    #[arg(long, value_name = "N")]
    password_fd: Option<u32>,
}

/// A key and its password.
#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// Your secret key file
    #[arg(long, value_name = "NAME.key", env = "COUNTERSIGN_KEY")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    password: PasswordSource,
}

impl KeyArgs {
    /// Opens the key. Asks for the password on the terminal where the key is sealed and no other source is given.
    pub(crate) fn open(&self) -> Result<SecretKey, Failure> {
        let path = self.key.display();
        let content = store::read_secret(&self.key).map_err(|error| match error {
            StoreError::Missing(_) => {
                Failure::new(Exit::Secret, format!("there is no key file {path}"))
                    .hint("make one with: countersign-keys generate NAME")
            }
            other => failed(other),
        })?;
        let text = std::str::from_utf8(&content).map_err(|_| BadKeyFile::NotMinisign);
        let file = text.and_then(KeyFile::parse).map_err(|error| self.bad(&error))?;
        let password = match file.is_sealed() {
            false => None,
            true => match self.password.read()? {
                Some(password) => Some(password),
                None => Some(ask(&format!("Password of {path}: "))?),
            },
        };
        let progress = password.as_ref().map(|_| Progress::spinner("deriving from the password"));
        let key = file.open(password.as_ref()).map_err(|error| self.bad(&error))?;
        drop(progress);
        let stem = self.key.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        Ok(if key.label().is_empty() { key.labelled(stem) } else { key })
    }

    fn bad(&self, error: &BadKeyFile) -> Failure {
        let path = self.key.display();
        let hint = match error {
            BadKeyFile::NotMinisign => "give the secret key file NAME.key, not its public half",
            BadKeyFile::WrongPassword => "try again; nobody can recover a forgotten password",
            BadKeyFile::Corrupt => "take it from your backup",
            _ => "minisign -G and countersign-keys generate make keys that work here",
        };
        Failure::caused(Exit::Secret, format!("the key {path} cannot be opened"), error).hint(hint)
    }
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
