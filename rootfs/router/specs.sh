# Tells the cross compiler of the root: `cc` here makes programs for it. With `installed`, the same for a compiler within the root.
set -eu
root=/sysroot lib=/cross/lib
[ "${1-}" != installed ] || { root= lib=/usr/lib/cross; }
loader=$(cd /sysroot/lib && echo ld-musl-*)
specs() {
    cat <<END
*self_spec:
$CPU

*cpp_unique_options:
+ -nostdinc -isystem $root/usr/include -isystem include%s

*link_libgcc:
-L$root/usr/lib

*libgcc:
$lib/libgcc.a

*startfile:
%{!shared:%{static-pie:$root/usr/lib/rcrt1.o;:$root/usr/lib/Scrt1.o}} $root/usr/lib/crti.o $lib/crtbeginS.o

*endfile:
$root/usr/lib/crtn.o

*link:
-dynamic-linker /lib/$loader -nostdlib --build-id=none %{shared:-shared} %{static:-static} %{static-pie:-static -pie --no-dynamic-linker} %{rdynamic:-export-dynamic}

END
}
if [ -z "$root" ]; then
    specs
    exit
fi
mkdir -p /cross/bin
specs >/cross/specs
printf '#!/bin/sh\nexec %s-gcc -specs=/cross/specs "$@"\n' "$TRIPLE" >/cross/bin/cc
chmod 755 /cross/bin/cc
# The kernel's headers, which Debian has for each of its machines.
for folder in linux asm asm-generic misc mtd rdma scsi sound video xen drm; do
    [ ! -d "/usr/$TRIPLE/include/$folder" ] || cp -r "/usr/$TRIPLE/include/$folder" "$root/usr/include/"
done
