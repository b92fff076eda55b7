#!/bin/sh
# /init of the test guests. `trapline.mode=` on the kernel's command line says what to do:
#   boot    print the marker and halt: what the boot benchmark times
#   commands    print the marker, answer commands on the serial console; no drivers
#   shell   load the disk drivers, print the marker, answer commands on the serial console
#   chips   floppy, CD, printer and mouse, by the kernel's own drivers; halt
#   disk    partition /dev/sda, make a file system, write, read back, compare, halt
#   scsi    jobs on the disks of a SCSI host, see scsi.sh; halt
#   root    find the disk that root= names, and go on with its /sbin/init
#   paths   read and write the first disk, whatever drives it, for `trapline compare --disk-paths`; halt
#   speed   read the first disk by commands of several lengths, and say how long that took; halt
#   apic    the same as disk, then show what the kernel says of the APICs and whose interrupts came by which
#   apic-read   as apic, but only read the disk's first MiB

export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

mode=shell
for word in $(cat /proc/cmdline); do
    case $word in
    trapline.mode=*) mode=${word#*=} ;;
    esac
done

# What `MODULE.NAME=VALUE` on the kernel's command line gives to a module, as modprobe does.
parameters_of() {
    for word in $(cat /proc/cmdline); do
        case $word in
        "$1".*=*) echo "${word#*.}" ;;
        esac
    done
}

load_drivers() {
    while read -r module; do
        insmod "/lib/modules/$module" $(parameters_of "${module%.ko}") ||
            echo "TRAPLINE-GUEST-FAIL insmod $module"
    done <"/lib/modules/$1"
}

# Wait for a device node; libata looks for its disks in the background.
wait_for() {
    tries=0
    until [ -b "$1" ]; do
        tries=$((tries + 1))
        [ $tries -gt 300 ] && return 1
        sleep 0.1
    done
}

fail() {
    echo "TRAPLINE-DISK-FAIL $1"
    poweroff -f
}

# 64 blocks of 1 MiB, no two sectors alike: each block is shifted by 7 bytes against the last.
# tests/guests/assets/initramfs.py computes the same bytes.
write_data() {
    seq 1 170000 | head -c 1048576 >/tmp/base
    block=0
    while [ $block -lt 64 ]; do
        printf '%*d' $((block * 7 + 9)) $block
        dd if=/tmp/base bs=$((1048576 - block * 7 - 9)) count=1 2>/dev/null
        block=$((block + 1))
    done
}

disk_job() {
    disk=/dev/sda
    wait_for $disk || fail "no $disk"
    printf 'o\nn\np\n1\n\n\nw\n' | fdisk $disk >/tmp/fdisk 2>&1 || { cat /tmp/fdisk; fail fdisk; }
    wait_for ${disk}1 || { cat /tmp/fdisk; fail "no ${disk}1"; }
    mke2fs -L TRAPLINE ${disk}1 >/dev/null || fail mke2fs
    mount -t ext2 ${disk}1 /mnt || fail mount
    write_data >/mnt/data || fail write
    sync
    umount /mnt || fail umount
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext2 -o ro ${disk}1 /mnt || fail "mount again"
    sum=$(sha256sum </mnt/data)
    sum=${sum%% *}
    umount /mnt || fail "umount again"
    [ "$sum" = "$(cat /etc/data.sha256)" ] || fail "$sum"
    echo "TRAPLINE-DISK-OK sha256 $sum"
}

# The file `given` of the floppy and of the CD is printed; the floppy gets a file, the printer a line.
# Then three packets of the mouse are shown as /dev/input/mice gives them.
chips_job() {
    wait_for /dev/fd0 || fail "no /dev/fd0"
    mount -t vfat /dev/fd0 /mnt || fail "mount floppy"
    echo "floppy: $(cat /mnt/given)"
    seq 1 40000 >/mnt/written || fail "write floppy"
    umount /mnt || fail "umount floppy"
    wait_for /dev/sr0 || fail "no /dev/sr0"
    mount -t iso9660 -o ro /dev/sr0 /mnt || fail "mount CD"
    echo "CD: $(cat /mnt/given)"
    umount /mnt
    echo "printed by Linux" >/dev/lp0 || fail "print"
    exec 3</dev/input/mice
    echo "TRAPLINE-MOUSE-READY"
    for packet in 1 2 3; do
        echo "mouse: $(head -c 3 <&3 | od -A n -t x1)"
    done
    echo "TRAPLINE-CHIPS-DONE"
    poweroff -f
}

