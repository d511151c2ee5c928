# Builds Debian's busybox, as Debian configures it, into /busybox. With `files`: puts it and the files of a system into /sysroot.
set -eu
if [ "${1-}" != files ]; then
    mkdir -p /src
    cd /src
    dpkg-source --no-check -x /source/busybox_*.dsc busybox
    cd busybox
    cp debian/config/pkg/deb .config
    # musl has no RPC of Sun's, no utmp and no regular expressions of the GNU kind; Debian's compiler flags are for Debian's machines.
    sed -i -E 's/^(CONFIG_(FEATURE_INETD_RPC|FEATURE_UTMP|FEATURE_WTMP|FEATURE_MOUNT_NFS|FEATURE_VI_REGEX_SEARCH|EXTRA_COMPAT|SELINUX|PAM|DEBUG|FEATURE_HAVE_RPC|LINUXRC))=y/# \1 is not set/
        s/^# (CONFIG_(INIT|GETTY|LOGIN|PASSWD|ADDUSER|ADDGROUP|SU|WGET|NC|TELNET|HTTPD|FTPGET|FTPPUT|UDHCPC)) is not set/\1=y/
        s/^CONFIG_CROSS_COMPILER_PREFIX=.*/CONFIG_CROSS_COMPILER_PREFIX=""/' .config
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
