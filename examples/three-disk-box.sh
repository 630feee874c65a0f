#!/bin/sh
# From three bare disks to a mounted pool that raises an alarm.
#
#     examples/three-disk-box.sh [DIRECTORY]
#     CAIRN='npx cairn' examples/three-disk-box.sh [DIRECTORY]     in a checkout, where cairn is not on the PATH
#
# DIRECTORY (./box if none is given) stands for a machine: disk1 to disk3 would be the mount points of three disks, ssd that of an SSD. The pool stays
# mounted at DIRECTORY/mnt; `cairn unmount DIRECTORY/mnt` ends it.
set -eu
cairn=${CAIRN:-cairn}
box=${1:-./box}
mkdir -p "$box"/disk1 "$box"/disk2 "$box"/disk3 "$box"/ssd "$box"/mnt
box=$(cd "$box" && pwd)

echo '# What three disks would give'
$cairn plan --disk 6TB 6TB 6TB | head -n 4

echo '# The pool, and a directory of each disk for it'
# On real disks leave --size out: a pool takes what is free.
$cairn init "$box/pool" --disk "$box/disk1/cairn" "$box/disk2/cairn" "$box/disk3/cairn" --cache "$box/ssd/cairn" --size 256MiB 256MiB 256MiB
$cairn mount --strong "$box/pool" "$box/mnt"

echo '# Files; once they are committed any one disk may go'
mkdir "$box/mnt/photos"
cp "$0" "$box/mnt/photos/first.txt"
$cairn commit --wait "$box/mnt"

# The alarm: what cron or a systemd timer would run every five minutes. It says nothing as long as all is well; what it says, cron mails.
# (On a real box `[notify]` in cairn.toml does this by itself, and Prometheus has it from /metrics.)
alarm() {
  $cairn status "$box/pool" > "$box/status.txt" || return 0
  head -n 1 "$box/status.txt" | grep -q ': healthy$' || { echo 'ALARM:'; grep -E '^pool|^  (!|->)' "$box/status.txt"; }
}
echo '# All is well, so the alarm is silent'
alarm

echo '# A disk dies'
mv "$box/disk2/cairn" "$box/disk2/away"
until alarm | grep ALARM; do sleep 0.2; done
alarm | grep -E 'disk 2|disk2'
cmp "$0" "$box/mnt/photos/first.txt" && echo 'every file is still there'

echo '# It comes back, and what it missed is made up for by itself'
mv "$box/disk2/away" "$box/disk2/cairn"
while [ -n "$(alarm)" ]; do sleep 0.2; done
echo 'healthy again'