# Mount what `root=UUID=...` names, wherever it turns up, and leave the initramfs.
root_job() {
    for word in $(cat /proc/cmdline); do
        case $word in
        root=*) root=${word#root=} ;;
        esac
    done
    tries=0
    until device=$(findfs "$root" 2>/dev/null); do
        tries=$((tries + 1))
        [ $tries -gt 300 ] && fail "no $root"
        sleep 0.1
    done
    mount -t ext2 -o ro "$device" /mnt || fail "mount $device"
    mount -o move /dev /mnt/dev
    umount /sys /proc
    exec switch_root /mnt /sbin/init
}

# The marks are what `trapline compare --disk-paths` counts exits between.
paths_job() {
    wait_for /dev/sda || { echo "disk-path fails: no /dev/sda"; poweroff -f; }
    echo "disk-path read begins"
    dd if=/dev/sda of=/dev/null iflag=direct bs=65536 count=256 2>/dev/null || echo "disk-path fails: read"
    echo "disk-path read ends: 32768 sectors"
    echo "disk-path write begins"
    dd if=/dev/zero of=/dev/sda oflag=direct bs=65536 count=256 2>/dev/null || echo "disk-path fails: write"
    echo "disk-path write ends: 32768 sectors"
    echo "disk-path done"
}

# `trapline.reads=BYTES:COUNT,...`: commands of so many bytes, one after the other, past the cache.
speed_job() {
    wait_for /dev/sda || fail "no /dev/sda"
    for word in $(cat /proc/cmdline); do
        case $word in
        trapline.reads=*) reads=$(echo "${word#*=}" | tr , ' ') ;;
        esac
    done
    for read in $reads; do
        bytes=${read%:*} count=${read#*:}
        read -r begins rest </proc/uptime
        dd if=/dev/sda of=/dev/null iflag=direct bs="$bytes" count="$count" 2>/dev/null || fail "read $bytes"
        read -r ends rest </proc/uptime
        echo "TRAPLINE-SPEED $bytes $count from $begins to $ends"
    done
    echo "TRAPLINE-SPEED done"
}

case $mode in
chips)
    load_drivers load-order
    load_drivers load-order.chips
    chips_job
    ;;
boot)
    echo TRAPLINE-GUEST-READY
    poweroff -f
    ;;
commands)
    echo TRAPLINE-GUEST-READY
    PS1='guest# ' setsid cttyhack sh
    poweroff -f
    ;;
disk)
    load_drivers load-order
    echo TRAPLINE-GUEST-READY
    disk_job
    poweroff -f
    ;;
scsi)
    load_drivers load-order
    load_drivers load-order.scsi
    echo TRAPLINE-GUEST-READY
    . /etc/scsi.sh
    scsi_jobs
    poweroff -f
    ;;
paths | speed)
    load_drivers load-order
    load_drivers load-order.scsi
    [ $mode = speed ] && load_drivers load-order.peers
    dmesg -n 3 # no message of the kernel in the middle of a line of ours
    ${mode}_job
    poweroff -f
    ;;
root)
    load_drivers load-order
    load_drivers load-order.scsi
    root_job
    ;;
apic | apic-read)
    load_drivers load-order
    echo TRAPLINE-GUEST-READY
    if [ $mode = apic ]; then
        disk_job
    else
        wait_for /dev/sda || fail "no /dev/sda"
        dd if=/dev/sda of=/dev/null bs=65536 count=16 || fail read
    fi
    dmesg | grep -i -e apic -e '\.\.TIMER' -e MP-BIOS -e MP-table
    cat /proc/interrupts
    poweroff -f
    ;;
*)
    load_drivers load-order
    echo TRAPLINE-GUEST-READY
    PS1='guest# ' setsid cttyhack sh
    poweroff -f
    ;;
esac
