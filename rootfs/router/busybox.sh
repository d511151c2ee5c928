# Builds Debian's busybox, with all that is on by default, into /busybox. With `files`: puts it and the files of a system into /sysroot.
set -eu
if [ "${1-}" != files ]; then
    mkdir -p /src
    cd /src
    dpkg-source --no-check -x /source/busybox_*.dsc busybox
    cd busybox
    # It says when it was configured: when its source was last changed.
    SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
    export SOURCE_DATE_EPOCH
    make defconfig >/dev/null
    # Cross compilers are named on the command line, and there is no list of users who are logged in, and no disk to begin from.
    sed -i -E 's/^(CONFIG_FEATURE_[UW]TMP|CONFIG_LINUXRC)=y/# \1 is not set/' .config
    yes '' | make oldconfig >/dev/null
    make="make -s CROSS_COMPILE=$TRIPLE- CC=cc HOSTCC=gcc SKIP_STRIP=y CONFIG_PREFIX=/busybox"
    $make -j"$(nproc)" busybox
    $make install
    "$TRIPLE-strip" /busybox/bin/busybox
    rm -rf /src
    exit
fi
root=/sysroot
[ ! -d /busybox ] || cp -a /busybox/. "$root/"
cd "$root"
mkdir -p dev etc home proc root run sys tmp usr/bin var/lib var/log
chmod 1777 tmp
chmod 700 root
ln -sfn /run var/run
ln -sfn /tmp var/tmp
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >etc/passwd
echo 'root:x:0:
nogroup:x:65534:' >etc/group
printf 'root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n' >etc/shadow
chmod 640 etc/shadow
echo '/bin/sh' >etc/shells
printf '127.0.0.1 localhost\n::1 localhost\n' >etc/hosts
