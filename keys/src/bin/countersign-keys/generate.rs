//! `generate`: a new key pair, written once.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out, Progress};
use countersign_keys::keyfile::{self, BadKeyFile};
use countersign_keys::label::number_text;
use countersign_keys::pkcs8;
use countersign_keys::store::{self, Overwrite, StoreError};
use countersign_keys::{Password, Protection};
use serde_json::json;

use crate::input::failed;
use crate::secret::{PasswordSource, ask};

const EXAMPLES: &str = "\
Examples:
  countersign-keys generate alice
  countersign-keys generate alice --dir /media/stick --label 'Alice B.'
  countersign-keys generate online --no-password     (a key that signs unattended)
  countersign-keys generate rebuilds --kind p256

The files are minisign's: `minisign -S -l -s alice.key -m FILE` signs with the same key. A P-256 key is
PEM, which OpenSSL reads.";

/// Make a key pair: NAME.key (secret, mode 0600) and NAME.pub
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the files
    name: String,
    /// Where to put them
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The key's name for people; NAME when absent
    #[arg(long)]
    label: Option<String>,
    /// What kind of key: Ed25519 in minisign's files, or P-256 in PEM (PKCS#8)
    #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
    kind: Kind,
    /// Leave the key unsealed: whoever reads the file has the key
    #[arg(long, conflicts_with = "PasswordSource")]
    no_password: bool,
    #[command(flatten)]
    password: PasswordSource,
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Signs everything here; stock minisign has the same key.
    Ed25519,
    /// For statements that go into public logs, which take no Ed25519; stock OpenSSL has the same key.
    P256,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let label = self.label.as_deref().unwrap_or(&self.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.starts_with('.') || self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(Failure::new(Exit::Usage, format!("{:?} is no name for files", self.name))
                .hint("use letters, digits, '-', '_' and '.'"));
        }
        countersign_keys::label::check(label).map_err(|error| Failure::new(Exit::Usage, error))?;
        let secret = self.dir.join(format!("{}.key", self.name));
        let public = self.dir.join(format!("{}.pub", self.name));
        for path in [&secret, &public] {
            // Asked before the password is; what counts is that the writing below never overwrites.
            if path.exists() {
                return Err(failed(StoreError::Exists(path.clone())));
            }
        }
        let password = self.password()?;
        let made = {
            let _progress =
                password.as_ref().map(|_| Progress::spinner("deriving from the password"));
            let protection =
                password.as_ref().map_or(Protection::WithoutPassword, Protection::Password);
            let generate = match self.kind {
                Kind::Ed25519 => keyfile::generate,
                Kind::P256 => pkcs8::generate_p256,
            };
            generate(label, &protection).map_err(|error| match error {
                BadKeyFile::Label(_) => Failure::new(Exit::Usage, error),
                other => Failure::new(Exit::Host, other),
            })?
        };
        store::write(&secret, made.secret.as_bytes(), 0o600, Overwrite::Never).map_err(failed)?;
        store::write(&public, made.public.as_bytes(), 0o644, Overwrite::Never).map_err(failed)?;
        out.say(format!("Secret key: {} (keep it secret, and a copy safe)", secret.display()));
        out.say(format!("Public key: {} (give it to the repository manager)", public.display()));
        out.say(format!("  {}", made.key));
        out.say(format!("  key id {}", made.key.id()));
        out.json(&json!({
            "secret": secret, "public": public, "label": label, "key": made.key,
            "id": made.key.id(), "password": password.is_some(),
            "minisign": (self.kind == Kind::Ed25519).then(|| number_text(&made.key)),
        }));
        Ok(Exit::Done)
    }

    fn password(&self) -> Result<Option<Password>, Failure> {
        if self.no_password {
            return Ok(None);
        }
        if let Some(password) = self.password.read()? {
            return Ok(Some(password));
        }
        let no_source = |failure: Failure| {
            failure.hint("give --password-file FILE or --password-fd N; or, for a key that signs unattended, --no-password")
        };
        let password = ask("Password for the new key: ").map_err(no_source)?;
        if !password.same(&ask("The same once more: ")?) {
            return Err(Failure::new(Exit::Secret, "the two passwords are not the same")
                .hint("nothing was written; try again"));
        }
        Ok(Some(password))
    }
}
