//! What a build leaves to be published: the release, and SLSA provenance about how it was made.

use countersign_metadata::release::{Blob, FORMAT, Input};
use countersign_metadata::statement::{
    BUILD_TYPE, BuildDefinition, Builder, Digests, PROVENANCE, Provenance, Resource, RunDetails,
    RunMetadata, STATEMENT, Statement, UNSIGNED, identity, subject, whole_seconds,
};
use countersign_metadata::{Platform, PublicKey, Release};
use jiff::Timestamp;
use serde_json::json;

use crate::prepare::Prepared;
use crate::recipe::{ClockSpec, RandomSpec};

/// The release that a build with this artifact makes: everything but the artifact follows from what was prepared.
pub fn release(prepared: &Prepared, artifact: Blob, inputs: Vec<Input>) -> Release {
    let recipe = prepared.recipe.spec().clone();
    Release {
        format: FORMAT,
        product: recipe.product,
        version: recipe.version,
        platform: Platform::here(),
        artifact,
        source: prepared.source.blob,
        recipe: *prepared.recipe.sha256(),
        lock: *prepared.lock.sha256(),
        environment: prepared.environment.identity().clone(),
        inputs,
        node: recipe.node,
        follows: recipe.follows,
        protocol: recipe.protocol,
        urgency: recipe.urgency,
        revokes: recipe.revokes,
        actions: recipe.actions,
        notes: recipe.notes,
    }
}

/// What else decided how it was built. What was held is not what the world is like, so it is said.
fn internal(prepared: &Prepared) -> serde_json::Value {
    let build = &prepared.recipe.spec().build;
    let held = |is_held| if is_held { "held" } else { "real" };
    json!({
        "builder-version": env!("CARGO_PKG_VERSION"),
        "clock": held(build.clock == ClockSpec::Held),
        "random": held(build.random == RandomSpec::Held),
    })
}

/// How `release` was made from what was prepared, by `builder`.
pub fn provenance(
    prepared: &Prepared,
    release: &Release,
    builder: Option<&PublicKey>,
    started_on: Timestamp,
    finished_on: Timestamp,
) -> Statement<Provenance> {
    let resource =
        |name: &str, sha256| Resource { name: name.to_owned(), digest: Digests { sha256 } };
    let environment = format!("environment:{}", release.environment.kind.name());
    let mut dependencies = vec![resource(&environment, release.environment.sha256)];
    dependencies
        .extend(release.inputs.iter().map(|input| resource(&input.name, input.blob.sha256)));
    Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![subject(release)],
        predicate_type: PROVENANCE.to_owned(),
        predicate: Provenance {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: json!({
                    "product": release.product,
                    "version": release.version,
                    "platform": release.platform,
                    "recipe": release.recipe,
                    "lock": release.lock,
                }),
                internal_parameters: internal(prepared),
                resolved_dependencies: dependencies,
            },
            run_details: RunDetails {
                builder: Builder { id: builder.map_or_else(|| UNSIGNED.to_owned(), identity) },
                metadata: RunMetadata {
                    started_on: whole_seconds(started_on),
                    finished_on: whole_seconds(finished_on),
                },
            },
        },
    }
}
