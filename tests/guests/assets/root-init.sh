#!/bin/sh
# /sbin/init of the installed Linux of rootdisk.py. It says by which driver the root file system came,
# checks its own files, leaves a line in /var/log/boots, uses every other disk, and halts.

export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
dmesg -n 3 # only what is critical, lest it come into the middle of what we say

say() {
    echo "TRAPLINE-MOVE $*"
}

fail() {
    say "FAIL $*"
    sync
    poweroff -f
}

# The driver of the host adapter that a disk is on.
driver_of() {
    path=$(readlink -f "/sys/block/$1/device")
    host=${path#*/host}
    cat "/sys/class/scsi_host/host${host%%/*}/proc_name"
}

root=$(grep ' / ext' /proc/mounts)
root=${root%% *}
root=${root#/dev/}
mount -o remount,rw / || fail "remount"
driver_of "${root%[0-9]}" >>/var/log/boots
boot=$(wc -l </var/log/boots)
say "boot $boot: root file system by $(tail -n 1 /var/log/boots)"
sha256sum -c /etc/manifest >/tmp/check || { cat /tmp/check; fail "files"; }
say "files as installed: $(grep -c OK /tmp/check)"

for block in /sys/block/sd*; do
    disk=${block##*/}
    [ "$disk" = "${root%[0-9]}" ] && continue
    mount -t ext2 "/dev/$disk" /mnt 2>/dev/null || {
        mke2fs -L OTHER "/dev/$disk" >/dev/null 2>&1 || fail "mke2fs $disk"
        mount -t ext2 "/dev/$disk" /mnt || fail "mount $disk"
    }
    echo "$boot" >>/mnt/visits
    seq 1 200000 >/mnt/numbers || fail "write $disk"
    umount /mnt
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext2 -o ro "/dev/$disk" /mnt || fail "mount $disk again"
    seq 1 200000 | cmp - /mnt/numbers || fail "$disk"
    say "other disk by $(driver_of "$disk"): visited in boots $(tr '\n' ' ' </mnt/visits)"
    umount /mnt
done
sync
mount -o remount,ro / || fail "remount read-only"
say "done"
poweroff -f
