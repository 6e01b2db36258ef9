//! diffoscope, where it is installed: for depth beyond what [`super::compare`] knows. It runs dozens of tools on bytes that
//! strangers made, so it runs in a sandbox without a network.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_sandbox::{Exit, Limits, Lowerable, Mount, Network, Sandbox};

const PROGRAM: &str = "/usr/bin/diffoscope";
/// Longest page, in bytes.
const MAX_PAGE: u64 = 256 << 20;
const WALL: Duration = Duration::from_secs(1800);
const MEMORY: u64 = 4 << 30;
const SCRATCH: u64 = 4 << 30;
/// Why there is no page of diffoscope's.
#[derive(Debug, thiserror::Error)]
pub enum DiffoscopeError {
    /// It is not there.
    #[error("{PROGRAM} is not installed")]
    NotInstalled,
    /// It failed.
    #[error("diffoscope ended with {0:?}")]
    Failed(Exit),
    /// Its page is longer than is kept.
    #[error("diffoscope's page is longer than {MAX_PAGE} bytes")]
    TooLong,
    /// It cannot be run.
    #[error(transparent)]
    Sandbox(#[from] countersign_sandbox::Error),
    /// A file cannot be opened or written.
    #[error("cannot open {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Writes what diffoscope says about two artifacts to `page`, as HTML.
///
/// # Errors
/// It is not installed, cannot be run or fails; `page` may be half written then.
pub fn diffoscope(first: &Path, second: &Path, page: &Path) -> Result<(), DiffoscopeError> {
    if !Path::new(PROGRAM).exists() {
        return Err(DiffoscopeError::NotInstalled);
    }
    let output =
        File::create(page).map_err(|source| DiffoscopeError::Io { path: page.into(), source })?;
    let command = [PROGRAM, "--html", "-", "--no-progress", "/first.tar.zst", "/second.tar.zst"];
    let limits =
        Limits { memory: Some(MEMORY), wall: Some(WALL), file_bytes: SCRATCH, ..Limits::default() };
    let ended = Sandbox::new(command.map(OsString::from).into())
        .host_programs()
        // A plain user may have no control group to limit memory with: the machine's own limit is left then.
        .lower([Lowerable::MemoryLimit])
        .mount(Mount::ReadOnly { from: first.into(), to: "/first.tar.zst".into() })
        .mount(Mount::ReadOnly { from: second.into(), to: "/second.tar.zst".into() })
        .mount(Mount::Tmpfs { to: "/tmp".into(), bytes: SCRATCH, inodes: 1 << 20 })
        .environment("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .environment("HOME", "/tmp")
        .environment("LC_ALL", "C.UTF-8")
        .network(Network::None)
        .limits(limits)
        .output(output, MAX_PAGE)
        .run()?;
    match ended.exit {
        _ if ended.output_truncated => Err(DiffoscopeError::TooLong),
        // 1: they differ.
        Exit::Code(0 | 1) => Ok(()),
        other => Err(DiffoscopeError::Failed(other)),
    }
}
