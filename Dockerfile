# Countersign's own build in a container that holds nothing but its locked environment, source and crates.
#
#   countersign-builder lock . && countersign-builder export . -o /tmp/context
#   buildah build --isolation chroot -f Dockerfile -t countersign /tmp/context   (or: docker build)
#
# The tree comes from `export`, not from a registry: its digest is in countersign.lock, and no layer of anybody else's
# is below it. /artifact then holds the same files as the artifact of `countersign-builder build .`.
FROM scratch
COPY root/ /
RUN ["/bin/sh", "/build/run"]
