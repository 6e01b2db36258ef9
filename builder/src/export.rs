//! A prepared build as a root tree, for who would rather build in a container: everything is in it, nothing is fetched.
//!
//! ```text
//! DIR/root/usr root/opt/rust …     the environment
//! DIR/root/build/src               the source
//! DIR/root/build/vendor …          locked inputs
//! DIR/root/build/run               the steps, with the environment variables of a hermetic build;
//!                                  they leave the outputs below /artifact
//! ```
//!
//! The top-level `Dockerfile` begins `FROM scratch` on such a tree. The environment alone can be had as a root tree and
//! as an OCI image layout, for whoever would rather look into it or build in it by other means.

mod image;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;

use crate::build::{self, BuildError, Provided};
use crate::environment::BuildEnvironment;
use crate::pack::{self, Cap, PackError, Strip, UnpackError};
use crate::prepare::Prepared;
use crate::scratch::Scratch;

/// What a tree is called before it is whole.
const NEW: &str = ".new-";

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The environment is all of this machine.
    #[error(
        "the environment is this whole machine (it has no dpkg), which is no tree to be carried away"
    )]
    WholeMachine,
    /// Something is there already.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// The locked inputs cannot be provided.
    #[error(transparent)]
    Inputs(#[from] BuildError),
    /// The source cannot be laid out.
    #[error("the source cannot be laid out")]
    Source(#[from] UnpackError),
    /// The environment holds what no image can.
    #[error("the environment cannot be an image")]
    Image(#[from] PackError),
    /// Something cannot be read or written.
    #[error("cannot export: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Lays a prepared build out below `dir/root`, which must not exist. `now` is told what is being done.
///
/// # Errors
/// There is something already, or something cannot be read or written; `dir/root` is not there then.
pub fn export(prepared: &Prepared, dir: &Path, now: &dyn Fn(&str)) -> Result<PathBuf, ExportError> {
    now("copying the environment");
    let fresh = begin(&prepared.environment, dir)?;
    let root = copy_environment(&prepared.environment, fresh.path())?;
    let failed = |source| ExportError::Io { path: dir.join("root"), source };
    let base = root.join("build");
    for made in ["src", "home", "../tmp", "../artifact"].map(|name| base.join(name)) {
        fs::create_dir_all(made).map_err(failed)?;
    }
    now("laying the source out");
    let source = pack::open(&prepared.source.path)?;
    pack::unpack(source, &base.join("src"), Cap::default(), Strip::Nothing)?;
    let provided = Provided::new(prepared, &base)?;
    let has_rust = prepared.environment.has_rust();
    let script = build::container_script(prepared.recipe.spec(), has_rust, &provided);
    fs::write(base.join("run"), script).map_err(failed)?;
    put(&fresh, dir, "root")
}

/// A place beside where the result will be, so that half of one never has its name.
fn begin(environment: &BuildEnvironment, dir: &Path) -> Result<Scratch, ExportError> {
    if environment.is_whole_machine() {
        return Err(ExportError::WholeMachine);
    }
    let root = dir.join("root");
    if root.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(root));
    }
    let failed = |source| ExportError::Io { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    crate::scratch::sweep(dir, &[NEW]);
    Scratch::in_dir(dir, NEW).map_err(failed)
}

fn put(fresh: &Scratch, dir: &Path, name: &str) -> Result<PathBuf, ExportError> {
    let to = dir.join(name);
    fs::rename(fresh.path().join(name), &to)
        .map_err(|source| ExportError::Io { path: to.clone(), source })?;
    Ok(to)
}

/// An environment by itself, written out.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The root tree.
    pub root: PathBuf,
    /// The OCI image layout.
    pub image: PathBuf,
    /// The digest of the image's manifest: the same wherever it is written.
    pub manifest: Sha256,
}

/// Writes an environment as `dir/root` and `dir/oci`, neither of which may exist. `now` is told what is being done.
///
/// # Errors
/// There is something already, something cannot be read or written, or the environment is a whole machine.
pub fn environment(
    environment: &BuildEnvironment,
    dir: &Path,
    now: &dyn Fn(&str),
) -> Result<Exported, ExportError> {
    let image = dir.join("oci");
    if image.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(image));
    }
    now("copying the environment");
    let fresh = begin(environment, dir)?;
    copy_environment(environment, fresh.path())?;
    now("writing the image");
    let path = build::search_path(environment.has_rust());
    let manifest = image::write(environment.root(), &path, &fresh.path().join("oci"))?;
    let image = put(&fresh, dir, "oci")?;
    Ok(Exported { root: put(&fresh, dir, "root")?, image, manifest })
}

/// Copies an environment to `dir/root`, which no result has yet.
fn copy_environment(environment: &BuildEnvironment, dir: &Path) -> Result<PathBuf, ExportError> {
    let root = dir.join("root");
    let failed = |source| ExportError::Io { path: root.clone(), source };
    copy(environment.root(), &root).map_err(failed)?;
    Ok(root)
}

/// Copies a tree of directories, files and links; directories become writable for their owner.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        crate::interrupt::check()?;
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    fs::set_permissions(to, Permissions::from_mode(0o755))
}
