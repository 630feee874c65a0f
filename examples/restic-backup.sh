#!/bin/sh
# Backs a directory up into a mounted pool, over S3, with restic; and restores it.
#
#     examples/restic-backup.sh POOL DIRECTORY [PORT]
#
# Turns the S3 face on while the pool is mounted (it is used at once), makes a user for restic, and a repository in the bucket `backup`.
set -eu
cairn=${CAIRN:-cairn}
command -v restic > /dev/null || { echo 'restic is not installed (Debian: apt install restic)' >&2; exit 1; }
pool=$1 directory=$(cd "$2" && pwd) port=${3:-9000}

grep -q '^\[s3\]' "$pool/cairn.toml" || printf '\n[s3]\naddress = "127.0.0.1:%s"\n' "$port" >> "$pool/cairn.toml"
keys=$($cairn user add "$pool" restic)
AWS_ACCESS_KEY_ID=$(echo "$keys" | sed -n 's/^access key: //p')
AWS_SECRET_ACCESS_KEY=$(echo "$keys" | sed -n 's/^secret key: //p')
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# In earnest the password comes from a file that is not on the machine that is backed up.
export RESTIC_PASSWORD=correct-horse RESTIC_REPOSITORY="s3:http://127.0.0.1:$port/backup"
# The daemon takes a change of cairn.toml, and new users, within a second.
tries=0
until said=$(restic init 2>&1); do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { echo "$said" >&2; exit 1; }
  sleep 0.3
done
restic backup --quiet "$directory"
restic check --quiet

restored=$(mktemp -d)
trap 'rm -rf "$restored"' EXIT
restic restore --quiet latest --target "$restored"
diff -r "$directory" "$restored$directory"
echo "backed up and restored: $(find "$directory" -type f | wc -l) files the same"
