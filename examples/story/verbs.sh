# The verbs of both stories: what each person of a release does, in the order in which they do it. Sourced by a story.
# shellcheck shell=bash disable=SC2154

make_keys() { # three keyholders and the online key
  local who
  for who in alice bob carol online; do
    mkdir -p "$run/$who"
    brief 2 countersign-keys generate "$who" --dir "$run/$who" --label "$who" --no-password
  done
  online="countersign-keys sign --yes --key $run/online/online.key"
}
make_repository() { # root, targets and the product's role, signed by two of three, published
  local who role
  do_ countersign-metadata init --repo "$repo" --product "$product" --threshold 2 \
    --keyholder "alice=$run/alice/alice.pub" --keyholder "bob=$run/bob/bob.pub" --keyholder "carol=$run/carol/carol.pub" \
    --online "$run/online/online.pub"
  say "Each keyholder sees in words what the first root says before signing it:"
  do_ countersign-keys review "$repo/drafts/0001-init/root.request.json"
  for who in alice bob; do
    for role in root targets "$product"; do
      countersign-keys sign --yes --key "$run/$who/$who.key" -o "$run/$who/$role.signature.json" \
        "$repo/drafts/0001-init/$role.request.json" > /dev/null 2>&1
      countersign-metadata merge --repo "$repo" --draft 0001-init "$run/$who/$role.signature.json" > /dev/null
    done
  done
  do_ countersign-metadata status --repo "$repo" 0001-init
  brief 1 countersign-metadata publish --repo "$repo" 0001-init --signer "$online --trust-first-root"
  root=$run/root.json
  cp "$repo/public/metadata/1.root.json" "$root"
  countersign-keys pin --key "$run/carol/carol.key" "$root" > /dev/null
}
serve_repository() { # any web server will do; this one is small
  serve "$repo/public" serve
  url=$served
}
serve() { # DIRECTORY NAME: sets served
  background countersign-metadata serve "$1" --listen 127.0.0.1:0 > "$run/$2.log" 2>&1
  wait_for 20 "$1 is served" grep -q http:// "$run/$2.log"
  served=$(grep -o 'http://[0-9.:]*' "$run/$2.log" | head -n 1)
}
build() { # VERSION: source, lock, build
  source_of "$1" "$run/src/$1"
  brief 1 countersign-builder build "$run/src/$1" -o "$run/built/$1"
}
draft() { # VERSION: a frozen draft whose name is printed by status
  brief 1 countersign-metadata draft --repo "$repo" --release "$run/built/$1" --name "v$1"
  draft=$(basename "$(ls -d "$repo"/drafts/*-v"$1")")
}
rebuild() { # WHO VARIATIONS: a keyholder's own rebuild of the draft, with a signed verdict
  brief 2 countersign-builder rebuild --release "$repo/drafts/$draft" --vary "$2" -o "$run/$1/$draft" \
    --identity-file "$run/$1/$1.pub" --signer "countersign-keys sign --yes --key $run/$1/$1.key"
}
sign() { # WHO: review, then sign what was rebuilt
  brief 1 countersign-keys sign --yes --key "$run/$1/$1.key" --rebuilt "$run/$1/$draft/verdict.dsse.json" \
    -o "$run/$1/$draft/signature.json" "$repo/drafts/$draft/$product.request.json"
}
merge() { # WHO…: the signatures come back to the repository manager
  local who; for who; do
    countersign-metadata merge --repo "$repo" --draft "$draft" "$run/$who/$draft/signature.json" > /dev/null
  done
}
publish() {
  brief 1 countersign-metadata publish --repo "$repo" "$draft" --signer "$online"
}
release() { # VERSION: the whole way of a release, as version 1 went it
  build "$1"; draft "$1"
  rebuild alice path,user,hostname; sign alice
  rebuild bob time,cpus; sign bob
  merge alice bob; publish
}
