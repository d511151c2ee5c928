# Collects into /native what of this machine's Debian makes programs for the root when it is in the root: the cross compiler and its helpers, make, and the
# libraries that they load, each where it is here. They run as they are, at full speed, and make the same object code as here.
set -eu
version=$("$TRIPLE-gcc" -dumpversion)
own=/usr/lib/gcc-cross/$TRIPLE/$version
set -- /usr/bin/make "/usr/bin/$TRIPLE-gcc-$version" "$own/cc1" "$own/collect2" "$own/lto-wrapper" "$own/lto1" "$own/liblto_plugin.so"
tools='addr2line ar as ld.bfd nm objcopy objdump ranlib readelf size strings strip'
for tool in $tools; do
    set -- "$@" "/usr/bin/$TRIPLE-$tool"
done
libraries=$(ldd "$@" | awk '$2 == "=>" { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' | sort -u)
for file in "$@" $libraries; do
    mkdir -p "/native${file%/*}"
    cp -L "$file" "/native$file"
done
cp -r "$own/include" "/native$own/"
# The compiler finds its helpers by these names.
mkdir -p "/native/usr/$TRIPLE/bin" /native/usr/lib/cross
ln -s "$TRIPLE-ld.bfd" "/native/usr/bin/$TRIPLE-ld"
for tool in $tools ld; do
    ln -sf "../../bin/$TRIPLE-$tool" "/native/usr/$TRIPLE/bin/$tool"
    [ "$tool" = ld.bfd ] || ln -sf "$TRIPLE-$tool" "/native/usr/bin/$tool"
done
for name in gcc cc "$TRIPLE-gcc"; do
    ln -sf "$TRIPLE-gcc-$version" "/native/usr/bin/$name"
done
cp /cross/lib/* /native/usr/lib/cross/
# A compiler that finds such a file has none of its own.
{ "$TRIPLE-gcc" -dumpspecs; sh /build/specs.sh installed; } >"/native$own/specs"
