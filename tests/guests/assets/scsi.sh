# Mode `scsi` of init.sh: jobs on the disks of one SCSI host, in the order of `trapline.jobs=`.
# `trapline.driver=` is the driver's module (aic7xxx, virtio_scsi). Each job prints a line
# `TRAPLINE-SCSI job: what it found`, or TRAPLINE-DISK-FAIL and the end. Jobs:
#   attach   what the driver says of its host, and every device that it found
#   small    two files written to the first disk at the same time and read back; if need be, a file system
#   files    the same on every disk at once, 64 MiB each
#   tags     eight readers a disk at once, each by O_DIRECT; then each alone
#   cd       the file `given` of the CD
#   absent   a scan of id 5, where nothing answers
#   bad      sector 258000 of the first disk, where no file is, cannot be read; its neighbours can
#   hang     a command that the disk never answers: the driver aborts it, and tries it again
#   complaints   what the kernel complained of: nothing

driver=aic7xxx
jobs=attach
for word in $(cat /proc/cmdline); do
    case $word in
    trapline.driver=*) driver=${word#*=} ;;
    trapline.jobs=*) jobs=$(echo "${word#*=}" | tr , ' ') ;;
    esac
done

say() {
    echo "TRAPLINE-SCSI $*"
}

find_host() {
    for path in /sys/class/scsi_host/host*; do
        [ "$(cat "$path/proc_name")" = "$driver" ] && host=${path##*/host}
    done
    [ -n "$host" ] || fail "no SCSI host of $driver"
    # The driver scans in the background; this scan comes after it
    echo "0 0 0" >"/sys/class/scsi_host/host$host/scan"
    disks= cds=
    for device in /sys/bus/scsi/devices/"$host":*; do
        [ -f "$device/type" ] || continue
        tries=0
        until [ -d "$device/block" ] || [ $tries -gt 300 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        for block in "$device"/block/*; do
            wait_for "/dev/${block##*/}" || fail "no /dev/${block##*/}"
            case $(cat "$device/type") in
            0) disks="$disks ${block##*/}" ;;
            5) cds="$cds ${block##*/}" ;;
            esac
        done
    done
    first=${disks# }
    first=${first%% *}
}

attach_job() {
    dmesg | grep -o 'aic7870: .*SCBs'
    say "attach: host $host of $driver"
    for device in /sys/bus/scsi/devices/"$host":*; do
        [ -f "$device/type" ] || continue
        for block in "$device"/block/*; do
            say "device ${device##*/}: type $(cat "$device/type")," \
                "$(cat "/sys/block/${block##*/}/size") sectors, depth $(cat "$device/queue_depth")"
        done
    done
}

# Make a file system on a disk that has none, write a file several times at once, mount again, compare.
write_and_compare() {
    name=$1 file=$2 copies=$3
    mkdir -p "/mnt/$name"
    mount -t ext2 "/dev/$name" "/mnt/$name" 2>/dev/null || {
        mke2fs -L "SCSI-$name" "/dev/$name" >/dev/null 2>&1 || return 1
        mount -t ext2 "/dev/$name" "/mnt/$name" || return 2
    }
    for copy in $copies; do
        cp "$file" "/mnt/$name/$copy" &
    done
    wait
    sync
    umount "/mnt/$name" || return 3
    mount -t ext2 -o ro "/dev/$name" "/mnt/$name" || return 4
    for copy in $copies; do
        sha256sum <"/mnt/$name/$copy" >"/tmp/sum-$name-$copy" &
    done
    wait
    umount "/mnt/$name" || return 5
}

sums() {
    cat /tmp/sum-* | cut -d ' ' -f 1 | sort | uniq -c | sed 's/^ *//; s/ / times /'
}

small_job() {
    seq 1 200000 | head -c 1048576 >/tmp/base
    write_and_compare "$first" /tmp/base "data more" || fail "small $?"
    cmp "/tmp/sum-$first-data" "/tmp/sum-$first-more" || fail "small: not the same"
    [ "$(cat "/tmp/sum-$first-data")" = "$(sha256sum </tmp/base)" ] || fail "small: not as written"
    say "small: $(sums)"
    rm /tmp/sum-*
}

files_job() {
    write_data >/tmp/data
    for disk in $disks; do
        { write_and_compare "$disk" /tmp/data data || say "files: $disk failed at step $?"; } &
    done
    wait
    rm /tmp/data
    say "files: $(sums)"
    rm /tmp/sum-*
}

read_part() {
    dd if="/dev/$1" iflag=direct bs=65536 skip=$(($2 * 32)) count=32 2>/dev/null | md5sum
}

tags_job() {
    for disk in $disks; do
        for part in 0 1 2 3 4 5 6 7; do
            read_part "$disk" $part >"/tmp/together-$disk-$part" &
        done
    done
    wait
    for disk in $disks; do
        for part in 0 1 2 3 4 5 6 7; do
            read_part "$disk" $part | cmp - "/tmp/together-$disk-$part" || fail "tags $disk $part"
        done
    done
    say "tags: $(cat /tmp/together-* | wc -l) parts the same"
}

cd_job() {
    mount -t iso9660 -o ro "/dev/${cds# }" /mnt || fail "mount CD"
    say "cd: $(cat /mnt/given)"
    umount /mnt
}

# Read one sector of the first disk, past the cache.
read_sector() {
    dd if="/dev/$first" iflag=direct bs=512 skip="$1" count=1 of=/dev/null 2>/dev/null
}

absent_job() {
    dmesg -c >/dev/null
    echo "0 5 0" >"/sys/class/scsi_host/host$host/scan"
    [ -e "/sys/bus/scsi/devices/$host:0:5:0" ] && fail "absent: found"
    [ -z "$(dmesg)" ] || { dmesg; fail "absent: see above"; }
    read_sector 0 || fail "absent: disk"
    say "absent: nobody at 5"
}

bad_job() {
    dmesg -c >/dev/null
    read_sector 258000 && fail "bad: could be read"
    dmesg | grep -e 'Sense Key' -e 'Add. Sense' | head -n 2 | sed 's/.*\(Sense Key\|Add. Sense\)/\1/; s/ \[current\].*//' |
        while read -r line; do say "bad: $line"; done
    read_sector 257999 && read_sector 258001 || fail "bad: neighbours"
    say "bad: neighbours can be read"
}

hang_job() {
    dmesg -c >/dev/null
    echo 5 >"/sys/block/$first/device/timeout"
    read_sector 259000 || { dmesg; fail "hang: not recovered"; }
    read_sector 259001 || fail "hang: disk"
    say "hang: $(dmesg | grep -c 'Attempting to queue an ABORT') aborted," \
        "$(dmesg | grep -c 'Abort.*Completed') completed"
}

complaints_job() {
    dmesg | grep -i -e "scsi$host.*\(abort\|recovery\|reset\|error\|SCB\|bad\|unexpected\|invalid\)" -e 'I/O error' \
        -e 'Oops' -e 'Call Trace' | grep -v 'Channel A, SCSI Id' && fail "complaints: see above"
    say "complaints: none"
}

scsi_jobs() {
    dmesg -n 3 # only what is critical, lest it come into the middle of what we say
    find_host
    for job in $jobs; do
        "${job}_job"
    done
    say "done"
}
