//! The rules for where sources and further inputs come from.

use super::check::{Broken, broken, is_package, is_plain};
use super::{InputSpec, RecipeSpec, SourceSpec};
use crate::inputs::url::check_url;
use crate::source::debian::Role;

/// Most entries of `[inputs]`.
const MAX_INPUTS: usize = 256;

pub(super) fn source(source: &SourceSpec) -> Result<(), Broken> {
    match source {
        SourceSpec::Directory | SourceSpec::Package { .. } => Ok(()),
        SourceSpec::Git { url, .. } => {
            crate::source::git::check_url(url).map_err(|rule| broken(&["source", "url"], rule))
        }
        SourceSpec::Archive { url, .. } => {
            check_url(url).map_err(|rule| broken(&["source", "url"], rule))
        }
        SourceSpec::Debian { package, files, sha256 } => {
            let good = package.split_once('=').is_some_and(|(name, version)| {
                is_package(name) && is_plain(version) && !version.is_empty()
            });
            if !good {
                let rule = "it is NAME=VERSION of a Debian source package";
                return Err(broken(&["source", "package"], rule));
            }
            if files.len() > 16 || sha256.len() > 16 {
                return Err(broken(&["source", "files"], "it names at most 16 archives"));
            }
            for file in files.iter().chain(sha256.keys()) {
                if !is_plain(file) || file.starts_with('.') {
                    return Err(broken(&["source", "files"], format!("{file:?} is no file name")));
                }
            }
            for file in files {
                if let Role::Refused(what) = Role::of(file) {
                    return Err(broken(&["source", "files"], format!("{file:?}: {what}")));
                }
            }
            let known = |name: &str| {
                files.is_empty() || files.iter().any(|file| file == name) || name.ends_with(".dsc")
            };
            match sha256.keys().find(|name| !known(name)) {
                Some(name) => {
                    Err(broken(&["source", "sha256", name], "it is not one of the files"))
                }
                None => Ok(()),
            }
        }
    }
}

pub(super) fn inputs(spec: &RecipeSpec) -> Result<(), Broken> {
    if spec.inputs.len() > MAX_INPUTS {
        return Err(broken(&["inputs"], format!("there are at most {MAX_INPUTS}")));
    }
    for (path, input) in &spec.inputs {
        let told = |rule: &str| broken(&["inputs", path.as_str()], rule);
        match input {
            InputSpec { url: Some(url), package: None, file: None, sha256: Some(_) } => {
                check_url(url).map_err(told)?;
            }
            InputSpec { url: Some(_), sha256: None, .. } => {
                return Err(told("an input from a URL needs its sha256"));
            }
            InputSpec { url: None, package: Some(_), file: None, .. } => {}
            InputSpec { url: None, package: None, file: Some(_), sha256: None } => {}
            InputSpec { file: Some(_), sha256: Some(_), .. } => {
                return Err(told("a file beside the recipe is digested when it is locked"));
            }
            _ => return Err(told("it has exactly one of url, package and file")),
        }
        if let Some(above) = spec.inputs.keys().find(|p| *p != path && path.is_below(p)) {
            return Err(told(&format!(
                "it lies inside the input {above:?}",
                above = above.as_str()
            )));
        }
    }
    Ok(())
}
