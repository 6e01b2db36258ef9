//! `compare`: how two artifacts differ.

use std::path::PathBuf;

use countersign_builder::compare::diffoscope::{DiffoscopeError, diffoscope};
use countersign_builder::compare::page;
use countersign_builder::files::write_durably;
use countersign_console::{Exit, Failure, Hint, Out, Progress};

/// Explain how two artifacts differ
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  countersign-builder compare mine/thing.tar.zst theirs/thing.tar.zst"
)]
pub(super) struct Args {
    /// An artifact (.tar.zst, .tar.gz or .tar)
    first: PathBuf,
    /// Another one
    second: PathBuf,
    /// Write one page for a browser to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write diffoscope's page about them to FILE (diffoscope must be installed; it runs in a sandbox)
    #[arg(long, value_name = "FILE")]
    diffoscope: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let comparison = countersign_builder::compare::compare(&self.first, &self.second)
            .map_err(|e| crate::fail::compare(&e))?;
        if comparison.equal {
            out.say("EQUAL: the same members with the same contents");
        } else {
            out.say("DIFFERENT");
            crate::show::comparison(&comparison, out);
        }
        if let Some(path) = &self.html {
            let [first, second] =
                [&self.first, &self.second].map(|path| path.display().to_string());
            let page = page(&comparison, &first, &second);
            write_durably(path, page.as_bytes())
                .or_fail(Exit::Host, format!("cannot write {}", path.display()))?;
            out.say(format!("the page: {}", path.display()));
        }
        if let Some(page) = &self.diffoscope {
            let _spinner = Progress::spinner("diffoscope looks deeper");
            diffoscope(&self.first, &self.second, page).map_err(|error| {
                let what = "there is no page of diffoscope's";
                let failure = Failure::caused(Exit::Host, what, &error);
                match error {
                    DiffoscopeError::NotInstalled => failure.hint("apt-get install diffoscope"),
                    _ => failure,
                }
            })?;
            out.say(format!("diffoscope's page: {}", page.display()));
        }
        out.json(&comparison);
        Ok(if comparison.equal { Exit::Done } else { Exit::Verdict })
    }
}
